/**
 * The in-memory layer: takes what ingest finds, in the order of the WAL, until it is frozen and written as a level-0 delta.
 *
 *   heads     fork ──► block ──► its newest entry; for what is no page, key ──► its newest entry
 *   entries   lsn, where the value is, the key's entry before: columns of numbers
 *   values    the bytes of all values, one after another (value-slabs.ts)
 *
 * It holds every version with startLsn < LSN ≤ endLsn. Millions of versions are held at a time and all of them survive
 * until the layer is written, so nothing is an object of its own: the garbage collector has nothing to copy.
 * Pages and the rest are kept apart, because only the rest (sizes, directories) is ever scanned in key order while
 * the layer is open.
 */
import { assert } from '../../assert.ts';
import type { Lsn } from '../../postgres/lsn.ts';
import { isPageKey, keyBlock, pageKeyAt, type Key, type KeyRange } from '../key.ts';
import { startsChain, type Value, type Version } from '../value.ts';
import { BlockHeads, NONE } from './block-heads.ts';
import type { LayerEntry } from './merge.ts';
import { ValueSlabs, type Spill } from './value-slabs.ts';

/** What an entry takes besides its value, about: its columns, and its block's place in the table, which are often half empty. */
const ENTRY_OVERHEAD_BYTES = 64;
const ENTRIES_MIN = 1024;
/** Page keys are the same up to here within a fork; the block follows. */
const FORK_CHARACTERS = 14;
/** Forks that are found without a map: the same few follow each other in WAL. */
const RECENT_FORKS = 64;

interface Fork {
  readonly prefix: string;
  readonly heads: BlockHeads;
}

export class MemoryLayer {
  /** Exclusive. */
  readonly startLsn: Lsn;
  readonly #forks = new Map<string, Fork>();
  readonly #recent: (Fork | undefined)[] = Array.from({ length: RECENT_FORKS });
  readonly #others = new Map<Key, number>();
  #count = 0;
  #lsns = new Float64Array(ENTRIES_MIN);
  #slabOf = new Uint32Array(ENTRIES_MIN);
  #offsets = new Uint32Array(ENTRIES_MIN);
  #lengths = new Uint32Array(ENTRIES_MIN);
  #before = new Int32Array(ENTRIES_MIN);
  readonly #values: ValueSlabs;
  #lastFork: Fork | null = null;
  #endLsn: Lsn;
  #lastPutLsn: Lsn;
  #bytes = 0;
  #frozen = false;

