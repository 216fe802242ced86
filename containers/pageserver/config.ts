/** What the pageserver is told by its environment (lib/protocol/specs.ts), checked. */
import { CONTAINER_PORT, ENV, HOST, type PageserverSpec } from '../../lib/protocol/specs.ts';

export interface PageserverConfig {
  spec: PageserverSpec;
  diskFolder: string;
  templateFolder: string;
  host: string;
  port: number;
  storageEndpoint: string;
  logLevel: string;
}

/** Throws an Error that names the variable. */
export function readConfig(environment: NodeJS.ProcessEnv): PageserverConfig {
  return {
    spec: readSpec(environment[ENV.spec]),
    diskFolder: environment[ENV.disk] ?? '/var/lib/ebb',
    templateFolder: environment[ENV.template] ?? '/template/18',
    host: environment[ENV.listen] ?? '0.0.0.0',
    port: Number(environment[`PORT_${CONTAINER_PORT.http}`] ?? CONTAINER_PORT.http),
    storageEndpoint: `http://${HOST.storage}`,
    logLevel: environment['EBB_LOG_LEVEL'] ?? 'info',
  };
}

function readSpec(text: string | undefined): PageserverSpec {
  if (text === undefined) throw new Error(`${ENV.spec} is not set`);
  const spec = JSON.parse(text) as PageserverSpec;
  const isValid =
    typeof spec.projectId === 'string' &&
    /^[a-z0-9-]+$/i.test(spec.projectId) &&
    Number.isSafeInteger(spec.generation) &&
    spec.generation > 0 &&
    spec.generation <= 0xffff_ffff &&
    typeof spec.sessionToken === 'string' &&
    spec.sessionToken.length > 0 &&
    Number.isFinite(spec.stopAfterMs);
  if (!isValid)
    throw new Error(
      `${ENV.spec} is no pageserver specification: ${JSON.stringify({ ...spec, sessionToken: '…' })}`,
    );
  return spec;
}
