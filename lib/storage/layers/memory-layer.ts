/**
 * The in-memory layer: takes what ingest finds, in the order of the WAL, until it is frozen and written as a level-0 delta.
 *
 *   heads     key ──► its newest entry
 *   entries   lsn, where the value is, the key's entry before: columns of numbers
 *   slabs     the bytes of all values, one after another
 *
 * It holds every version with startLsn < LSN ≤ endLsn. Millions of versions are held at a time and all of them survive
 * until the layer is written, so nothing but keys is an object of its own: the garbage collector has nothing to copy.
 * Pages and the rest are kept apart, because only the rest (sizes, directories) is ever scanned in key order while
 * the layer is open.
 */
import { assert } from '../../assert.ts';
import type { Lsn } from '../../postgres/lsn.ts';
import { isPageKey, keyBlock, type Key, type KeyRange } from '../key.ts';
import { startsChain, type Value, type Version } from '../value.ts';
import type { LayerEntry } from './merge.ts';

/** What an entry takes besides its value, about: its columns, its key and the key's place in the map. */
const ENTRY_OVERHEAD_BYTES = 100;
const SLAB_BYTES = 1 << 20;
const ENTRIES_MIN = 1024;
const NONE = -1;

export class MemoryLayer {
  /** Exclusive. */
  readonly startLsn: Lsn;
  readonly #pages = new Map<Key, number>();
  readonly #others = new Map<Key, number>();
  #count = 0;
  #lsns = new Float64Array(ENTRIES_MIN);
  #slabOf = new Uint32Array(ENTRIES_MIN);
  #offsets = new Uint32Array(ENTRIES_MIN);
  #lengths = new Uint32Array(ENTRIES_MIN);
  #before = new Int32Array(ENTRIES_MIN);
  readonly #slabs: Uint8Array[] = [];
  #slabUsed = SLAB_BYTES;
  #endLsn: Lsn;
  #lastPutLsn: Lsn;
  #bytes = 0;
  #frozen = false;

  constructor(startLsn: Lsn) {
    this.startLsn = startLsn;
    this.#endLsn = startLsn;
    this.#lastPutLsn = startLsn;
  }
  /** Inclusive: everything up to here is in, or in older layers. */
  get endLsn(): Lsn {
    return this.#endLsn;
  }
  /** Memory taken, about. */
  get bytes(): number {
    return this.#bytes;
  }
  /** No record is half in: what was filed last is at or below `endLsn`. */
  get isBetweenRecords(): boolean {
    return this.#lastPutLsn <= this.#endLsn;
  }
  get isEmpty(): boolean {
    return this.#count === 0;
  }

