/**
 * The pageserver process: started by its project's Durable Object, it serves until it is told to stop (POST /stop,
 * SIGTERM), until nobody needs it, or until a newer one exists.
 *
 *   exit 0  everything is in object storage, or a newer pageserver has the project
 *   exit 1  it could not start, or could not upload; nothing is lost, since the safekeepers still have the WAL
 */
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdir } from 'node:fs/promises';
import { globalAgent } from 'node:http';
import { flushCompileCache } from 'node:module';
import { setTimeout as delay } from 'node:timers/promises';
import { pino } from 'pino';
import { WebSocket } from 'ws';
import { formatLsn, parseLsn, type Lsn } from '../../lib/postgres/lsn.ts';
import { HOST, type HorizonAnswer, type HorizonRequest } from '../../lib/protocol/specs.ts';
import { LayerError } from '../../lib/storage/layers/format.ts';
import { diskBytesMax, readConfig } from './config.ts';
import { noFailpoints } from './failpoints.ts';
import { importTemplate } from './import/template.ts';
import { LruBlockCache } from './layers/block-cache.ts';
import { layerCodec } from './layers/codec.ts';
import { DiskCache } from './layers/disk-cache.ts';
import { limiter } from './layers/limiter.ts';
import { CompactionThread } from './maintenance/compaction-thread.ts';
import { newMetrics } from './metrics/metrics.ts';
import { RangeCache } from './layers/range-cache.ts';
import { Pageserver } from './pageserver.ts';
import { PageCache } from './read/page-cache.ts';
import { measured } from './remote/measured.ts';
import { withPlainReads } from './remote/plain-reads.ts';
import { withRetries } from './remote/retry.ts';
import { S3Storage } from './remote/s3.ts';
import { createPageserver } from './server.ts';
import { DEFAULT_SETTINGS, type Horizon, type PageserverContext } from './timeline/context.ts';
import { firstLayerOf } from './template/template-layer.ts';
import { MemoryBudget } from './timeline/memory-budget.ts';
import type { WalSocket } from './timeline/wal-receiver.ts';
import { watchIdle } from './watch-idle.ts';

const PAGE_CACHE_BYTES = 128 << 20;
const BLOCK_CACHE_BYTES = 48 << 20;
const RANGE_CACHE_BYTES = 16 << 20;
/** Of one busy timeline there are 144 MiB at most. */
const MEMORY_LAYERS_BYTES = 256 << 20;
const DOWNLOADS_MAX = 4;
/** Less than the Durable Object, or who sends SIGTERM, has patience. */
const STOP_MS_MAX = 15_000;

const config = readConfig(process.env);
const { projectId, generation } = config.spec;
const log = pino({ level: config.logLevel, base: { what: 'pageserver', projectId, generation } });
const onError = (error: unknown, what: string) => log.warn({ err: error }, what);
const exiting = new AbortController();
const sleep = (ms: number) => delay(ms, undefined, { signal: exiting.signal });

await mkdir(config.diskFolder, { recursive: true });
const metrics = newMetrics();
const objects = { endpoint: config.storageEndpoint, bucket: 'ebb' };
const context: PageserverContext = {
  generation,
  owner: randomUUID(),
  diskFolder: config.diskFolder,
  settings: {
    ...DEFAULT_SETTINGS,
    retentionMs: config.spec.historyRetentionMs ?? DEFAULT_SETTINGS.retentionMs,
  },
  storage: withRetries(measured(withPlainReads(new S3Storage(objects), objects), metrics), {
    attemptsMax: 8, // about four seconds: a read that fails is an error in somebody's session
    delayMs: 50,
    delayMsMax: 1_000,
    sleep,
    onRetry: (error, operation) => {
      metrics.storageRetries.inc(1, { operation });
      onError(error, 'object storage, tried again');
    },
  }),
  codec: layerCodec,
  blockCache: new LruBlockCache(BLOCK_CACHE_BYTES),
  disk: new DiskCache({ bytesMax: await diskBytesMax(config), metrics, onError }),
  ranges: new RangeCache(RANGE_CACHE_BYTES),
  pageCache: new PageCache(PAGE_CACHE_BYTES),
  memory: new MemoryBudget(MEMORY_LAYERS_BYTES),
  metrics,
  download: limiter(DOWNLOADS_MAX),
  compaction: new CompactionThread(),
  horizon: askHorizon,
  clock: Date.now,
  importTemplate: ({ startLsn, systemIdentifier }, emit) =>
    importTemplate(
      {
        directory: config.templateFolder,
        startLsn: parseLsn(startLsn),
        systemIdentifier: BigInt(systemIdentifier),
      },
      emit,
    ),
  firstLayer: (spec, descriptor) =>
    firstLayerOf(config.templateFolder, spec, descriptor).catch((error: unknown) => {
      if (!(error instanceof LayerError)) throw error;
      onError(error, "the template's layer cannot be used, the template is imported");
      return null;
    }),
  openWal: (n, { timelineId }, from) =>
    // Not the global WebSocket: its first use loads all of undici, with TLS and HTTP/2.
    new WebSocket(
      `ws://${HOST.wal}/${n}/timelines/${timelineId}/wal?from=${encodeURIComponent(formatLsn(from))}`,
      { agent: globalAgent, perMessageDeflate: false },
    ) as unknown as WalSocket,
  failpoint: noFailpoints,
  sleep,
  onEvent: (what, details) => log.info(details, what),
  onError,
  onSuperseded: (error) => {
    log.warn({ err: error }, 'superseded');
    void exit(0);
  },
};

