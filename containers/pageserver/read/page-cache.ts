/**
 * Materialised contents of all timelines, in memory of a fixed size.
 *
 *   pages    a slab of slots of 8 KiB, taken once; CLOCK decides which slot is used again
 *   others   sizes, maps, files: a few bytes each, least recently used first out; a sixteenth of the memory at most
 *
 * Of a key there is one content, the newest that was asked for, with the LSNs that it is the content at: from the version
 * that it ends with (`sinceLsn`) to the newest LSN up to which nothing came after it (`lsn`). A read within is answered by it
 * alone; a read beyond replays what came since upon it, in place. Pages are lent, not given: a view of a slot is good only
 * until the caller lets go of the thread, since after that the slot may hold another page.
 */
import { LRUCache } from 'lru-cache';
import { assert } from '../../../lib/assert.ts';
import type { Lsn } from '../../../lib/postgres/lsn.ts';
import { PAGE_SIZE } from '../../../lib/protocol/pages.ts';
import { isPageKey, type Key } from '../../../lib/storage/key.ts';

export interface CachedContent {
  /** `content` is that of the key at every LSN from here … */
  sinceLsn: Lsn;
  /** … to here. */
  lsn: Lsn;
  content: Uint8Array | null;
}

/** What one of the others takes besides its content, about. */
const ENTRY_OVERHEAD_BYTES = 256;
const OTHERS_SHARE = 16;
const NONE = -1;

/** A page in a slot; the same object for as long as the slot is. */
interface Slot extends CachedContent {
  content: Uint8Array;
  timeline: number;
  /** Null: free. */
  key: Key | null;
  /** Since the hand last passed. */
  isUsed: boolean;
}

export class PageCache {
  readonly #slab: ArrayBuffer;
  readonly #slotsMax: number;
  readonly #slots: Slot[] = [];
  /** By timeline. */
  readonly #slotOf = new Map<number, Map<Key, number>>();
  readonly #free: number[] = [];
  readonly #others: LRUCache<string, CachedContent>;
  #hand = 0;
  hits = 0;
  misses = 0;

  constructor(bytesMax: number) {
    const othersBytes = Math.floor(bytesMax / OTHERS_SHARE);
    this.#slotsMax = Math.max(1, Math.floor((bytesMax - othersBytes) / PAGE_SIZE));
    this.#slab = new ArrayBuffer(this.#slotsMax * PAGE_SIZE);
    this.#others = new LRUCache({
      maxSize: Math.max(1, othersBytes),
      sizeCalculation: ({ content }) => (content?.length ?? 0) + ENTRY_OVERHEAD_BYTES,
    });
  }
  /** Pages that it holds at most. */
  get pagesMax(): number {
    return this.#slotsMax;
  }

  /** What is known of `key` at or below `lsn`; undefined for nothing. */
  get(timeline: number, key: Key, lsn: Lsn): CachedContent | undefined {
    const cached = this.peek(timeline, key);
    if (cached !== undefined && cached.sinceLsn <= lsn) {
      this.hits++;
      return cached;
    }
    this.misses++;
    return undefined;
  }
  /** What is known of `key` at any LSN; counts as no look-up. */
  peek(timeline: number, key: Key): CachedContent | undefined {
    if (!isPageKey(key)) return this.#others.get(`${timeline}/${key}`);
    const number = this.#slotOf.get(timeline)?.get(key);
    if (number === undefined) return undefined;
    const slot = this.#slots[number];
    slot.isUsed = true;
    return slot;
  }

  /** Copies a content in, unless a newer one is there. A page must be whole. */
  set(timeline: number, key: Key, entry: CachedContent): void {
    assert(entry.sinceLsn <= entry.lsn, `a content since ${entry.sinceLsn} is one at ${entry.lsn}`);
    const cached = this.peek(timeline, key);
    if (cached !== undefined && cached.lsn >= entry.lsn) return;
    if (!isPageKey(key)) {
      this.#others.set(`${timeline}/${key}`, entry);
      return;
    }
    if (entry.content?.length !== PAGE_SIZE) return;
    const slot = this.take(timeline, key);
    slot.content.set(entry.content);
    slot.sinceLsn = entry.sinceLsn;
    slot.lsn = entry.lsn;
  }
  /**
   * The slot of a page, to be filled: what was there of `key`, or anything. Whoever takes it sets content and LSNs before
   * it lets go of the thread, or drops it.
   */
  take(timeline: number, key: Key): Slot {
    let pages = this.#slotOf.get(timeline);
    if (pages === undefined) this.#slotOf.set(timeline, (pages = new Map()));
    const known = pages.get(key);
    if (known !== undefined) return this.#slots[known];
    const number = this.#room();
    const slot = this.#slots[number];
    slot.timeline = timeline;
    slot.key = key;
    slot.isUsed = false;
    pages.set(key, number);
    return slot;
  }
  /** Nothing changed the content of `cached` up to `lsn`. */
  extend(cached: CachedContent, lsn: Lsn): void {
    if (lsn > cached.lsn) cached.lsn = lsn;
  }
  /** Forgets a key: its content cannot be relied on. */
  drop(timeline: number, key: Key): void {
    if (!isPageKey(key)) {
      this.#others.delete(`${timeline}/${key}`);
      return;
    }
    const number = this.#slotOf.get(timeline)?.get(key);
    if (number !== undefined) this.#free.push(this.#vacate(number));
  }
  /** Forgets the pages of a timeline, which is gone. */
  dropTimeline(timeline: number): void {
    for (const number of this.#slotOf.get(timeline)?.values() ?? []) {
      this.#slots[number].key = null;
      this.#free.push(number);
    }
    this.#slotOf.delete(timeline);
  }

  /** A slot that holds nothing. */
  #room(): number {
    const free = this.#free.pop();
    if (free !== undefined) return free;
    if (this.#slots.length < this.#slotsMax) {
      const content = new Uint8Array(this.#slab, this.#slots.length * PAGE_SIZE, PAGE_SIZE);
      const lsn = NONE as Lsn;
      return this.#slots.push({ content, timeline: 0, key: null, sinceLsn: lsn, lsn, isUsed: false }) - 1;
    }
    for (;;) {
      const number = this.#hand;
      this.#hand = (this.#hand + 1) % this.#slotsMax;
      const slot = this.#slots[number];
      if (!slot.isUsed) return this.#vacate(number);
      slot.isUsed = false;
    }
  }
  #vacate(number: number): number {
    const slot = this.#slots[number];
    this.#slotOf.get(slot.timeline)!.delete(slot.key!);
    slot.key = null;
    slot.lsn = NONE as Lsn;
    slot.sinceLsn = NONE as Lsn;
    return number;
  }
}
