/**
 * Three real safekeepers in a real workerd, for tests: `await SafekeeperEdge.start()`.
 *
 * State lies in a temporary folder, so `kill()` (kill -9 of workerd) followed by `restart()` is what a crash is.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { convertV4MiniflareOptions, Log, LogLevel, Miniflare } from 'miniflare';
import type { AcceptorSocket } from '../../../containers/compute/proposer/acceptor-link.ts';
import type { AcceptorStatus } from '../../../lib/consensus/acceptor-state.ts';
import type { Configuration } from '../../../lib/consensus/configuration.ts';
import { TIMELINE_START_LSN, type TimelineSpec } from '../../../lib/protocol/specs.ts';

export const testTimeline = (systemIdentifier = '7400000000000000001'): TimelineSpec => ({
  projectId: 'quiet-tide-1',
  timelineId: 'c0ffee00c0ffee00c0ffee00c0ffee00',
  postgresMajor: 18,
  systemIdentifier,
  startLsn: TIMELINE_START_LSN,
  origin: { kind: 'template' },
});

export interface SafekeeperStatus {
  term: number;
  flushLsn: string;
  commitLsn: string;
  writtenLsn: string;
  truncateLsn: string;
  localBeginLsn: string;
  backupLsn: string;
  partialBackupLsn: string;
  remoteConsistentLsn: string;
  backupBy: number;
  backupFailure: string | null;
  walBytes: number;
  walBytesMax: number;
  databaseBytes: number;
  full: boolean;
  history: { term: number; lsn: string }[];
  readers: { sentLsn: string; ingestedLsn: string }[];
}

/**
 * A Worker that holds nothing but safekeepers: `/{n}/rest` is `/rest` of safekeeper n of one timeline, with the
 * headers that the egress handler sets. It is text because the rest of test/ has Node's types, not a Worker's.
 */
const WORKER = `
  import { Safekeeper as Production } from './durable-objects/safekeeper/safekeeper.ts';
  // Object storage that can be out of reach, for all objects of this process.
  let bucketFails = false;
  const failing = (bucket) =>
    new Proxy(bucket, {
      get: (target, name) => async (...args) => {
        if (bucketFails) throw new Error('object storage is out of reach');
        return target[name](...args);
      },
    });
  // How often anything of any safekeeper ran since the last look: its object made, an event delivered.
  let wakes = { made: 0, events: 0 };
  export class Safekeeper extends Production {
    constructor(ctx, env) {
      super(ctx, { ...env, BUCKET: failing(env.BUCKET) });
      wakes.made++;
    }
    fetch(request) { wakes.events++; return super.fetch(request); }
    alarm(info) { wakes.events++; return super.alarm(info); }
    learn(positions) { wakes.events++; return super.learn(positions); }
    webSocketMessage(...args) { wakes.events++; return super.webSocketMessage(...args); }
    webSocketClose(...args) { wakes.events++; return super.webSocketClose(...args); }
  }
  export default {
    fetch(request, env) {
      const url = new URL(request.url);
      const [, n, ...rest] = url.pathname.split('/');
      if (n === 'wakes') {
        const before = wakes;
        wakes = { made: 0, events: 0 };
        return Response.json(before);
      }
      if (n === 'bucket') {
        bucketFails = rest[0] === 'fail';
        return new Response(null, { status: 204 });
      }
      const { projectId, timelineId } = JSON.parse(env.TIMELINE);
      const headers = new Headers(request.headers);
      if (!headers.has('X-Ebb-Timeline')) headers.set('X-Ebb-Timeline', env.TIMELINE);
      if (!headers.has('X-Ebb-Safekeeper')) headers.set('X-Ebb-Safekeeper', n);
      const stub = env.SAFEKEEPER.getByName(projectId + '/' + timelineId + '/' + n);
      const target = 'http://safekeeper/' + rest.join('/') + url.search;
      if (rest[0] === 'configure') {
        return request.json().then((configuration) => stub.configure(configuration)).then((status) => Response.json(status));
      }
      if (rest[0] === 'retire') {
        return request.json().then((configuration) => stub.retire(configuration)).then(() => new Response(null, { status: 204 }));
      }
      if (rest[0] === 'remove') return stub.remove().then(() => new Response(null, { status: 204 }));
      return stub.fetch(new Request(target, new Request(request, { headers })));
    },
  };
`;
let bundle: Promise<string> | undefined;
const bundled = (): Promise<string> =>
  (bundle ??= build({
    stdin: { contents: WORKER, resolveDir: fileURLToPath(new URL('../../..', import.meta.url)) },
    bundle: true,
    format: 'esm',
    target: 'esnext',
    write: false,
    conditions: ['workerd', 'worker', 'browser'],
    external: ['cloudflare:*', 'node:*'],
  }).then((result) => result.outputFiles[0].text));

export class SafekeeperEdge {
  readonly timeline: TimelineSpec;
  readonly #state: string;
  readonly #variables: Readonly<Record<string, string>>;
  #miniflare: Miniflare | null = null;
  #origin = '';
  #workerds: number[] = [];

