/**
 * From memory to object storage: each frozen layer becomes a level-0 delta on disk, is uploaded, and is then named by
 * the index. Two loops, so that a storage that is slow or down holds up neither flushing nor reads.
 *
 *   frozen ──write──► local file, in the layer map ──put──► object ──publish──► index: remote position advances
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { formatLsn } from '../../../lib/postgres/lsn.ts';
import { ALL_KEYS } from '../../../lib/storage/key.ts';
import type { DeltaDescriptor } from '../../../lib/storage/layers/descriptor.ts';
import type { LayerStore } from '../layers/layer-store.ts';
import type { StoredLayer } from '../layers/stored-layer.ts';
import type { ReachFailpoint } from '../failpoints.ts';
import type { Metrics } from '../metrics/metrics.ts';
import { SupersededError } from './errors.ts';
import type { FrozenLayer, LayerStack, Position } from './layer-stack.ts';
import type { RemoteIndex } from './remote-index.ts';

export interface FlusherOptions {
  stack: LayerStack;
  store: LayerStore;
  remote: RemoteIndex;
  generation: number;
  metrics: Metrics;
  failpoint: ReachFailpoint;
  /** The remote position has advanced. */
  onRemote: (position: Position) => void;
  onEvent: (what: string, details: Record<string, unknown>) => void;
  onError: (error: unknown, what: string) => void;
  onSuperseded: (error: SupersededError) => void;
  /** Waits; rejects when the pageserver exits. */
  sleep: (ms: number) => Promise<void>;
}

interface Upload {
  layer: StoredLayer | null;
  end: Position;
}

/** Frozen layers at which ingest waits, which bounds memory. */
const FROZEN_MAX = 2;
const RETRY_MS = 200;
const RETRY_MS_MAX = 10_000;

export class Flusher {
  readonly #options: FlusherOptions;
  readonly #uploads: Upload[] = [];
  #flushing = false;
  #uploading = false;
  #flushRun: Promise<void> = Promise.resolve();
  #uploadRun: Promise<void> = Promise.resolve();
  #stopped = false;
  #waiting: { isDone: () => boolean; resolve: () => void; reject: (error: unknown) => void }[] = [];

  constructor(options: FlusherOptions) {
    this.#options = options;
  }
  /** Nothing waits to be flushed or uploaded. */
  get isIdle(): boolean {
    return this.#options.stack.frozen.length === 0 && this.#uploads.length === 0;
  }
  get uploadsPending(): number {
    return this.#uploads.length;
  }

  /** There are frozen layers. */
  kick(): void {
    if (!this.#flushing && !this.#stopped) this.#flushRun = this.#flushAll();
  }
  /** Null while ingest may go on. So many layers are frozen that memory is short: resolves when they are fewer. */
  room(): Promise<void> | null {
    const hasRoom = (): boolean => this.#options.stack.frozen.length < FROZEN_MAX;
    return hasRoom() ? null : this.#until(hasRoom);
  }
  /** Resolves when all that was frozen is uploaded. Rejects when it is stopped or superseded before. */
  drained(): Promise<void> {
    return this.#until(() => this.isIdle);
  }
  /** Gives up what is not done yet. */
  stop(error: Error): void {
    this.#stopped = true;
    for (const { reject } of this.#waiting) reject(error);
    this.#waiting = [];
  }

  /** After `stop`: resolves when nothing is being written or put any more. */
  async quiet(): Promise<void> {
    await this.#flushRun;
    await this.#uploadRun;
  }

  #until(isDone: () => boolean): Promise<void> {
    if (isDone()) return Promise.resolve();
    if (this.#stopped) return Promise.reject(new Error('the flusher has stopped'));
    return new Promise((resolve, reject) => this.#waiting.push({ isDone, resolve, reject }));
  }
  #progressed(): void {
    const done = this.#waiting.filter(({ isDone }) => isDone());
    this.#waiting = this.#waiting.filter((each) => !done.includes(each));
    for (const { resolve } of done) resolve();
  }

  async #flushAll(): Promise<void> {
    const { stack, failpoint } = this.#options;
    this.#flushing = true;
    for (let frozen = stack.frozen[0]; frozen !== undefined && !this.#stopped; frozen = stack.frozen[0]) {
      await failpoint('flush.before-write');
      const layer = await this.#retry(`flush of a layer`, () => this.#write(frozen));
      if (layer === undefined) break;
      await failpoint('flush.after-write');
      if (layer !== null) {
        this.#options.metrics.flushedLayers.inc();
        this.#options.metrics.flushedBytes.inc(layer.size);
      }
      stack.flushed(frozen, layer);
      this.#uploads.push({ layer, end: frozen.end });
      this.#progressed();
      if (!this.#uploading) this.#uploadRun = this.#uploadAll();
    }
    this.#flushing = false;
  }

  async #write({ memory }: FrozenLayer): Promise<StoredLayer | null> {
    if (memory.isEmpty) return null;
    return this.#options.store.create(async (writer) => {
      for (const { key, lsn, value } of memory.entries()) {
        if (!writer.add(key, lsn, value)) continue;
        await writer.drain();
        await nextTurn();
      }
      const { startLsn, endLsn } = memory;
      const { generation } = this.#options;
      return { kind: 'delta', keys: ALL_KEYS, startLsn, endLsn, generation } satisfies DeltaDescriptor;
    });
  }

  async #uploadAll(): Promise<void> {
    const { store, remote, failpoint } = this.#options;
    this.#uploading = true;
    for (let next = this.#uploads[0]; next !== undefined && !this.#stopped; next = this.#uploads[0]) {
      const { layer, end } = next;
      const done = await this.#retry('upload of a layer', async () => {
        if (layer !== null) {
          await remote.take();
          await failpoint('upload.before-layer');
          await store.upload(layer);
          await failpoint('upload.after-layer');
        }
        await remote.publish({ insert: layer === null ? [] : [layer], position: end });
        return true;
      });
      if (done === undefined) break;
      const layerBytes = layer?.size ?? 0;
      this.#options.onEvent('uploaded', { lsn: formatLsn(end.lsn), layerBytes });
      await failpoint('report.before');
      if (this.#stopped) break;
      this.#uploads.shift();
      this.#options.onRemote(end);
      this.#progressed();
    }
    this.#uploading = false;
  }

  /** Tries until it works; undefined when stopped or superseded. */
  async #retry<T>(what: string, attempt: () => Promise<T>): Promise<T | undefined> {
    for (let delay = RETRY_MS; !this.#stopped; delay = Math.min(delay * 2, RETRY_MS_MAX)) {
      try {
        return await attempt();
      } catch (error) {
        if (this.#stopped) return undefined;
        if (error instanceof SupersededError) {
          this.stop(error);
          this.#options.onSuperseded(error);
          return undefined;
        }
        this.#options.onError(error, what);
        await this.#options.sleep(delay * (0.5 + Math.random() / 2)).catch(() => undefined);
      }
    }
    return undefined;
  }
}
