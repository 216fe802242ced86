/**
 * Materialised contents: for a key, what it was as of the newest LSN that was asked for. A later read of it
 * replays only what came since. Bounded by bytes; the least recently used goes first. Contents are never changed.
 */
import { LRUCache } from 'lru-cache';
import type { Lsn } from '../../../lib/postgres/lsn.ts';
import type { Key } from '../../../lib/storage/key.ts';

export interface CachedContent {
  /** `content` is that of the key as of here: every version up to it is in. */
  lsn: Lsn;
  content: Uint8Array | null;
}

/** What an entry takes besides its content, about. */
const ENTRY_OVERHEAD_BYTES = 256;

export class PageCache {
  readonly #contents: LRUCache<string, CachedContent>;
  hits = 0;
  misses = 0;

  constructor(bytesMax: number) {
    this.#contents = new LRUCache({
      maxSize: bytesMax,
      sizeCalculation: ({ content }) => (content?.length ?? 0) + ENTRY_OVERHEAD_BYTES,
    });
  }
  /** The content at or below `lsn`; undefined when there is none. */
  get(timeline: number, key: Key, lsn: Lsn): CachedContent | undefined {
    const cached = this.#contents.get(`${timeline}/${key}`);
    if (cached !== undefined && cached.lsn <= lsn) {
      this.hits++;
      return cached;
    }
    this.misses++;
    return undefined;
  }
  /** Keeps the newer of two; `content` must have a buffer of its own. */
  set(timeline: number, key: Key, entry: CachedContent): void {
    const id = `${timeline}/${key}`;
    const cached = this.#contents.peek(id);
    if (cached === undefined || cached.lsn < entry.lsn) this.#contents.set(id, entry);
  }
}
