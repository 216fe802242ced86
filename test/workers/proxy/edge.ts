/**
 * The proxy under test: its real entrances in the real runtime, before a real Postgres that demands SCRAM.
 *
 *   client ─► Miniflare (fixture/worker.js) ─► Compute object ─► bridge (counts) ─► unix socket ─► Postgres
 */
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { build } from 'esbuild';
import { convertV4MiniflareOptions, Miniflare } from 'miniflare';
import { makeSecret } from '../../../lib/postgres/scram/secret.ts';
import { PortPool } from '../../../local/system/ports.ts';
import { PostgresCluster } from '../../support/postgres-cluster.ts';

export const ENDPOINT = 'ep-quiet-tide-42';
export const ENDPOINT_NUMBER = 4711;
export const ROLE = 'conrad';
export const PASSWORD = 'correct horse; battery$staple é';
export const MOCK_AUTHENTICATION_SECRET = 'not a secret, but as long as one must be';

/** Short enough for tests to wait for; long enough for a loaded machine not to meet them by chance. */
export const LIMITS = {
  authenticationMs: 2_500,
  unauthenticatedMax: 60,
  wakeMs: 1_500,
  backoffMs: 20,
  lingerMs: 200,
};

export interface EndpointState {
  connections: number;
  opened: number;
  wakes: number;
  cancels: number;
  openKeys: number;
  sqlRequests: number;
  lastSql: { headers: Record<string, string>; body: string } | null;
}

const wait = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Settings of the runtime that are read from the environment when it starts. */
Object.assign(process.env, { X_LOCAL_OBSERVABILITY: 'false', X_LOCAL_EXPLORER: 'false' });

async function bundle(): Promise<string> {
  const result = await build({
    entryPoints: [join(import.meta.dirname, 'fixture/worker.js')],
    bundle: true,
    format: 'esm',
    target: 'esnext',
    conditions: ['workerd', 'worker'],
    external: ['cloudflare:*', 'node:*'],
    write: false,
  });
  return result.outputFiles[0].text;
}

export class EdgeUnderTest {
  readonly postgres: PostgresCluster;
  readonly http: URL;
  /** TCP port of the proxy. */
  readonly port: number;
  /** TCP port that leads to Postgres itself. */
  readonly directPort: number;
  readonly secret: string;
  readonly #miniflare: Miniflare;
  readonly #bridge: Server;
  readonly #bridged: Set<Socket>;
  readonly #sent: { bytes: number };

  private constructor(parts: {
    postgres: PostgresCluster;
    http: URL;
    port: number;
    secret: string;
    miniflare: Miniflare;
    bridge: Server;
    bridged: Set<Socket>;
    sent: { bytes: number };
  }) {
    this.postgres = parts.postgres;
    this.http = parts.http;
    this.port = parts.port;
    this.secret = parts.secret;
    this.#miniflare = parts.miniflare;
    this.#bridge = parts.bridge;
    this.#bridged = parts.bridged;
    this.#sent = parts.sent;
    this.directPort = (parts.bridge.address() as { port: number }).port;
  }

  static async start(): Promise<EdgeUnderTest> {
    const secret = await makeSecret(PASSWORD, { salt: crypto.getRandomValues(new Uint8Array(16)) });
    const port = await new PortPool().take();
    const [postgres, script] = await Promise.all([startPostgres(secret), bundle()]);
    const bridged = new Set<Socket>();
    const sent = { bytes: 0 };
    const bridge = createBridge(postgres, bridged, sent);
    await once(bridge.listen(0, '127.0.0.1'), 'listening');
    const miniflare = new Miniflare({
      ...convertV4MiniflareOptions({
        host: '127.0.0.1',
        port: 0,
        cf: false,
        name: 'proxy',
        modules: [{ type: 'ESModule', path: 'worker.mjs', contents: script }],
        compatibilityDate: '2026-11-01',
        compatibilityFlags: ['nodejs_compat'],
        bindings: { MOCK_AUTHENTICATION_SECRET, LIMITS },
        durableObjects: {
          COMPUTE: { className: 'Compute', useSQLite: true },
          ACCOUNT: { className: 'Account', useSQLite: true },
        },
        connectHandlers: [{ protocol: 'tcp', port, address: '127.0.0.1' }],
      }),
    });
    const http = await miniflare.ready;
    const edge = new EdgeUnderTest({ postgres, http, port, secret, miniflare, bridge, bridged, sent });
    await fetch(new URL('/control/ACCOUNT/account', http), {
      method: 'PUT',
      body: JSON.stringify({ [ENDPOINT_NUMBER]: ENDPOINT }),
    });
    await edge.configure();
    return edge;
  }

