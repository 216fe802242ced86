/**
 * Which parts of the remote files are here: one bit for each unit of 4096 bytes, in shared memory.
 *
 * 0 absent: the pageserver's content at the boot LSN holds. 1 present: the backing file's content holds.
 * A bit only ever goes from 0 to 1: by a fetch, by a write, or by a truncation, after which what lies beyond the new end
 * reads as zeros and never again as what was there at the boot LSN. So a reader that finds the bits set needs no
 * lock; who sets them holds the file's lock, and sets them after the bytes are in place.
 *
 * The unit is half a Postgres block because the kernel's writeback cache writes single pages of 4096 bytes.
 */
import { PAGE_SIZE } from '../../../lib/protocol/pages.ts';

export const UNIT_SIZE = 4096;
export const UNITS_PER_BLOCK = PAGE_SIZE / UNIT_SIZE;

/** Words of 32 bits that the units of `blocks` blocks take. */
export const presenceWords = (blocks: number): number => Math.ceil((blocks * UNITS_PER_BLOCK) / 32);

/** The bits of one word for units [from, to) where both lie in it, `to` possibly as its end. */
function mask(from: number, to: number): number {
  const upTo = to === 32 ? -1 : (1 << to) - 1;
  return upTo & ~((1 << from) - 1);
}

export class Presence {
  readonly #words: Int32Array<SharedArrayBuffer>;

  constructor(words: Int32Array<SharedArrayBuffer>) {
    this.#words = words;
  }

  /** Whether all units [from, to) of the file whose bits start at word `start` are present. */
  has(start: number, from: number, to: number): boolean {
    for (let unit = from; unit < to;) {
      const word = unit >>> 5;
      const end = Math.min(to, (word + 1) << 5);
      const wanted = mask(unit & 31, end - (word << 5));
      if ((Atomics.load(this.#words, start + word) & wanted) !== wanted) return false;
      unit = end;
    }
    return true;
  }

  /** Sets units [from, to) present. The caller holds the file's lock. */
  set(start: number, from: number, to: number): void {
    for (let unit = from; unit < to;) {
      const word = unit >>> 5;
      const end = Math.min(to, (word + 1) << 5);
      Atomics.or(this.#words, start + word, mask(unit & 31, end - (word << 5)));
      unit = end;
    }
  }

  hasBlock(start: number, block: number): boolean {
    return this.has(start, block * UNITS_PER_BLOCK, (block + 1) * UNITS_PER_BLOCK);
  }

  /** Blocks of [from, to) of which some unit is absent, as runs [block, count]. */
  absentRuns(start: number, from: number, to: number): [block: number, count: number][] {
    const runs: [number, number][] = [];
    for (let block = from; block < to; block++) {
      if (this.hasBlock(start, block)) continue;
      const last = runs.at(-1);
      if (last !== undefined && last[0] + last[1] === block) last[1]++;
      else runs.push([block, 1]);
    }
    return runs;
  }
}