  /** `spill`: where values go that are too many for memory; null: nowhere. */
  constructor(startLsn: Lsn, spill: Spill | null = null) {
    this.startLsn = startLsn;
    this.#values = new ValueSlabs(spill);
    this.#endLsn = startLsn;
    this.#lastPutLsn = startLsn;
  }
  /** Inclusive: everything up to here is in, or in older layers. */
  get endLsn(): Lsn {
    return this.#endLsn;
  }
  /** All of it, about, in memory or spilled. */
  get bytes(): number {
    return this.#bytes;
  }
  /** In memory, about. */
  get residentBytes(): number {
    return this.#count * ENTRY_OVERHEAD_BYTES + this.#values.residentBytes;
  }
  get spilledBytes(): number {
    return this.#values.spilledBytes;
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
    const entry = this.#newEntry(lsn);
    this.#values.copyIn(value);
    this.#placed(entry, value);
    this.#link(entry, isPageKey(key) ? this.#replacePage(key, entry) : this.#replaceOther(key, entry));
  }
  /** `put` of a value that nobody changes any more, as lib/storage/value.ts makes them: it is kept as it is. */
  keep(key: Key, lsn: Lsn, value: Value): void {
    const entry = this.#newEntry(lsn);
    this.#values.keep(value);
    this.#placed(entry, value);
    this.#link(entry, isPageKey(key) ? this.#replacePage(key, entry) : this.#replaceOther(key, entry));
  }
  /** `keep` of a page, whose key is `pageKeyAt(prefix, block)`. */
  keepPage(prefix: string, block: number, lsn: Lsn, value: Value): void {
    const entry = this.#newEntry(lsn);
    this.#values.keep(value);
    this.#placed(entry, value);
    if (prefix !== this.#lastFork?.prefix) this.#lastFork = this.#forkAt(prefix);
    this.#link(entry, this.#lastFork.heads.replace(block, entry));
  }
  #newEntry(lsn: Lsn): number {
    assert(
      !this.#frozen && lsn > this.startLsn && lsn >= this.#endLsn,
      'a layer takes versions in LSN order',
    );
    this.#lastPutLsn = lsn;
    if (this.#count === this.#lsns.length) this.#grow();
    this.#lsns[this.#count] = lsn;
    return this.#count++;
  }
  #replacePage(key: Key, entry: number): number {
    return this.#forkOf(key, true)!.heads.replace(keyBlock(key), entry);
  }
  #replaceOther(key: Key, entry: number): number {
    const head = this.#others.get(key) ?? NONE;
    this.#others.set(key, entry);
    return head;
  }
  /** `head` was the key's newest entry until now. */
  #link(entry: number, head: number): void {
    this.#before[entry] = head !== NONE && this.#lsns[head] === this.#lsns[entry] ? this.#before[head] : head;
    this.#bytes += this.#lengths[entry] + ENTRY_OVERHEAD_BYTES;
  }
  #forkAt(prefix: string): Fork {
    let fork = this.#forks.get(prefix);
    if (fork === undefined) this.#forks.set(prefix, (fork = { prefix, heads: new BlockHeads() }));
    return fork;
  }
  /** The fork of a page key; made if it is not there and `make`. */
  #forkOf(key: Key, make: boolean): Fork | undefined {
    // The low halves of relfilenumber (or segment) and the fork tell the few that are busy apart.
    const slot =
      (key.charCodeAt(12) ^ key.charCodeAt(8) ^ (key.charCodeAt(13) << 4) ^ (key.charCodeAt(11) << 1)) &
      (RECENT_FORKS - 1);
    const recent = this.#recent[slot];
    if (recent !== undefined && startsWith(key, recent.prefix)) return recent;
    const prefix = key.slice(0, FORK_CHARACTERS);
    let fork = this.#forks.get(prefix);
    if (fork === undefined) {
      if (!make) return undefined;
      fork = { prefix, heads: new BlockHeads() };
      this.#forks.set(prefix, fork);
    }
    this.#recent[slot] = fork;
    return fork;
  }
  #head(key: Key): number {
    if (!isPageKey(key)) return this.#others.get(key) ?? NONE;
    return this.#forkOf(key, false)?.heads.get(keyBlock(key)) ?? NONE;
  }
  #placed(entry: number, { length }: Value): void {
    const { slab, offset } = this.#values.place;
    this.#slabOf[entry] = slab;
    this.#offsets[entry] = offset;
    this.#lengths[entry] = length;
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
  #value(entry: number): Value {
    return this.#values.read(this.#slabOf[entry], this.#offsets[entry], this.#lengths[entry]);
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

  /** It has been written out, and nobody reads it any more. */
  close(): void {
    this.#values.close();
  }

  /** As LayerReader.collect: newest first into `into`; true when it met a version that starts a chain. */
  collect(key: Key, after: Lsn, upTo: Lsn, into: Version[]): boolean {
    for (let entry = this.#head(key); entry !== NONE; entry = this.#before[entry]) {
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
    const chain: number[] = [];
    // A fork's prefix sorts before its own pages and after everything that comes before them.
    for (const part of [...this.#others.keys(), ...this.#forks.keys()].sort()) {
      const fork = this.#forks.get(part);
      if (fork === undefined) {
        const key = part as Key;
        this.#chain(this.#others.get(key)!, chain);
        for (let at = chain.length - 1; at >= 0; at--) yield this.#entry(key, chain[at]);
        continue;
      }
      for (const block of fork.heads.sorted()) {
        const key = pageKeyAt(fork.prefix, block);
        const head = fork.heads.get(block);
        if (this.#before[head] === NONE) {
          yield this.#entry(key, head);
          continue;
        }
        this.#chain(head, chain);
        for (let at = chain.length - 1; at >= 0; at--) yield this.#entry(key, chain[at]);
      }
    }
  }
  /** The entries of a key, newest first. */
  #chain(head: number, into: number[]): void {
    into.length = 0;
    for (let entry = head; entry !== NONE; entry = this.#before[entry]) into.push(entry);
  }
  #entry(key: Key, entry: number): LayerEntry {
    return { key, lsn: this.#lsns[entry] as Lsn, value: this.#value(entry) };
  }
}

/** `startsWith` of strings, for a few characters that differ late if at all. */
function startsWith(key: Key, prefix: string): boolean {
  for (let at = FORK_CHARACTERS - 1; at >= 0; at--)
    if (key.charCodeAt(at) !== prefix.charCodeAt(at)) return false;
  return true;
}
