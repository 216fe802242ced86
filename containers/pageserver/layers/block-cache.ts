/** Blocks of all layers of all timelines, the least recently used forgotten first, bounded by their bytes. */
import { LRUCache } from 'lru-cache';
import type { BlockCache, PendingBlock } from '../../../lib/storage/layers/reader.ts';

export class LruBlockCache implements BlockCache {
  readonly #blocks: LRUCache<string, PendingBlock>;
  hits = 0;
  misses = 0;

  constructor(bytesMax: number) {
    this.#blocks = new LRUCache({ maxSize: bytesMax });
  }
  get(id: string): PendingBlock | undefined {
    const block = this.#blocks.get(id);
    if (block === undefined) this.misses++;
    else this.hits++;
    return block;
  }
  set(id: string, block: PendingBlock, bytes: number): void {
    this.#blocks.set(id, block, { size: Math.max(1, bytes) });
  }
  delete(id: string): void {
    this.#blocks.delete(id);
  }
}
