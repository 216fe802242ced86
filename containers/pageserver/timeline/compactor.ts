/**
 * Compaction, so that a read visits few layers, and garbage collection, so that what nobody reads takes no room:
 *
 *   level-0 deltas (all keys, one LSN range each) ──merge──► level-1 deltas (a key range each, all their LSNs)
 *   an image with many deltas over it             ──redo──► newer images of the same keys
 *   layers that no permitted read looks into      ──────► gone
 *
 * One step at a time, decided anew after each (lib/storage/compaction/plan.ts). Steps that fail again and again are tried less
 * and less often (circuit-breaker.ts); ingest and reads go on.
 */
import type { Lsn } from '../../../lib/postgres/lsn.ts';
import {
  level1End,
  mergeableLevel0,
  planMerge,
  tilesAt,
  wantsImage,
  type Tile,
} from '../../../lib/storage/compaction/plan.ts';
import { keyHex, type Key } from '../../../lib/storage/key.ts';
import type { StoredLayer } from '../layers/stored-layer.ts';
import { CircuitBreaker, type BreakerStatus } from '../maintenance/circuit-breaker.ts';
import { CompactionError } from '../maintenance/job.ts';
import type { TimelineSettings } from './context.ts';
import { SupersededError } from './errors.ts';
import { inheritedBytes, type Lineage } from './image-parts.ts';
import type { GarbageCollector } from './garbage-collector.ts';
import type { LayerRewriter } from './layer-rewriter.ts';

export interface CompactorOptions {
  lineage: Lineage;
  rewriter: LayerRewriter;
  collector: GarbageCollector;
  settings: TimelineSettings;
  onError: (error: unknown, what: string) => void;
  onSuperseded: (error: SupersededError) => void;
}

/** Bound on the attempts at one tile that redo refuses. */
const REFUSED_GROWTH = 2;

export class Compactor {
  readonly #options: CompactorOptions;
  readonly #breaker: CircuitBreaker;
  #running: Promise<void> | null = null;
  #stopped = false;
  #collectionDue = false;
  #retry: NodeJS.Timeout | undefined;
  #waiting: (() => void)[] = [];
  /** Tiles that could not be imaged, by first key: the runs at which another attempt is worth it. */
  readonly #refused = new Map<Key, number>();

  constructor(options: CompactorOptions) {
    this.#options = options;
    const { compactionPauseMs: pauseMs, compactionPauseMsMax: pauseMsMax } = options.settings;
    this.#breaker = new CircuitBreaker({ pauseMs, pauseMsMax, now: () => performance.now() });
  }
  /** Nothing runs, and nothing is due but what failed. */
  get isIdle(): boolean {
    return this.#running === null;
  }
  get breaker(): BreakerStatus {
    return this.#breaker.status();
  }
  /** Looks whether there is something to do. */
  kick(): void {
    if (!this.#breaker.isPaused) this.#start();
  }
  #start(): void {
    if (this.#running !== null || this.#stopped) return;
    this.#running = this.#run().finally(() => {
      this.#running = null;
      this.#progressed();
    });
  }
  /** Garbage is collected as the next step. */
  collectGarbage(): void {
    this.#collectionDue = true;
    this.kick();
  }
  /**
   * Null while ingest may go on. So many level-0 deltas wait to be merged that reads suffer: resolves when they are fewer. Nobody
   * waits for a compaction that fails, nor for deltas that it cannot have yet because object storage is away.
   */
  room(): Promise<void> | null {
    if (this.#hasRoom()) return null;
    this.kick();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }
  #hasRoom(): boolean {
    const { settings, lineage } = this.#options;
    const { map } = lineage.stack;
    const most = Math.max(settings.level0Stall, settings.level0Max);
    if (this.#stopped || this.#breaker.failures > 0 || map.level0Count < most) return true;
    return mergeableLevel0(map).length < most;
  }
  #progressed(): void {
    if (this.#hasRoom()) for (const resolve of this.#waiting.splice(0)) resolve();
  }
  /** Resolves when nothing of it runs any more; what was not finished leaves no trace. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#retry);
    this.#options.rewriter.stop();
    this.#progressed();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { onError, onSuperseded } = this.#options;
    try {
      while (!this.#stopped && (await this.#step())) {
        this.#breaker.succeeded();
        this.#progressed();
      }
    } catch (error) {
      if (error instanceof SupersededError) return onSuperseded(error);
      if (this.#stopped || (error instanceof CompactionError && error.code === 'cancelled')) return;
      onError(error, 'compaction');
      this.#breaker.failed(error);
      this.#retry = setTimeout(() => this.#start(), this.#breaker.pauseMs);
      this.#retry.unref();
    }
  }

  /** Does what is most wanted; false when there is nothing. */
  async #step(): Promise<boolean> {
    const { lineage, settings, rewriter } = this.#options;
    const { stack } = lineage;
    const merge = planMerge(stack.map, settings);
    if (merge !== null) {
      await rewriter.merge(merge);
      return true;
    }
    if (this.#collectionDue) {
      this.#collectionDue = false;
      await this.#collect();
      return true;
    }
    const at = Math.max(level1End(stack.map), stack.history.horizonLsn) as Lsn;
    const tile = tilesAt(stack.map, at).find((each) => this.#wantsImage(each));
    return tile !== undefined && this.#image(tile, at);
  }

  /** What fails here is tried again when collection is next due; compaction does not wait for it. */
  async #collect(): Promise<void> {
    const { collector, onError } = this.#options;
    try {
      await collector.run();
    } catch (error) {
      if (error instanceof SupersededError || this.#stopped) throw error;
      onError(error, 'garbage collection');
    }
  }

  #wantsImage(tile: Tile<StoredLayer>): boolean {
    const { settings, lineage } = this.#options;
    const isAllowed = tile.runs >= (this.#refused.get(tile.keys.first) ?? 0);
    return isAllowed && wantsImage(tile, inheritedBytes(lineage), settings);
  }
  async #image({ keys, runs }: Tile<StoredLayer>, at: Lsn): Promise<boolean> {
    try {
      const isMade = await this.#options.rewriter.image(keys, at);
      this.#refused.delete(keys.first);
      return isMade;
    } catch (error) {
      if (!(error instanceof CompactionError) || error.code !== 'refused') throw error;
      // A page that redo refuses keeps its records; reads of it name the reason. The other pages wait with it.
      this.#refused.set(keys.first, runs * REFUSED_GROWTH);
      this.#options.onError(error, `image of the keys from ${keyHex(keys.first)}`);
      return true;
    }
  }
}
