/**
 * Pageservers for the benchmarks: a production process on a disk that is given, one in this process, and a client of the page
 * service that keeps a number of requests in flight and takes no answer apart that it need not.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { WebSocket } from 'ws';
import { importTemplate } from '../containers/pageserver/import/template.ts';
import { LruBlockCache } from '../containers/pageserver/layers/block-cache.ts';
import { layerCodec } from '../containers/pageserver/layers/codec.ts';
import { CompactionThread } from '../containers/pageserver/maintenance/compaction-thread.ts';
import { limiter } from '../containers/pageserver/layers/limiter.ts';
import { DiskCache } from '../containers/pageserver/layers/disk-cache.ts';
import { RangeCache } from '../containers/pageserver/layers/range-cache.ts';
import { noFailpoints } from '../containers/pageserver/failpoints.ts';
import { newMetrics } from '../containers/pageserver/metrics/metrics.ts';
import { PageCache } from '../containers/pageserver/read/page-cache.ts';
import type { ObjectStorage } from '../containers/pageserver/remote/storage.ts';
import { DEFAULT_SETTINGS, type PageserverContext } from '../containers/pageserver/timeline/context.ts';
import { MemoryBudget } from '../containers/pageserver/timeline/memory-budget.ts';
import { parseLsn, type Lsn } from '../lib/postgres/lsn.ts';
import { encodePageRequest, PAGE_SIZE, type PageRun } from '../lib/protocol/pages.ts';
import { ENV, type PageserverSpec, type TimelineSpec } from '../lib/protocol/specs.ts';
import type { Outside } from '../test/containers/pageserver/outside.ts';
import { FakeSafekeepers } from '../test/containers/pageserver/timeline/support.ts';
import type { Recording } from './recording.ts';
import { freePort, quantile } from './support.ts';

/** Of the kernel's clock, in which /proc counts. */
const TICK_MS = 10;

/** `node containers/pageserver/main.ts`, as it runs in production. */
export class BenchProcess {
  readonly spec: PageserverSpec;
  readonly #child: ChildProcess;
  readonly #exited: Promise<unknown>;
  readonly #port: number;
  log = '';

  static async start(
    outside: Outside,
    options: { projectId: string; generation: number; template: string; disk: string },
  ): Promise<BenchProcess> {
    const started = new BenchProcess(outside, options, await freePort());
    while (
      !(await fetch(`${started.url}/healthz`).then(
        ({ ok }) => ok,
        () => false,
      ))
    )
      await new Promise((resolve) => setTimeout(resolve, 5));
    return started;
  }
  private constructor(
    outside: Outside,
    options: { projectId: string; generation: number; template: string; disk: string },
    port: number,
  ) {
    const { projectId, generation, template, disk } = options;
    this.spec = { projectId, generation, sessionToken: 'bench', stopAfterMs: 0 };
    this.#port = port;
    this.#child = spawn(
      process.execPath,
      [
        ...(process.env['EBB_BENCH_NODE_OPTIONS']?.split(' ') ?? []),
        join(import.meta.dirname, '../containers/pageserver/main.ts'),
      ],
      {
        env: {
          PATH: process.env['PATH'],
          NODE_COMPILE_CACHE: process.env['NODE_COMPILE_CACHE'],
          [ENV.spec]: JSON.stringify(this.spec),
          [ENV.disk]: disk,
          [ENV.listen]: '127.0.0.1',
          [ENV.template]: template,
          PORT_8080: `${port}`,
          NODE_USE_ENV_PROXY: '1',
          HTTP_PROXY: `http://127.0.0.1:${outside.port}`,
          NO_PROXY: '',
        },
        stdio: ['ignore', 'pipe', 'pipe'],
      },
    );
    for (const stream of [this.#child.stdout!, this.#child.stderr!])
      stream.on('data', (chunk: Buffer) => (this.log += chunk.toString()));
    this.#exited = once(this.#child, 'exit');
  }
  /** User and system time that it has taken. */
  get processorMs(): number {
    const fields = readFileSync(`/proc/${this.#child.pid}/stat`, 'utf8').split(') ')[1].split(' ');
    return (Number(fields[11]) + Number(fields[12])) * TICK_MS;
  }
  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }
  headers(timeline: TimelineSpec): Record<string, string> {
    return {
      authorization: `Bearer ${this.spec.sessionToken}`,
      'x-ebb-timeline': JSON.stringify(timeline),
    };
  }
  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill('SIGTERM');
    await this.#exited;
  }
}

export interface Measured {
  pagesPerSecond: number;
  /** Of the pageserver's processor time. */
  microsPerPage: number;
  p50: number;
  p99: number;
  count: number;
}
export const measuredOf = (
  latencies: readonly number[],
  ms: number,
  processorMs: number,
  pages = latencies.length,
): Measured => ({
  pagesPerSecond: (pages / ms) * 1000,
  microsPerPage: (processorMs / pages) * 1000,
  p50: quantile(latencies, 0.5),
  p99: quantile(latencies, 0.99),
  count: latencies.length,
});

