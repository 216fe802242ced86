/** A pageserver's timelines in one process: storage in memory, safekeepers that a test holds, small layers. */
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { noFailpoints, type ReachFailpoint } from '../../../../containers/pageserver/failpoints.ts';
import { LruBlockCache } from '../../../../containers/pageserver/layers/block-cache.ts';
import { layerCodec } from '../../../../containers/pageserver/layers/codec.ts';
import { DiskCache } from '../../../../containers/pageserver/layers/disk-cache.ts';
import { limiter } from '../../../../containers/pageserver/layers/limiter.ts';
import { RangeCache } from '../../../../containers/pageserver/layers/range-cache.ts';
import { newMetrics } from '../../../../containers/pageserver/metrics/metrics.ts';
import { runJob } from '../../../../containers/pageserver/maintenance/run-job.ts';
import { PageCache } from '../../../../containers/pageserver/read/page-cache.ts';
import type { ObjectStorage } from '../../../../containers/pageserver/remote/storage.ts';
import {
  DEFAULT_SETTINGS,
  type PageserverContext,
  type TimelineSettings,
} from '../../../../containers/pageserver/timeline/context.ts';
import { MemoryBudget } from '../../../../containers/pageserver/timeline/memory-budget.ts';
import type { WalSocket } from '../../../../containers/pageserver/timeline/wal-receiver.ts';
import { CheckPoint } from '../../../../lib/postgres/checkpoint.ts';
import { ControlFile, encodeControlFile } from '../../../../lib/postgres/control-file.ts';
import { parseLsn, type Lsn } from '../../../../lib/postgres/lsn.ts';
import { postgres18 } from '../../../../lib/postgres/v18/wal.ts';
import { newWalRecord } from '../../../../lib/postgres/wal/decode-record.ts';
import { WalDecoder } from '../../../../lib/postgres/wal/decoder.ts';
import { TIMELINE_START_LSN, type TimelineSpec } from '../../../../lib/protocol/specs.ts';
import {
  decodeWalReaderReport,
  encodeWalChunk,
  type WalReaderReport,
} from '../../../../lib/protocol/wal-stream.ts';
import {
  CHECKPOINT_KEY,
  CONTROL_FILE_KEY,
  databaseKey,
  relationMapKey,
  slruPageKey,
  slruSegmentKey,
} from '../../../../lib/storage/key.ts';
import { imageValue, sizeValue, type Emit } from '../../../../lib/storage/value.ts';
import { MemoryStore, MemoryTimeline } from '../../../support/memory-store.ts';
import { chunkEnd } from './wal-builder.ts';

/** A log, from START_LSN or from where a real one begins. */
export interface Wal {
  readonly endLsn: Lsn;
  bytes(from: Lsn, to: Lsn): Uint8Array;
}

export const START_LSN = parseLsn(TIMELINE_START_LSN);
export const SYSTEM_IDENTIFIER = 7_600_000_000_000_000_001n;
export const spec: TimelineSpec = {
  projectId: 'quiet-tide',
  timelineId: 'ab'.repeat(16),
  postgresMajor: 18,
  systemIdentifier: `${SYSTEM_IDENTIFIER}`,
  startLsn: TIMELINE_START_LSN,
  origin: { kind: 'template' },
};

/** As little of a template as ingest needs. */
export async function importTinyTemplate(_: TimelineSpec, emit: Emit): Promise<void> {
  const checkPoint = CheckPoint.decode(new Uint8Array(CheckPoint.size));
  Object.assign(checkPoint, { timelineId: 1, nextXid: 700, nextMulti: 1, oldestXid: 700 });
  const control = ControlFile.decode(new Uint8Array(ControlFile.size));
  control.controlVersion = 1800;
  control.systemIdentifier = SYSTEM_IDENTIFIER;
  emit(CONTROL_FILE_KEY, imageValue(encodeControlFile(control)));
  emit(CHECKPOINT_KEY, imageValue(CheckPoint.encode(checkPoint)));
  emit(databaseKey(1663, 5), imageValue(new Uint8Array(0)));
  emit(relationMapKey(1664, 0), imageValue(new Uint8Array(524)));
  emit(relationMapKey(1663, 5), imageValue(new Uint8Array(524)));
  emit(slruSegmentKey('pg_xact', 0), sizeValue(1));
  emit(slruPageKey('pg_xact', 0, 0), imageValue(new Uint8Array(8192)));
}

/** What ingest without layers makes of the WAL: the truth that timelines are compared with. */
export async function modelOf(wal: Wal): Promise<MemoryStore> {
  const store = new MemoryStore();
  await importTinyTemplate(spec, (key, value) => store.put(START_LSN, key, value));
  const model = await MemoryTimeline.open(store, START_LSN);
  const decoder = new WalDecoder({ startLsn: START_LSN, facts: postgres18 });
  decoder.push(wal.bytes(START_LSN, wal.endLsn));
  const record = newWalRecord();
  while (decoder.next(record)) await model.ingest(record);
  return store;
}