  private constructor(timeline: TimelineSpec, state: string, variables: Readonly<Record<string, string>>) {
    this.timeline = timeline;
    this.#state = state;
    this.#variables = variables;
  }
  /** `variables` are the Worker's (wrangler.toml). */
  static async start(variables: Readonly<Record<string, string>> = {}): Promise<SafekeeperEdge> {
    const state = await mkdtemp(join(tmpdir(), 'ebb-safekeepers-'));
    const edge = new SafekeeperEdge(testTimeline(), state, variables);
    await edge.restart();
    return edge;
  }

  async restart(): Promise<void> {
    process.env['CLOUDFLARE_CF_FETCH_ENABLED'] = 'false';
    process.env['X_LOCAL_OBSERVABILITY'] = 'false';
    process.env['X_LOCAL_EXPLORER'] = 'false';
    const options = {
      host: '127.0.0.1',
      port: 0,
      cf: false,
      log: new Log(LogLevel.WARN),
      name: 'safekeepers',
      modules: [{ type: 'ESModule', path: 'index.mjs', contents: await bundled() }],
      compatibilityDate: '2026-11-01',
      compatibilityFlags: ['nodejs_compat'],
      durableObjects: { SAFEKEEPER: { className: 'Safekeeper', useSQLite: true } },
      r2Buckets: { BUCKET: { id: 'wal' } },
      bindings: { ...this.#variables, TIMELINE: JSON.stringify(this.timeline) },
    };
    const converted = convertV4MiniflareOptions(options as Parameters<typeof convertV4MiniflareOptions>[0]);
    const others = workerds();
    this.#miniflare = new Miniflare({ ...converted, resourcePersistencePath: this.#state });
    this.#origin = (await this.#miniflare.ready).origin;
    this.#workerds = workerds().filter((pid) => !others.includes(pid));
  }

  url(n: number, path = ''): string {
    return `${this.#origin}/${n}/${path}`;
  }
  connect(n: number, path = ''): WebSocket {
    const socket = new WebSocket(this.url(n, path).replace('http', 'ws'));
    socket.binaryType = 'arraybuffer';
    return socket;
  }
  /** For the proposer shell. */
  readonly connectAcceptor = (n: number): AcceptorSocket => this.connect(n);

  async status(n: number): Promise<SafekeeperStatus> {
    const response = await fetch(this.url(n, 'inspect/status'));
    if (!response.ok) throw new Error(`status of ${n}: ${response.status} ${await response.text()}`);
    return (await response.json()) as SafekeeperStatus;
  }
  async wal(n: number, query: string): Promise<Uint8Array> {
    const response = await fetch(this.url(n, `inspect/wal?${query}`));
    if (!response.ok) throw new Error(`WAL of ${n}: ${response.status} ${await response.text()}`);
    return new Uint8Array(await response.arrayBuffer());
  }
  /** Lets every call to object storage fail, or not any more; a restart mends it too. */
  async bucketFails(fails: boolean): Promise<void> {
    await fetch(`${this.#origin}/bucket/${fails ? 'fail' : 'work'}`);
  }
  /** Safekeepers that were made or came back from sleep, and events that any of them took, since the last call. */
  async wakes(): Promise<{ made: number; events: number }> {
    const response = await fetch(`${this.#origin}/wakes`);
    return (await response.json()) as { made: number; events: number };
  }
  /** RPC of the control plane. */
  async configure(n: number, configuration: Configuration): Promise<AcceptorStatus | null> {
    const body = JSON.stringify(configuration);
    const response = await fetch(this.url(n, 'configure'), { method: 'POST', body });
    if (!response.ok) throw new Error(`configure ${n}: ${response.status} ${await response.text()}`);
    return (await response.json()) as AcceptorStatus | null;
  }
  async retire(n: number, configuration: Configuration): Promise<void> {
    await fetch(this.url(n, 'retire'), { method: 'POST', body: JSON.stringify(configuration) });
  }
  bucket() {
    return this.#miniflare!.getR2Bucket('BUCKET');
  }

  /** kill -9 of workerd. */
  async kill(): Promise<void> {
    const miniflare = this.#miniflare;
    this.#miniflare = null;
    for (const pid of this.#workerds) process.kill(pid, 'SIGKILL');
    await miniflare?.dispose().catch(() => undefined); // it finds its child gone
  }
  async stop(): Promise<void> {
    await this.#miniflare?.dispose();
    await rm(this.#state, { recursive: true, force: true });
  }
  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }
}

/** Process ids of the workerds that this process has started. */
function workerds(): number[] {
  const pids = readdirSync('/proc').map(Number).filter(Number.isInteger);
  return pids.filter((pid) => {
    try {
      const parent = Number(/\) \S (\d+)/.exec(readFileSync(`/proc/${pid}/stat`, 'latin1'))?.[1]);
      return parent === process.pid && readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes('workerd');
    } catch {
      return false; // it has ended meanwhile
    }
  });
}
