/**
 * The blocks of one fork that an in-memory layer holds: block ──► its newest entry.
 *
 * A table of numbers with open addressing. Neighbouring blocks have neighbouring slots (a run of RUN_BLOCKS is hashed as one),
 * since they are written together; a Map with a string for each page costs five times as much and is all garbage
 * collection.
 */
const SLOTS_MIN = 16;
const RUN_BITS = 5;
const RUN_MASK = (1 << RUN_BITS) - 1;
export const NONE = -1;

export class BlockHeads {
  #blocks = new Uint32Array(SLOTS_MIN);
  /** NONE: the slot is free. */
  #heads = new Int32Array(SLOTS_MIN).fill(NONE);
  #mask = SLOTS_MIN - 1;
  #count = 0;

  get count(): number {
    return this.#count;
  }
  get(block: number): number {
    return this.#heads[this.#slot(block)];
  }
  /** Puts `head` in the place of what was there, which it returns; NONE for nothing. */
  replace(block: number, head: number): number {
    const slot = this.#slot(block);
    const before = this.#heads[slot];
    this.#heads[slot] = head;
    if (before !== NONE) return before;
    this.#blocks[slot] = block;
    if (++this.#count * 4 > this.#blocks.length * 3) this.#grow();
    return NONE;
  }
  /** All blocks, ascending. */
  sorted(): Uint32Array {
    const found = new Uint32Array(this.#count);
    let count = 0;
    for (let slot = 0; slot < this.#heads.length; slot++)
      if (this.#heads[slot] !== NONE) found[count++] = this.#blocks[slot];
    return found.sort();
  }

  /** Where `block` is, or the free slot where it would be put. */
  #slot(block: number): number {
    const mask = this.#mask;
    const blocks = this.#blocks;
    const heads = this.#heads;
    const run = block >>> RUN_BITS;
    const hash = Math.imul(run ^ (run >>> 15), 0x9e3779b1);
    let slot = ((hash ^ (hash >>> 13)) + (block & RUN_MASK)) & mask;
    while (heads[slot] !== NONE && blocks[slot] !== block) slot = (slot + 1) & mask;
    return slot;
  }
  #grow(): void {
    const [blocks, heads] = [this.#blocks, this.#heads];
    const slots = blocks.length * 2;
    this.#blocks = new Uint32Array(slots);
    this.#heads = new Int32Array(slots).fill(NONE);
    this.#mask = slots - 1;
    for (let at = 0; at < heads.length; at++) {
      if (heads[at] === NONE) continue;
      const slot = this.#slot(blocks[at]);
      this.#blocks[slot] = blocks[at];
      this.#heads[slot] = heads[at];
    }
  }
}
