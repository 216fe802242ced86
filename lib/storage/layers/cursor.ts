/**
 * A place in a layer file, moved on entry by entry: what merging reads by. Within a block it moves without waiting, so that
 * a promise is paid for once in a block and not once in an entry.
 */
import { assert } from '../../assert.ts';
import type { Lsn } from '../../postgres/lsn.ts';
import type { Key, KeyRange } from '../key.ts';
import type { Value } from '../value.ts';
import type { Block } from './block.ts';

/** Versions with `after` < LSN ≤ `upTo`. Of another timeline's layer the rest is another history. */
export interface VersionRange {
  after: Lsn;
  upTo: Lsn;
}

export class LayerCursor {
  readonly #range: KeyRange;
  readonly #versions: VersionRange;
  /** Null behind the last block of the range. */
  readonly #readBlock: (at: number) => Block | Promise<Block> | null;
  #block: Block | null = null;
  #nextBlock: number;
  #entry = 0;
  #key = '' as Key;
  #lsn = 0 as Lsn;

  constructor(
    { range, versions }: { range: KeyRange; versions: VersionRange },
    firstBlock: number,
    readBlock: (at: number) => Block | Promise<Block> | null,
  ) {
    this.#range = range;
    this.#versions = versions;
    this.#nextBlock = firstBlock;
    this.#readBlock = readBlock;
  }
  get key(): Key {
    return this.#key;
  }
  get lsn(): Lsn {
    return this.#lsn;
  }
  /** A view, good until the next block is read. */
  get value(): Value {
    assert(this.#block !== null, 'the cursor is at an entry');
    return this.#block.value(this.#entry);
  }

  /** Goes to the first entry of the range, then to the next; false behind the last. */
  next(): boolean | Promise<boolean> {
    for (;;) {
      const found = this.#step();
      if (typeof found !== 'boolean') return found.then((is) => (is && !this.#isWanted ? this.next() : is));
      if (!found || this.#isWanted) return found;
    }
  }
  get #isWanted(): boolean {
    const { after, upTo } = this.#versions;
    return this.#lsn > after && this.#lsn <= upTo;
  }
  #step(): boolean | Promise<boolean> {
    const block = this.#block;
    if (block === null || this.#entry + 1 >= block.count) return this.#enterBlock();
    this.#entry++;
    return this.#take(block);
  }
  #take(block: Block): boolean {
    if (this.#entry === 0 || block.compareKey(this.#entry, this.#key) !== 0)
      this.#key = block.key(this.#entry);
    this.#lsn = block.lsn(this.#entry);
    return this.#key <= this.#range.last;
  }
  #enterBlock(): boolean | Promise<boolean> {
    for (;;) {
      const reading = this.#readBlock(this.#nextBlock++);
      if (reading === null) return false;
      if (reading instanceof Promise)
        return reading.then((block) => (this.#enter(block) ? this.#take(block) : this.#enterBlock()));
      if (this.#enter(reading)) return this.#take(reading);
    }
  }
  /** False: all of the block is before the range. */
  #enter(block: Block): boolean {
    this.#block = block;
    this.#entry = block.lastAtOrBefore(this.#range.first, -1 as Lsn) + 1;
    if (this.#entry >= block.count) return false;
    this.#key = block.key(this.#entry);
    return true;
  }
}