  /** Files a value, which is copied. LSNs never go back; a second value of a key at one LSN takes the first one's place. */
  put(key: Key, lsn: Lsn, value: Value): void {
    assert(
      !this.#frozen && lsn > this.startLsn && lsn >= this.#endLsn,
      'a layer takes versions in LSN order',
    );
    this.#lastPutLsn = lsn;
    const heads = isPageKey(key) ? this.#pages : this.#others;
    const head = heads.get(key) ?? NONE;
    if (this.#count === this.#lsns.length) this.#grow();
    const entry = this.#count++;
    heads.set(key, entry);
    this.#store(entry, value);
    this.#lsns[entry] = lsn;
    this.#before[entry] = head !== NONE && this.#lsns[head] === lsn ? this.#before[head] : head;
    this.#bytes += value.length + ENTRY_OVERHEAD_BYTES;
  }
  #store(entry: number, value: Value): void {
    if (this.#slabUsed + value.length > SLAB_BYTES) {
      this.#slabs.push(new Uint8Array(Math.max(SLAB_BYTES, value.length)));
      this.#slabUsed = 0;
    }
    const slab = this.#slabs.length - 1;
    this.#slabs[slab].set(value, this.#slabUsed);
    this.#slabOf[entry] = slab;
    this.#offsets[entry] = this.#slabUsed;
    this.#lengths[entry] = value.length;
    this.#slabUsed += value.length;
  }
  #grow(): void {
    const longer = <T extends Float64Array | Uint32Array | Int32Array>(column: T, into: T): T => {
      into.set(column);
      return into;
    };
    const length = this.#count * 2;
    this.#lsns = longer(this.#lsns, new Float64Array(length));
    this.#slabOf = longer(this.#slabOf, new Uint32Array(length));
    this.#offsets = longer(this.#offsets, new Uint32Array(length));
    this.#lengths = longer(this.#lengths, new Uint32Array(length));
    this.#before = longer(this.#before, new Int32Array(length));
  }
  /** A view. */
  #value(entry: number): Value {
    const offset = this.#offsets[entry];
    return this.#slabs[this.#slabOf[entry]].subarray(offset, offset + this.#lengths[entry]) as Value;
  }

  /** Everything up to `lsn` has been filed. */
  advance(lsn: Lsn): void {
    assert(!this.#frozen && lsn >= this.#endLsn, 'a layer advances');
    this.#endLsn = lsn;
  }
  /** Takes nothing any more. */
  freeze(): void {
    assert(this.isBetweenRecords, 'a layer is frozen between two records');
    this.#frozen = true;
  }

  /** As LayerReader.collect: newest first into `into`; true when it met a version that starts a chain. */
  collect(key: Key, after: Lsn, upTo: Lsn, into: Version[]): boolean {
    let entry = (isPageKey(key) ? this.#pages : this.#others).get(key) ?? NONE;
    for (; entry !== NONE; entry = this.#before[entry]) {
      const lsn = this.#lsns[entry] as Lsn;
      if (lsn > upTo) continue;
      if (lsn <= after) return false;
      const value = this.#value(entry);
      into.push({ lsn, value });
      if (startsChain(value)) return true;
    }
    return false;
  }

  /** The newest version at or below `upTo` of each key of `range` that is not a page; in no order. */
  *scanOthers(range: KeyRange, upTo: Lsn): Generator<LayerEntry> {
    for (const [key, head] of this.#others) {
      if (key < range.first || key > range.last) continue;
      let entry = head;
      while (entry !== NONE && this.#lsns[entry] > upTo) entry = this.#before[entry];
      if (entry !== NONE) yield { key, lsn: this.#lsns[entry] as Lsn, value: this.#value(entry) };
    }
  }

  /** Everything, in the order of a layer file; of a frozen layer. Sorts fork by fork, as it goes. */
  *entries(): Generator<LayerEntry> {
    assert(this.#frozen, 'only a frozen layer is written out');
    for (const key of [...this.#others.keys()].sort()) yield* this.#versions(key, this.#others.get(key)!);
    const forks = new Map<string, Key[]>();
    for (const key of this.#pages.keys()) {
      const fork = key.slice(0, FORK_CHARACTERS);
      const keys = forks.get(fork);
      if (keys === undefined) forks.set(fork, [key]);
      else keys.push(key);
    }
    for (const fork of [...forks.keys()].sort())
      for (const key of sortByBlock(forks.get(fork)!)) yield* this.#versions(key, this.#pages.get(key)!);
  }
  *#versions(key: Key, head: number): Generator<LayerEntry> {
    const entries: number[] = [];
    for (let entry = head; entry !== NONE; entry = this.#before[entry]) entries.push(entry);
    for (let at = entries.length - 1; at >= 0; at--)
      yield { key, lsn: this.#lsns[entries[at]] as Lsn, value: this.#value(entries[at]) };
  }
}

/** Page keys are the same up to here within a fork; the block follows. */
const FORK_CHARACTERS = 14;
/** Blocks and places in an array together make a number that is exact. */
const PLACES_MAX = 1 << 21;

/** Page keys of one fork by their blocks: numbers sort many times faster than strings. */
function sortByBlock(keys: readonly Key[]): Key[] {
  assert(keys.length <= PLACES_MAX, `${keys.length} pages of a fork in one layer`);
  const order = Float64Array.from(keys, (key, place) => keyBlock(key) * PLACES_MAX + place).sort();
  return Array.from(order, (each) => keys[each % PLACES_MAX]);
}
