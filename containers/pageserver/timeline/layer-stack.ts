/**
 * Everything a read walks through, newest first: the open layer, the frozen ones, the layers of the map.
 *
 *   open            takes what ingest finds
 *   frozen          oldest first; each waits to be written as a level-0 delta
 *   map             what is in files and objects
 *
 * A search is synchronous, so it sees one state: a frozen layer is put into the map and taken off the list in one step.
 */
import { assert } from '../../../lib/assert.ts';
import type { Lsn } from '../../../lib/postgres/lsn.ts';
import type { Key, KeyRange } from '../../../lib/storage/key.ts';
import { LayerMap, type LayerSearch } from '../../../lib/storage/layers/layer-map.ts';
import { MemoryLayer } from '../../../lib/storage/layers/memory-layer.ts';
import type { Spill } from '../../../lib/storage/layers/value-slabs.ts';
import { WHOLE_HISTORY, type IndexedHistory } from '../../../lib/storage/layers/timeline-index.ts';
import type { StoredLayer } from '../layers/stored-layer.ts';
import { History } from './history.ts';

/** Up to where the timeline has been ingested: the end of a record, and where that record starts. */
export interface Position {
  lsn: Lsn;
  /** 0/0 before the first record. */
  previousLsn: Lsn;
}
export interface FrozenLayer {
  memory: MemoryLayer;
  /** The end of the layer. */
  end: Position;
}

export class LayerStack {
  readonly map = new LayerMap<StoredLayer>();
  /** Which LSNs can be read; whoever reads asks it first. */
  readonly history: History;
  readonly #spill: Spill | null;
  #open: MemoryLayer;
  #frozen: FrozenLayer[] = [];
  #position: Position;

  constructor(
    position: Position,
    layers: Iterable<StoredLayer>,
    { history = WHOLE_HISTORY, spill = null }: { history?: IndexedHistory; spill?: Spill | null } = {},
  ) {
    this.#position = position;
    this.history = new History(history);
    this.#spill = spill;
    this.#open = new MemoryLayer(position.lsn, spill);
    this.map.replace({ insert: layers });
  }
  /** All records up to here can be read. */
  get position(): Position {
    return this.#position;
  }
  get open(): MemoryLayer {
    return this.#open;
  }
  get frozen(): readonly FrozenLayer[] {
    return this.#frozen;
  }
  /** Of the open and the frozen layers, in memory. */
  get residentBytes(): number {
    return this.#frozen.reduce((sum, { memory }) => sum + memory.residentBytes, this.#open.residentBytes);
  }
  /** Nothing is read any more. */
  close(): void {
    this.#open.close();
    for (const { memory } of this.#frozen) memory.close();
  }
  /** The record that was just filed ends here. */
  advance(position: Position): void {
    this.#open.advance(position.lsn);
    this.#position = position;
  }
  /** Freezes the open layer at the current position; false when nothing has come, or a record is half in. */
  freeze(): boolean {
    if (this.#open.endLsn === this.#open.startLsn || !this.#open.isBetweenRecords) return false;
    this.#open.freeze();
    this.#frozen.push({ memory: this.#open, end: this.#position });
    this.#open = new MemoryLayer(this.#position.lsn, this.#spill);
    return true;
  }
  /** The oldest frozen layer is in `layer` now; null when it held nothing. */
  flushed(frozen: FrozenLayer, layer: StoredLayer | null): void {
    assert(this.#frozen[0] === frozen, 'frozen layers are flushed in their order');
    if (layer !== null) this.map.replace({ insert: [layer] });
    this.#frozen.shift();
    frozen.memory.close();
  }

  /** Memory layers that hold LSNs at or below `lsn`, newest first. */
  memory(lsn: Lsn): MemoryLayer[] {
    const layers = this.#open.startLsn < lsn ? [this.#open] : [];
    for (let at = this.#frozen.length - 1; at >= 0; at--)
      if (this.#frozen[at].memory.startLsn < lsn) layers.push(this.#frozen[at].memory);
    return layers;
  }
  search(key: Key, lsn: Lsn): LayerSearch<StoredLayer> {
    return this.map.search(key, lsn);
  }
  searchFrom(key: Key, lsn: Lsn): { layers: LayerSearch<StoredLayer>; end: Key | null } {
    return this.map.searchFrom(key, lsn);
  }
  searchRange(range: KeyRange, lsn: Lsn): { keys: KeyRange; layers: LayerSearch<StoredLayer> }[] {
    return this.map.searchRange(range, lsn);
  }
}
