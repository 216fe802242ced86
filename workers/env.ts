/**
 * What the runtime gives the Worker and its Durable Objects (wrangler.toml, local/edge).
 */
import type { Account } from '../durable-objects/account/account.ts';
import type { Compute } from '../durable-objects/compute/compute.ts';
import type { Pageserver } from '../durable-objects/pageserver/pageserver.ts';
import type { Project } from '../durable-objects/project/project.ts';
import type { RetentionEnv } from '../durable-objects/safekeeper/retention.ts';
import type { Safekeeper } from '../durable-objects/safekeeper/safekeeper.ts';

export interface Env extends RetentionEnv {
  ACCOUNT: DurableObjectNamespace<Account>;
  PROJECT: DurableObjectNamespace<Project>;
  COMPUTE: DurableObjectNamespace<Compute>;
  SAFEKEEPER: DurableObjectNamespace<Safekeeper>;
  PAGESERVER: DurableObjectNamespace<Pageserver>;
  BUCKET: R2Bucket;
  /** The same bucket by its S3 interface. */
  S3_ENDPOINT: string;
  S3_BUCKET: string;
  S3_ACCESS_KEY_ID: string;
  S3_SECRET_ACCESS_KEY: string;
  /** Bearer key of /api/v2 and /inspect. */
  API_KEY: string;
  /** Makes the salts that are shown for roles and endpoints that do not exist. */
  MOCK_AUTHENTICATION_SECRET: string;
  /** Default of an endpoint's `suspend_timeout_seconds`; '0' never. */
  SUSPEND_AFTER_SECONDS: string;
  /** WAL that the pageserver may be behind before commits wait for it; unset, as the compute likes. */
  INGEST_LAG_BYTES_MAX?: string;
  /** `host:port` that connection URIs name, for Postgres's protocol over TCP. */
  POSTGRES_HOST: string;
}

declare global {
  namespace Cloudflare {
    interface GlobalProps {
      mainModule: typeof import('./edge.ts');
    }
  }
}
