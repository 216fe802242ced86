/**
 * A block of a layer: entries sorted by key and LSN, found by binary search without taking the block apart.
 *
 *   u32 count, count × { key 18 bytes, lsn u64, valueEnd u32 }, then the values one after another
 *
 * `valueEnd` counts from the first value; an entry's value begins where the one before it ends. Keys that repeat
 * cost next to nothing once compressed.
 */
import { BLOCK_BYTES, LayerError } from './format.ts';
import { lsn, type Lsn } from '../../postgres/lsn.ts';
import { KEY_BYTES, keyBytes, keyFromBytes, type Key } from '../key.ts';
import type { Value } from '../value.ts';

const ENTRY_BYTES = KEY_BYTES + 8 + 4;
const HIGH = 0x1_0000_0000;

/** Room for values that a builder begins with; a larger value makes it grow. */
const VALUE_BYTES_MIN = BLOCK_BYTES;
const ENTRIES_MIN = 256;
/** Memory that is kept for the next raw block. */
const RAW_BYTES_KEPT = BLOCK_BYTES + 64;
/** A value up to this size is copied byte by byte: a call costs more. */
const LOOP_BYTES_MAX = 64;

/** Entries and values as they will stand in the block, so that nothing is kept of an entry but its bytes. */
export class BlockBuilder {
  #entries = new Uint8Array(ENTRIES_MIN * ENTRY_BYTES);
  #entryData = new DataView(this.#entries.buffer);
  #values = new Uint8Array(VALUE_BYTES_MIN);
  #raw = new Uint8Array(RAW_BYTES_KEPT);
  #count = 0;
  #valueBytes = 0;
  #firstKey: Key | null = null;
  #firstLsn = 0 as Lsn;
  #lastKey: Key | null = null;

  get count(): number {
    return this.#count;
  }
  get firstKey(): Key {
    return this.#firstKey!;
  }
  get firstLsn(): Lsn {
    return this.#firstLsn;
  }
  /** Bytes that `finish` would return. */
  get bytes(): number {
    return 4 + this.#count * ENTRY_BYTES + this.#valueBytes;
  }
  /** Whether an entry of `valueLength` belongs into a block of its own. */
  isFullFor(valueLength: number): boolean {
    return this.#count > 0 && this.bytes + ENTRY_BYTES + valueLength > BLOCK_BYTES;
  }
  /** The value is copied. */
  add(key: Key, at: Lsn, value: Value): void {
    const entry = this.#count * ENTRY_BYTES;
    if (entry === this.#entries.length) this.#growEntries();
    if (this.#count === 0) {
      this.#firstKey = key;
      this.#firstLsn = at;
    }
    const entries = this.#entries;
    if (key === this.#lastKey)
      entries.copyWithin(entry, entry - ENTRY_BYTES, entry - ENTRY_BYTES + KEY_BYTES);
    else keyBytes(key, entries, entry);
    this.#lastKey = key;
    this.#count++;
    const start = this.#valueBytes;
    const end = start + value.length;
    if (end > this.#values.length) this.#growValues(end);
    if (value.length > LOOP_BYTES_MAX) this.#values.set(value, start);
    else for (let i = 0; i < value.length; i++) this.#values[start + i] = value[i];
    this.#valueBytes = end;
    this.#entryData.setUint32(entry + KEY_BYTES, at % HIGH, true);
    this.#entryData.setUint32(entry + KEY_BYTES + 4, Math.floor(at / HIGH), true);
    this.#entryData.setUint32(entry + KEY_BYTES + 8, end, true);
  }
  /** The raw block, good until the next call; the builder is empty after. */
  finish(): Uint8Array {
    const length = this.bytes;
    if (this.#raw.length < length || this.#raw.length > 2 * RAW_BYTES_KEPT)
      this.#raw = new Uint8Array(Math.max(length, RAW_BYTES_KEPT));
    const bytes = this.#raw.subarray(0, length);
    new DataView(bytes.buffer).setUint32(0, this.#count, true);
    const entryBytes = this.#count * ENTRY_BYTES;
    bytes.set(this.#entries.subarray(0, entryBytes), 4);
    bytes.set(this.#values.subarray(0, this.#valueBytes), 4 + entryBytes);
    if (this.#values.length > VALUE_BYTES_MIN) this.#values = new Uint8Array(VALUE_BYTES_MIN);
    this.#count = 0;
    this.#valueBytes = 0;
    this.#lastKey = null;
    return bytes;
  }
  #growEntries(): void {
    const entries = new Uint8Array(this.#entries.length * 2);
    entries.set(this.#entries);
    this.#entries = entries;
    this.#entryData = new DataView(entries.buffer);
  }
  #growValues(needed: number): void {
    const values = new Uint8Array(Math.max(needed, this.#values.length * 2));
    values.set(this.#values.subarray(0, this.#valueBytes));
    this.#values = values;
  }
}

/** A raw block, to be searched. Values are views of its bytes. */
export class Block {
  readonly bytes: Uint8Array;
  readonly count: number;
  readonly #data: DataView;
  readonly #valuesStart: number;

  /** Throws LayerError `corrupt` when the entries do not fill the block exactly. */
  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.#data = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.count = bytes.length >= 4 ? this.#data.getUint32(0, true) : 0;
    this.#valuesStart = 4 + this.count * ENTRY_BYTES;
    if (
      this.count === 0 ||
      this.#valuesStart > bytes.length ||
      this.#valuesStart + this.#valueEnd(this.count - 1) !== bytes.length
    )
      throw new LayerError(
        'corrupt',
        `block of ${bytes.length} bytes is not filled by ${this.count} entries`,
      );
  }
  #valueEnd(index: number): number {
    return index < 0 ? 0 : this.#data.getUint32(4 + index * ENTRY_BYTES + KEY_BYTES + 8, true);
  }
  key(index: number): Key {
    return keyFromBytes(this.bytes, 4 + index * ENTRY_BYTES);
  }
  lsn(index: number): Lsn {
    const at = 4 + index * ENTRY_BYTES + KEY_BYTES;
    return lsn(this.#data.getUint32(at + 4, true) * HIGH + this.#data.getUint32(at, true));
  }
  value(index: number): Value {
    const from = this.#valueEnd(index - 1);
    const to = this.#valueEnd(index);
    if (to < from || this.#valuesStart + to > this.bytes.length)
      throw new LayerError('corrupt', `block entry ${index}: value from ${from} to ${to}`);
    return this.bytes.subarray(this.#valuesStart + from, this.#valuesStart + to) as Value;
  }
  /** Negative, 0 or positive as entry `index` sorts before, at or after `key`. */
  compareKey(index: number, key: Key): number {
    const at = 4 + index * ENTRY_BYTES;
    for (let i = 0; i < KEY_BYTES; i++) {
      const difference = this.bytes[at + i] - key.charCodeAt(i);
      if (difference !== 0) return difference;
    }
    return 0;
  }
  /** Index of the last entry at or before (`key`, `at`); -1 when all come after it. */
  lastAtOrBefore(key: Key, at: Lsn): number {
    let low = 0;
    let high = this.count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const order = this.compareKey(middle, key) || this.lsn(middle) - at;
      if (order <= 0) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }
}