/** Three safekeepers that all hold the same WAL, committed as far as a test says. */
export class FakeSafekeepers {
  readonly #wal: Wal;
  readonly #streams = new Set<{ n: number; send: () => void; fail: () => void }>();
  commitLsn: Lsn = START_LSN;
  chunkBytes = 50_000;
  /** `down` refuses connections, `stuck` accepts and sends nothing. */
  readonly state: Record<number, 'up' | 'down' | 'stuck'> = { 1: 'up', 2: 'up', 3: 'up' };
  readonly connections: { n: number; from: Lsn }[] = [];
  lastReport: WalReaderReport | null = null;
  onReport: ((report: WalReaderReport) => void) | null = null;

  constructor(wal: Wal) {
    this.#wal = wal;
  }
  commit(lsn: Lsn = this.#wal.endLsn): void {
    this.commitLsn = lsn;
    for (const stream of this.#streams) stream.send();
  }
  /** Ends every connection to safekeeper `n`. */
  disconnect(n: number): void {
    for (const stream of this.#streams) if (stream.n === n) stream.fail();
  }
  connect(n: number, from: Lsn): WalSocket {
    this.connections.push({ n, from });
    let sent = from;
    const socket: WalSocket = {
      binaryType: 'blob',
      onopen: null,
      onmessage: null,
      onclose: null,
      onerror: null,
      send: (bytes) => {
        this.lastReport = decodeWalReaderReport(bytes.slice());
        this.onReport?.(this.lastReport);
      },
      close: () => void this.#streams.delete(stream),
    };
    const stream = {
      n,
      send: () => {
        if (this.state[n] !== 'up') return;
        while (sent < this.commitLsn) {
          const to = chunkEnd(sent, this.commitLsn, this.chunkBytes);
          const chunk = { startLsn: sent, commitLsn: this.commitLsn, bytes: this.#wal.bytes(sent, to) };
          sent = to;
          socket.onmessage?.({ data: encodeWalChunk(chunk).slice().buffer });
        }
      },
      fail: () => {
        this.#streams.delete(stream);
        socket.onclose?.({ code: 1006, reason: 'gone' });
      },
    };
    this.#streams.add(stream);
    queueMicrotask(() => {
      if (this.state[n] === 'down') return stream.fail();
      socket.onopen?.();
      stream.send();
    });
    return socket;
  }
}

/** Small enough that a few hundred records make many layers. */
export const TINY: TimelineSettings = {
  ...DEFAULT_SETTINGS,
  openLayerBytesMax: 200_000,
  openLayerMsMax: 3_600_000,
  quietMs: 3_600_000,
  tickMs: 10,
  level0Max: 3,
  imageDeltasMax: 2,
  gcPeriodMs: 3_600_000,
  compactionPauseMs: 5,
  compactionPauseMsMax: 100,
  layerBytesTarget: 60_000,
};

export interface TestContext extends PageserverContext {
  errors: { error: unknown; what: string }[];
  superseded: Promise<unknown>;
  remove: () => void;
}
export function testContext(options: {
  storage: ObjectStorage;
  safekeepers: FakeSafekeepers;
  generation: number;
  settings?: Partial<TimelineSettings>;
  diskFolder?: string;
  diskBytesMax?: number;
  failpoint?: ReachFailpoint;
}): TestContext {
  const diskFolder = options.diskFolder ?? mkdtempSync(join(tmpdir(), 'ebb-pageserver-'));
  const errors: TestContext['errors'] = [];
  const onError = (error: unknown, what: string) => void errors.push({ error, what });
  const metrics = newMetrics();
  const { promise: superseded, resolve: onSuperseded } = Promise.withResolvers<unknown>();
  return {
    generation: options.generation,
    owner: randomUUID(),
    diskFolder,
    settings: { ...TINY, ...options.settings },
    storage: options.storage,
    codec: layerCodec,
    blockCache: new LruBlockCache(1 << 20),
    pageCache: new PageCache(200_000),
    memory: new MemoryBudget(256 << 20),
    metrics,
    disk: new DiskCache({ bytesMax: options.diskBytesMax ?? Infinity, metrics, onError }),
    ranges: new RangeCache(1 << 20),
    download: limiter(2),
    compaction: { run: runJob },
    horizon: (_, wanted) => Promise.resolve({ horizonLsn: wanted, retainedLsns: [] }),
    clock: Date.now,
    importTemplate: importTinyTemplate,
    openWal: (n, _, from) => options.safekeepers.connect(n, from),
    failpoint: options.failpoint ?? noFailpoints,
    sleep: () => new Promise((resolve) => setTimeout(resolve, 1)),
    onEvent: () => {},
    onError,
    onSuperseded,
    errors,
    superseded,
    remove: () => rmSync(diskFolder, { recursive: true, force: true }),
  };
}
