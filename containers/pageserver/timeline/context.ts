/** What all timelines of a pageserver share. */
import type { Lsn } from '../../../lib/postgres/lsn.ts';
import type { TimelineSpec } from '../../../lib/protocol/specs.ts';
import type { ImageDescriptor } from '../../../lib/storage/layers/descriptor.ts';
import type { LayerCodec } from '../../../lib/storage/layers/format.ts';
import type { BlockCache } from '../../../lib/storage/layers/reader.ts';
import type { Emit } from '../../../lib/storage/value.ts';
import type { ReachFailpoint } from '../failpoints.ts';
import type { DiskCache } from '../layers/disk-cache.ts';
import type { RangeCache } from '../layers/range-cache.ts';
import type { CompactionRunner } from '../maintenance/job.ts';
import type { Metrics } from '../metrics/metrics.ts';
import type { PageCache } from '../read/page-cache.ts';
import type { ObjectStorage } from '../remote/storage.ts';
import type { SupersededError } from './errors.ts';
import type { MemoryBudget } from './memory-budget.ts';
import type { WalSocket } from './wal-receiver.ts';

export interface TimelineSettings {
  /** Memory of the open layer at which it is frozen. */
  openLayerBytesMax: number;
  /** Values of one in-memory layer beyond this are spilled to disk: a single record may bring more than a layer. */
  layerMemoryBytesMax: number;
  /** Age at which it is frozen, so that safekeepers can trim. */
  openLayerMsMax: number;
  /** With no compute attached and no WAL for so long, it is frozen and uploaded. */
  quietMs: number;
  /** Between two looks at the clock. */
  tickMs: number;
  /** Level-0 deltas at which they are merged. */
  level0Max: number;
  /** Runs of deltas over an image at which a newer image is made. */
  imageDeltasMax: number;
  /** The same by bytes: of the deltas, to those of the image. */
  imageBytesRatio: number;
  /** Images that are made in one go; then level 0 has its turn. */
  imageFilesMax: number;
  /** Bytes at which compaction begins another file. */
  layerBytesTarget: number;
  /** Level-0 deltas at which ingest waits for compaction. */
  level0Stall: number;
  /** Compaction that failed pauses for so long; twice as long after each further failure. */
  compactionPauseMs: number;
  compactionPauseMsMax: number;
  /** History that is younger is kept, */
  retentionMs: number;
  /** and so is that of the last so many bytes of WAL. */
  retentionBytes: number;
  /** Between two garbage collections while WAL comes. */
  gcPeriodMs: number;
  /** Bytes of WAL by which the horizon must get on for a collection to be worth it. */
  gcBytesMin: number;
  /** Deltas below the horizon, to the image under them, at which a newer image takes their place. */
  gcBytesRatio: number;
}

export const DEFAULT_SETTINGS: TimelineSettings = {
  openLayerBytesMax: 48 << 20,
  layerMemoryBytesMax: 64 << 20,
  openLayerMsMax: 300_000,
  quietMs: 200,
  tickMs: 100,
  level0Max: 2,
  imageDeltasMax: 3,
  imageBytesRatio: 1,
  imageFilesMax: 8,
  layerBytesTarget: 32 << 20,
  level0Stall: 4,
  compactionPauseMs: 1_000,
  compactionPauseMsMax: 120_000,
  retentionMs: 7 * 24 * 3_600_000,
  retentionBytes: 64 << 20,
  gcPeriodMs: 600_000,
  gcBytesMin: 16 << 20,
  gcBytesRatio: 0.25,
};

/** What the project has recorded (HorizonAnswer, lib/protocol/specs.ts). */
export interface Horizon {
  horizonLsn: Lsn;
  retainedLsns: Lsn[];
}

export interface PageserverContext {
  generation: number;
  /** Of this process alone: of two processes with one generation, only one can take a timeline over. */
  owner: string;
  /** The disposable disk. */
  diskFolder: string;
  settings: TimelineSettings;
  storage: ObjectStorage;
  codec: LayerCodec;
  blockCache: BlockCache & { readonly hits: number; readonly misses: number };
  disk: DiskCache;
  ranges: RangeCache;
  pageCache: PageCache;
  /** Of the in-memory layers of all timelines. */
  memory: MemoryBudget;
  metrics: Metrics;
  /** Merges layers and makes images; on another thread, but for tests. */
  compaction: CompactionRunner;
  /**
   * Asks the project to record that history of a timeline below `wanted` may be dropped (HorizonRequest,
   * lib/protocol/specs.ts).
   */
  horizon: (timelineId: string, wanted: Lsn) => Promise<Horizon>;
  /** Milliseconds since 1970. */
  clock: () => number;
  /** Runs a download when there is room for one. */
  download: <T>(task: () => Promise<T>) => Promise<T>;
  /** Emits everything that a timeline begins with, each key once, in any order. */
  importTemplate: (spec: TimelineSpec, emit: Emit) => Promise<void>;
  /** The file of a timeline's first layer, where it is ready made; null: `importTemplate` gives what is in it. */
  firstLayer?: (spec: TimelineSpec, descriptor: ImageDescriptor) => Promise<Uint8Array | null>;
  openWal: (n: number, spec: TimelineSpec, from: Lsn) => WalSocket;
  failpoint: ReachFailpoint;
  /** Waits; rejects when the pageserver exits. */
  sleep: (ms: number) => Promise<void>;
  /** Something worth a line in the log: attached, flushed, compacted. */
  onEvent: (what: string, details: Record<string, unknown>) => void;
  /** A failure that is being retried or that nobody waits for. */
  onError: (error: unknown, what: string) => void;
  /** Another pageserver has the project: exit without another word. */
  onSuperseded: (error: SupersededError) => void;
}
