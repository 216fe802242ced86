/**
 * The bytes of an in-memory layer's values, in slabs: its own, filled one after another, or the buffers that values were made in.
 *
 *   oldest ──► spilled │ spilled │ in memory │ in memory │ being filled
 *
 * Beyond `spill.bytesMax` in memory, the oldest slabs go to a file and are read back a slab at a time; a few stay at hand,
 * for what was written together is mostly read together. A record may bring any number of pages at one LSN (CREATE DATABASE …
 * STRATEGY file_copy), and a layer cannot be frozen within a record: this is what bounds memory then.
 */
import type { Value } from '../value.ts';

/** A file of its own for one layer, which vanishes with it. Its reads throw when they do not give what was written. */
export interface SpillFile {
  /** Appends a slab; returns by what it is read. */
  write(slab: Uint8Array): number;
  read(id: number): Uint8Array;
  close(): void;
}
export interface Spill {
  /** What a layer keeps of values in memory. */
  bytesMax: number;
  /** Asked for once it is needed. */
  open: () => SpillFile;
}

/** Where a value is; the caller keeps it as numbers. */
export interface Place {
  slab: number;
  offset: number;
}

const SLAB_BYTES = 1 << 20;
/** A value up to this size is copied byte by byte: a call costs more. */
const LOOP_BYTES_MAX = 64;
const READ_BACK_MAX = 4;
const NONE = -1;

export class ValueSlabs {
  readonly #spill: Spill | null;
  #file: SpillFile | null = null;
  /** Null where it was spilled; then `#ids` has it. */
  readonly #slabs: (Uint8Array | null)[] = [];
  readonly #ids: number[] = [];
  /** Bytes of values in each: a buffer that is kept may hold values of other layers too. */
  readonly #used: number[] = [];
  /** All slabs before this one were spilled. */
  #oldest = 0;
  /** The one that values are copied to. */
  #own = NONE;
  #ownUsed = SLAB_BYTES;
  /** The buffer that was last kept, and its number. */
  #keptBuffer: ArrayBufferLike | null = null;
  #kept = NONE;
  #residentBytes = 0;
  #spilledBytes = 0;
  readonly #readBack = new Map<number, Uint8Array>();
  /** Of the last value that was taken. */
  readonly place: Place = { slab: NONE, offset: 0 };

  constructor(spill: Spill | null) {
    this.#spill = spill;
  }
  /** Of values, in memory. */
  get residentBytes(): number {
    return this.#residentBytes;
  }
  get spilledBytes(): number {
    return this.#spilledBytes;
  }

  /** Keeps the value as it is: nobody changes it any more. */
  keep(value: Value): void {
    if (value.buffer !== this.#keptBuffer) {
      this.#keptBuffer = value.buffer;
      this.#kept = this.#add(new Uint8Array(value.buffer));
    }
    this.#place(this.#kept, value.byteOffset, value.length);
  }
  copyIn(value: Value): void {
    if (this.#ownUsed + value.length > SLAB_BYTES) {
      this.#own = this.#add(new Uint8Array(Math.max(SLAB_BYTES, value.length)));
      this.#ownUsed = 0;
    }
    const bytes = this.#slabs[this.#own]!;
    if (value.length > LOOP_BYTES_MAX) bytes.set(value, this.#ownUsed);
    else for (let i = 0, to = this.#ownUsed; i < value.length; i++, to++) bytes[to] = value[i];
    this.#place(this.#own, this.#ownUsed, value.length);
    this.#ownUsed += value.length;
  }
  #place(slab: number, offset: number, length: number): void {
    this.place.slab = slab;
    this.place.offset = offset;
    this.#used[slab] += length;
    this.#residentBytes += length;
  }
  /** A view; of what was spilled, of a copy. Throws what the file throws. */
  read(slab: number, offset: number, length: number): Value {
    const bytes = this.#slabs[slab] ?? this.#readSpilled(slab);
    return bytes.subarray(offset, offset + length) as Value;
  }
  /** Nothing is read any more. */
  close(): void {
    this.#file?.close();
    this.#file = null;
  }

  #add(slab: Uint8Array): number {
    this.#used.push(0);
    const number = this.#slabs.push(slab) - 1;
    if (this.#spill !== null && this.#residentBytes > this.#spill.bytesMax)
      this.#spillOldest(this.#spill, number);
    return number;
  }
  #spillOldest({ bytesMax, open }: Spill, newest: number): void {
    for (let at = this.#oldest; at < newest && this.#residentBytes > bytesMax; at++) {
      const slab = this.#slabs[at];
      // More will be written to these two.
      if (slab === null || at === this.#own || at === this.#kept) continue;
      this.#file ??= open();
      this.#ids[at] = this.#file.write(slab);
      this.#slabs[at] = null;
      this.#residentBytes -= this.#used[at];
      this.#spilledBytes += this.#used[at];
    }
    while (this.#oldest < newest && this.#slabs[this.#oldest] === null) this.#oldest++;
  }
  #readSpilled(slab: number): Uint8Array {
    const known = this.#readBack.get(slab);
    if (known !== undefined) return known;
    if (this.#file === null) throw new Error('values of a layer that is closed');
    const bytes = this.#file.read(this.#ids[slab]);
    for (const oldest of this.#readBack.keys()) {
      if (this.#readBack.size < READ_BACK_MAX) break;
      this.#readBack.delete(oldest);
    }
    this.#readBack.set(slab, bytes);
    return bytes;
  }
}
