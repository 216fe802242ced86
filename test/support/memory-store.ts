/**
 * The simplest store that keeps the contract of the pageserver's: every version of every key in a Map. For tests of
 * what is stored, apart from how layers store it.
 */
import type { Lsn } from '../../lib/postgres/lsn.ts';
import type { WalRecord } from '../../lib/postgres/wal/record.ts';
import { copyDatabase, ingestRecord } from '../../lib/storage/ingest/ingest.ts';
import { formatKey, type Key, type KeyRange } from '../../lib/storage/key.ts';
import { reconstruct } from '../../lib/storage/reconstruct.ts';
import { TimelineState } from '../../lib/storage/state/timeline-state.ts';
import { plainContent, startsChain, type Value, type Version } from '../../lib/storage/value.ts';
import type { StorageView } from '../../lib/storage/view.ts';

export class MemoryStore {
  readonly #versions = new Map<Key, Version[]>();
  #sorted: Key[] | undefined;
  /** Values and their bytes, in all. */
  valueCount = 0;
  valueBytes = 0;

  put(lsn: Lsn, key: Key, value: Value): void {
    let versions = this.#versions.get(key);
    if (versions === undefined) {
      versions = [];
      this.#versions.set(key, versions);
      this.#sorted = undefined;
    }
    const last = versions.at(-1);
    if (last !== undefined && last.lsn >= lsn) {
      throw new Error(`${formatKey(key)}: a value at ${lsn} after one at ${last.lsn}`);
    }
    versions.push({ lsn, value });
    this.valueCount++;
    this.valueBytes += value.length;
  }

  get(key: Key, lsn: Lsn): Uint8Array | null {
    const versions = this.#versions.get(key) ?? [];
    let end = versions.length;
    while (end > 0 && versions[end - 1].lsn > lsn) end--;
    if (end === 0) return null;
    let start = end - 1;
    while (start > 0 && !startsChain(versions[start].value)) start--;
    return reconstruct(key, null, versions.slice(start, end));
  }

  view(lsn: Lsn, previousLsn = 0 as Lsn): StorageView {
    return {
      lsn,
      previousLsn,
      get: (key) => Promise.resolve(this.get(key, lsn)),
      scan: (range) => this.#scan(range, lsn),
    };
  }

  // oxlint-disable-next-line typescript/require-await -- the port is asynchronous
  async *#scan(range: KeyRange, lsn: Lsn): AsyncIterable<{ key: Key; content: Uint8Array }> {
    this.#sorted ??= [...this.#versions.keys()].sort();
    for (const key of this.#sorted) {
      if (key < range.first || key > range.last) continue;
      const newest = this.#versions.get(key)?.findLast((version) => version.lsn <= lsn);
      if (newest === undefined) continue;
      const content = plainContent(newest.value);
      if (content === undefined) throw new Error(`${formatKey(key)}: not a kind to be scanned`);
      if (content !== null) yield { key, content };
    }
  }
}

/** A store and the head's state, fed with records. */
export class MemoryTimeline {
  readonly store: MemoryStore;
  state: TimelineState;
  endLsn: Lsn;

  private constructor(store: MemoryStore, state: TimelineState, endLsn: Lsn) {
    this.store = store;
    this.state = state;
    this.endLsn = endLsn;
  }
  static async open(store: MemoryStore, startLsn: Lsn): Promise<MemoryTimeline> {
    return new MemoryTimeline(store, await TimelineState.load(store.view(startLsn)), startLsn);
  }
  /** As a restarted pageserver does: forgets the state in memory and loads it. */
  async reload(): Promise<void> {
    this.state = await TimelineState.load(this.store.view(this.endLsn, this.state.lastRecordLsn));
  }
  async ingest(record: WalRecord): Promise<void> {
    const end = record.endLsn;
    const emit = (key: Key, value: Value): void => this.store.put(end, key, value);
    const copy = ingestRecord(this.state, record, emit);
    if (copy !== null) await copyDatabase(copy, this.store.view(copy.readLsn), emit);
    this.endLsn = end;
  }
  headView(): StorageView {
    return this.store.view(this.endLsn, this.state.lastRecordLsn);
  }
}