  /** Sets the endpoint up as usual, with changes. */
  async configure(change: Record<string, unknown> = {}, endpoint = ENDPOINT): Promise<EndpointState> {
    const config = {
      number: ENDPOINT_NUMBER,
      port: this.directPort,
      secrets: { [ROLE]: this.secret, ebb_admin: this.secret },
      ...change,
    };
    const body = JSON.stringify(config);
    const response = await fetch(this.#control(endpoint), { method: 'PUT', body });
    return (await response.json()) as EndpointState;
  }
  async state(endpoint = ENDPOINT): Promise<EndpointState> {
    return (await (await fetch(this.#control(endpoint))).json()) as EndpointState;
  }
  #control(endpoint: string): URL {
    return new URL(`/control/COMPUTE/${endpoint}`, this.http);
  }

  /** Connection string for the TCP entrance. */
  url(options: { role?: string; password?: string; endpoint?: string; database?: string } = {}): string {
    const { role = ROLE, password = PASSWORD, endpoint = ENDPOINT, database = 'postgres' } = options;
    const login = `${encodeURIComponent(role)}:${encodeURIComponent(password)}`;
    return `postgres://${login}@127.0.0.1:${this.port}/${database}?options=endpoint%3D${endpoint}`;
  }
  /** Connection string that names the endpoint by host, for the driver that never resolves it. */
  hostUrl(options: { role?: string; password?: string; endpoint?: string; database?: string } = {}): string {
    const { role = ROLE, password = PASSWORD, endpoint = ENDPOINT, database = 'postgres' } = options;
    const login = `${encodeURIComponent(role)}:${encodeURIComponent(password)}`;
    return `postgres://${login}@${endpoint}.ebb.test/${database}`;
  }

  /** Resolves when nothing is open behind the proxy any more; rejects with what is left after 5 s. */
  async quiet(): Promise<void> {
    const giveUpAt = Date.now() + 5_000;
    for (;;) {
      const state = await this.state();
      const left = { connections: state.connections, openKeys: state.openKeys, bridged: this.#bridged.size };
      if (Object.values(left).every((count) => count === 0)) return;
      if (Date.now() > giveUpAt) throw new Error(`left open: ${JSON.stringify(left)}`);
      await wait(10);
    }
  }

  /** Bytes that Postgres has sent, once it has sent nothing more for a while: nobody takes them. */
  async stalled(): Promise<number> {
    for (let before = -1; ; await wait(200)) {
      const now = this.#sent.bytes;
      if (now === before) return now;
      before = now;
    }
  }

  /** Breaks every connection to Postgres. */
  breakBackends(): void {
    for (const socket of this.#bridged) socket.resetAndDestroy();
  }

  async stop(): Promise<void> {
    await this.#miniflare.dispose();
    this.breakBackends();
    this.#bridge.close();
    await this.postgres.remove();
  }
}

async function startPostgres(secret: string): Promise<PostgresCluster> {
  const postgres = await PostgresCluster.prepare();
  const rules = 'local all ebb_admin trust\nlocal all all scram-sha-256\n';
  writeFileSync(join(postgres.dataDirectory, 'pg_hba.conf'), rules);
  await postgres.start();
  await postgres.query(`CREATE ROLE ${ROLE} LOGIN PASSWORD '${secret}'`);
  return postgres;
}

/** TCP to Postgres's unix socket. */
function createBridge(postgres: PostgresCluster, bridged: Set<Socket>, sent: { bytes: number }): Server {
  return createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
    const backend = connect({
      path: join(postgres.socketDirectory, `.s.PGSQL.${postgres.port}`),
      allowHalfOpen: true,
    });
    bridged.add(client);
    client.on('close', () => (bridged.delete(client), backend.destroy()));
    backend.on('close', () => client.destroySoon());
    client.on('error', () => undefined);
    backend.on('error', () => undefined);
    backend.on('data', (chunk) => (sent.bytes += chunk.length));
    client.pipe(backend);
    backend.pipe(client);
  });
}
