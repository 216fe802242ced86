/**
 * The in-memory layer: takes what ingest finds, in the order of the WAL, until it is frozen and written as a level-0 delta.
 *
 * It holds every version with startLsn < LSN ≤ endLsn. Pages and the rest are kept apart, because only the rest
 * (sizes, directories) is ever scanned in key order while the layer is open.
 */
import { assert } from '../../assert.ts';
import type { Lsn } from '../../postgres/lsn.ts';
import { isPageKey, type Key, type KeyRange } from '../key.ts';
import { startsChain, type Value, type Version } from '../value.ts';

/** What an entry takes besides its value, about: key, version, typed array, map slot. */
const ENTRY_OVERHEAD_BYTES = 200;

export class MemoryLayer {
  /** Exclusive. */
  readonly startLsn: Lsn;
  readonly #pages = new Map<Key, Version[]>();
  readonly #others = new Map<Key, Version[]>();
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
    return this.#pages.size === 0 && this.#others.size === 0;
  }

  /** Files a value. LSNs never go back; a second value of a key at one LSN takes the first one's place. */
  put(key: Key, lsn: Lsn, value: Value): void {
    assert(
      !this.#frozen && lsn > this.startLsn && lsn >= this.#endLsn,
      'a layer takes versions in LSN order',
    );
    this.#lastPutLsn = lsn;
    const map = isPageKey(key) ? this.#pages : this.#others;
    const versions = map.get(key);
    this.#bytes += value.length + ENTRY_OVERHEAD_BYTES;
    if (versions === undefined) map.set(key, [{ lsn, value }]);
    else if (versions[versions.length - 1].lsn === lsn) versions[versions.length - 1] = { lsn, value };
    else versions.push({ lsn, value });
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
    const versions = (isPageKey(key) ? this.#pages : this.#others).get(key);
    if (versions === undefined) return false;
    for (let at = versions.length - 1; at >= 0; at--) {
      const version = versions[at];
      if (version.lsn > upTo) continue;
      if (version.lsn <= after) return false;
      into.push(version);
      if (startsChain(version.value)) return true;
    }
    return false;
  }

  /** Versions of keys of `range` that are not pages, by key ascending, then LSN. */
  scanOthers(range: KeyRange): { key: Key; versions: readonly Version[] }[] {
    return sorted(this.#others, range);
  }
  /** Everything, in the order of a layer file; of a frozen layer. */
  *entries(): Generator<{ key: Key; lsn: Lsn; value: Value }> {
    assert(this.#frozen, 'only a frozen layer is written out');
    for (const map of [this.#others, this.#pages])
      for (const { key, versions } of sorted(map))
        for (const { lsn, value } of versions) yield { key, lsn, value };
  }
}

function sorted(
  map: ReadonlyMap<Key, Version[]>,
  range?: KeyRange,
): { key: Key; versions: readonly Version[] }[] {
  const keys: Key[] = [];
  for (const key of map.keys())
    if (range === undefined || (range.first <= key && key <= range.last)) keys.push(key);
  keys.sort(); // by UTF-16 code units, which are the key's bytes
  return keys.map((key) => ({ key, versions: map.get(key)! }));
}