/** One connection to /pages. */
export class BenchClient {
  readonly #process: BenchProcess;
  readonly #socket: WebSocket;
  readonly #waiting = new Map<number, (message: Buffer) => void>();
  #id = 0;

  static async connect(process: BenchProcess, timeline: TimelineSpec): Promise<BenchClient> {
    const client = new BenchClient(process, timeline);
    await once(client.#socket, 'open');
    return client;
  }
  private constructor(process: BenchProcess, timeline: TimelineSpec) {
    this.#process = process;
    this.#socket = new WebSocket(`${process.url.replace('http', 'ws')}/pages`, {
      headers: process.headers(timeline),
      perMessageDeflate: false,
    });
    this.#socket.on('message', (message: Buffer) => {
      const id = message.readUInt32LE(1);
      const take = this.#waiting.get(id);
      if (take === undefined) return; // `progress`, which nobody asked for
      this.#waiting.delete(id);
      take(message);
    });
  }
  /** Sends one request; `take` gets the answer. */
  request(run: PageRun, at: Lsn, take: (message: Buffer) => void): void {
    const id = ++this.#id;
    this.#waiting.set(id, take);
    this.#socket.send(encodePageRequest({ tag: 'getPages', id, lsn: at, runs: [run] }));
  }
  /** `inFlight` requests of one page at a time, each of what `next` gives, until `until` or `countMax`. */
  measure(
    next: () => PageRun,
    at: Lsn | (() => Lsn),
    options: { inFlight: number; ms: number; countMax?: number },
  ): Promise<Measured> {
    const { inFlight, ms, countMax = Infinity } = options;
    const latencies: number[] = [];
    let pages = 0;
    const started = performance.now();
    const { processorMs } = this.#process;
    let [asked, running] = [0, 0];
    return new Promise((resolve, reject) => {
      const one = () => {
        const sentAt = performance.now();
        asked++;
        running++;
        const page = next();
        this.request(page, typeof at === 'number' ? at : at(), (message) => {
          running--;
          if (message.length !== 9 + page.count * (PAGE_SIZE + 1)) {
            reject(new Error(`${message.length} bytes: ${message.subarray(9, 400).toString()}`));
            return;
          }
          const now = performance.now();
          latencies.push(now - sentAt);
          pages += page.count;
          if (now - started < ms && asked < countMax) one();
          else if (running === 0)
            resolve(measuredOf(latencies, now - started, this.#process.processorMs - processorMs, pages));
        });
      };
      for (let i = 0; i < inFlight; i++) one();
    });
  }
  close(): void {
    this.#socket.close();
  }
}

/** The context of a pageserver in this process. */
export function benchContext(
  recorded: Recording,
  options: { storage: ObjectStorage; diskFolder: string; generation: number; safekeepers: FakeSafekeepers },
): PageserverContext {
  const metrics = newMetrics();
  const onError = (error: unknown, what: string): void => console.error(what, error);
  return {
    generation: options.generation,
    diskFolder: options.diskFolder,
    settings: { ...DEFAULT_SETTINGS, quietMs: 50 },
    storage: options.storage,
    codec: layerCodec,
    blockCache: new LruBlockCache(48 << 20),
    pageCache: new PageCache(128 << 20),
    memory: new MemoryBudget(256 << 20),
    metrics,
    owner: 'bench',
    disk: new DiskCache({ bytesMax: 100e9, metrics, onError }),
    ranges: new RangeCache(16 << 20),
    failpoint: noFailpoints,
    compaction: new CompactionThread(),
    horizon: (_, wanted) => Promise.resolve({ horizonLsn: wanted, retainedLsns: [] }),
    clock: Date.now,
    download: limiter(4),
    importTemplate: ({ startLsn, systemIdentifier }, emit) =>
      importTemplate(
        {
          directory: recorded.template,
          startLsn: parseLsn(startLsn),
          systemIdentifier: BigInt(systemIdentifier),
        },
        emit,
      ),
    openWal: (n, _, from) => options.safekeepers.connect(n, from),
    sleep: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
    onEvent: () => {},
    onError,
    onSuperseded: (error) => {
      throw error;
    },
  };
}
/** Safekeepers that hold a recording's WAL, committed as far as they are told. */
export function recordedSafekeepers({ wal, startLsn, endLsn }: Recording): FakeSafekeepers {
  const safekeepers = new FakeSafekeepers({
    endLsn,
    bytes: (from, to) => wal.subarray(from - startLsn, to - startLsn),
  });
  safekeepers.commitLsn = startLsn;
  safekeepers.chunkBytes = 256 << 10;
  return safekeepers;
}
export const row = (name: string, { pagesPerSecond, microsPerPage, p50, p99, count }: Measured): string[] => [
  name,
  Math.round(pagesPerSecond).toLocaleString('en'),
  p50.toFixed(2),
  p99.toFixed(2),
  microsPerPage.toFixed(0),
  String(count),
];
export const MEASURED_HEADER = ['', 'pages/s', 'p50 ms', 'p99 ms', 'processor µs a page', 'requests'];
