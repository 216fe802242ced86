/**
 * The local disk as a cache of layer files, bounded by their bytes, over all timelines.
 *
 *   read longest ago ◄──────────────────────────► read last
 *   evicted first: a file whose layer is uploaded and that nobody is reading
 *
 * What is not uploaded yet is kept whatever the bound says: it exists nowhere else. Whether an absent layer is worth its room is
 * decided by what has been read of it: while there is room, a few ranges; when another file would have to go,
 * ranges of it are read until they have cost as much as the whole: then at most twice what was needed has been fetched.
 */
import type { Metrics } from '../metrics/metrics.ts';

export interface CachedLayer {
  readonly size: number;
  /** Its object is there, and no read is under way. */
  readonly isEvictable: boolean;
  /** Drops the file; reads go to the object from here on. */
  evict(): Promise<void>;
}

export class DiskCache {
  readonly #bytesMax: number;
  readonly #metrics: Metrics;
  readonly #onError: (error: unknown, what: string) => void;
  /** In the order in which they were last read. */
  readonly #files = new Set<CachedLayer>();
  #bytes = 0;

  constructor(options: {
    bytesMax: number;
    metrics: Metrics;
    onError: (error: unknown, what: string) => void;
  }) {
    this.#bytesMax = options.bytesMax;
    this.#metrics = options.metrics;
    this.#onError = options.onError;
    this.#metrics.diskBytesMax.set(options.bytesMax);
  }
  get bytes(): number {
    return this.#bytes;
  }
  get bytesMax(): number {
    return this.#bytesMax;
  }

  /** The layer has a file now. */
  add(layer: CachedLayer): void {
    if (this.#files.has(layer)) return;
    this.#files.add(layer);
    this.#change(layer.size);
    this.makeRoom();
  }
  /** Its file is being removed, or is gone. */
  remove(layer: CachedLayer): void {
    if (this.#files.delete(layer)) this.#change(-layer.size);
  }
  /** Its file is being read. */
  touch(layer: CachedLayer): void {
    if (this.#files.delete(layer)) this.#files.add(layer);
  }

  /** Whether an absent layer of which `bytesRead` have been fetched so far should be downloaded whole. */
  isWorthFetching(layer: CachedLayer, bytesRead: number): boolean {
    if (layer.size > this.#bytesMax) return false;
    return this.#bytes + layer.size <= this.#bytesMax || bytesRead >= layer.size;
  }

  /** Evicts until the bound holds, as far as it can. Called also when a layer has become evictable. */
  makeRoom(): void {
    if (this.#bytes <= this.#bytesMax) return;
    for (const layer of this.#files) {
      if (!layer.isEvictable) continue;
      this.remove(layer);
      this.#metrics.evictions.inc();
      this.#metrics.evictedBytes.inc(layer.size);
      layer.evict().catch((error: unknown) => this.#onError(error, 'eviction of a layer file'));
      if (this.#bytes <= this.#bytesMax) return;
    }
  }
  #change(bytes: number): void {
    this.#bytes += bytes;
    this.#metrics.diskBytes.set(this.#bytes);
  }
}