const pageserver = new Pageserver(config.spec, context);
for (const timeline of config.spec.timelines ?? [])
  pageserver.timeline(timeline).catch((error: unknown) => onError(error, 'attach'));
const server = createPageserver({ pageserver, metrics, stop: stopThenExit, onError });

/**
 * Resolves when everything is uploaded; the process ends once the caller has been answered. Where that takes too long, object
 * storage is away or slow: what is left the next pageserver ingests anew from the safekeepers.
 */
async function stopThenExit(): Promise<void> {
  try {
    const isUploaded = await Promise.race([
      pageserver.stop().then(() => true),
      delay(STOP_MS_MAX, false, { ref: false }),
    ]);
    if (!isUploaded)
      throw new Error(`not everything was uploaded within ${STOP_MS_MAX} ms; the safekeepers have it`);
    setImmediate(() => void exit(0));
  } catch (error) {
    log.error({ err: error }, 'stop');
    setImmediate(() => void exit(1));
    throw error;
  }
}

async function exit(code: number): Promise<void> {
  if (exiting.signal.aborted) return;
  exiting.abort();
  log.info({ code }, 'exit');
  await pageserver.abandon();
  server.close();
  server.closeIdleConnections();
  await Promise.race([once(server, 'close'), delay(200)]);
  process.exit(code);
}

for (const signal of ['SIGTERM', 'SIGINT'] as const)
  process.on(signal, () => void stopThenExit().catch(() => undefined));

server.listen(config.port, config.host);
await once(server, 'listening');
log.info({ port: config.port, host: config.host }, 'listening');
flushCompileCache(); // or a kill would lose what main.ts keeps for the next start
if (config.spec.stopAfterMs > 0)
  watchIdle({
    pageserver,
    stopAfterMs: config.spec.stopAfterMs,
    askToStop: askDurableObject,
    stop: stopThenExit,
    sleep,
    onError,
  });

/** POST /horizon: what the project has recorded. */
async function askHorizon(timelineId: string, wanted: Lsn): Promise<Horizon> {
  const request: HorizonRequest = { timelineId, horizonLsn: formatLsn(wanted) };
  const response = await fetch(`http://${HOST.control}/horizon`, {
    method: 'POST',
    body: JSON.stringify(request),
  });
  if (!response.ok)
    throw new Error(`POST /horizon: ${response.status} ${(await response.text()).slice(0, 200)}`);
  const answer = (await response.json()) as HorizonAnswer;
  // The project's setting may have been changed since the start: from the next collection on it is the new one.
  context.settings.retentionMs = answer.historyRetentionMs ?? context.settings.retentionMs;
  return { horizonLsn: parseLsn(answer.horizonLsn), retainedLsns: answer.retainedLsns.map(parseLsn) };
}

/** POST /idle: whether the Durable Object lets this pageserver go. */
async function askDurableObject(): Promise<boolean> {
  const response = await fetch(`http://${HOST.control}/idle`, { method: 'POST' });
  if (!response.ok)
    throw new Error(`POST /idle: ${response.status} ${(await response.text()).slice(0, 200)}`);
  return ((await response.json()) as { stop: boolean }).stop;
}
