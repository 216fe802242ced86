/**
 * The layer map: which layers hold versions of a key between two LSNs.
 *
 *   LSN ▲   ┌──────────── L0 delta, all keys ────────────┐
 *       │   ├───── L1 delta ─────┬────── L1 delta ───────┤
 *       │   ══ image ══   ══ image ══                          a read goes down until it meets an image
 *       └──────────────────────────────────────────────────► key
 *
 * The bounds of all layers but level 0 cut the keys into slots; a slot lists the layers over it, newest first,
 * so that a lookup is one binary search and a walk. The slots are made anew at the first lookup after a change.
 * Invariant, which compaction keeps: no two deltas hold the same key at the same LSN.
 */
import type { Lsn } from '../../postgres/lsn.ts';
import { assert } from '../../assert.ts';
import { KEY_BYTES, type Key, type KeyRange } from '../key.ts';
import {
  isLevel0,
  layerName,
  newestLsn,
  overlaps,
  type DeltaDescriptor,
  type ImageDescriptor,
  type LayerDescriptor,
} from './descriptor.ts';

/** Where a read of some keys at an LSN finds its versions. */
export interface LayerSearch<L> {
  /** Deltas with versions above the image and at or below the LSN asked for; newest first. */
  deltas: (L & { descriptor: DeltaDescriptor })[];
  /** The newest image at or below the LSN; null when the deltas must hold a version that starts a chain. */
  image: (L & { descriptor: ImageDescriptor }) | null;
}

interface Slot<L> {
  first: Key;
  /** Newest first; an image before a delta that ends at its LSN, since it says the same and more. */
  layers: L[];
}

export class LayerMap<L extends { descriptor: LayerDescriptor }> {
  readonly #layers = new Map<string, L>();
  #slots: Slot<L>[] | null = null;
  #level0: L[] = [];
  #level0Count = 0;

  /** Every layer, in no order. */
  values(): IterableIterator<L> {
    return this.#layers.values();
  }
  get size(): number {
    return this.#layers.size;
  }
  get(name: string): L | undefined {
    return this.#layers.get(name);
  }
  get level0Count(): number {
    return this.#level0Count;
  }
  /** Level-0 deltas, oldest first. */
  level0(): L[] {
    this.#prepare();
    return this.#level0.toReversed();
  }
  /** Takes layers out and puts others in, in one step as a reader sees it. */
  replace(change: { remove?: Iterable<L>; insert?: Iterable<L> }): void {
    for (const layer of change.remove ?? []) {
      const removed = this.#layers.delete(layerName(layer.descriptor));
      if (isLevel0(layer.descriptor)) this.#level0Count--;
      assert(removed, `layer ${layerName(layer.descriptor)} is in the map`);
    }
    for (const layer of change.insert ?? []) {
      const name = layerName(layer.descriptor);
      assert(!this.#layers.has(name), `layer ${name} is not in the map yet`);
      this.#layers.set(name, layer);
      if (isLevel0(layer.descriptor)) this.#level0Count++;
    }
    this.#slots = null;
  }

  /** Layers for a read of `key` as of `lsn`. */
  search(key: Key, lsn: Lsn): LayerSearch<L> {
    const slots = this.#prepare();
    return this.#searchSlot(slots[slotOf(slots, key)], lsn);
  }

  /** As `search`, and the key below which the answer is the same for all keys from `key` on; null: for all of them. */
  searchFrom(key: Key, lsn: Lsn): { layers: LayerSearch<L>; end: Key | null } {
    const slots = this.#prepare();
    const at = slotOf(slots, key);
    return { layers: this.#searchSlot(slots[at], lsn), end: slots[at + 1]?.first ?? null };
  }

  /** The same for every key of `range`: parts that fill the range in key order, each with one answer. */
  searchRange(range: KeyRange, lsn: Lsn): { keys: KeyRange; layers: LayerSearch<L> }[] {
    const slots = this.#prepare();
    const parts: { keys: KeyRange; layers: LayerSearch<L> }[] = [];
    for (let at = slotOf(slots, range.first); at < slots.length && slots[at].first <= range.last; at++) {
      const first = at === slotOf(slots, range.first) ? range.first : slots[at].first;
      const next = slots[at + 1]?.first;
      const last = next === undefined || next > range.last ? range.last : keyBefore(next);
      parts.push({ keys: { first, last }, layers: this.#searchSlot(slots[at], lsn) });
    }
    return parts;
  }

  /**
   * The layers that some read may look into, of reads at any of `points` (ascending), and at the last of them and above at any
   * LSN. No read looks into the others.
   */
  needed(points: readonly Lsn[]): Set<L> {
    const needed = new Set<L>();
    const horizon = points[points.length - 1];
    for (const layer of this.#layers.values()) if (newestLsn(layer.descriptor) > horizon) needed.add(layer);
    // A read above the horizon that finds no image above it goes on as a read at the horizon does.
    for (const slot of this.#prepare())
      for (const point of points) {
        const { deltas, image } = this.#searchSlot(slot, point);
        for (const delta of deltas) needed.add(delta);
        if (image !== null) needed.add(image);
      }
    return needed;
  }

  #searchSlot(slot: Slot<L>, lsn: Lsn): LayerSearch<L> {
    const found: LayerSearch<L> = { deltas: [], image: null };
    for (const layer of slot.layers) {
      const { descriptor } = layer;
      if (descriptor.kind === 'image') {
        if (descriptor.lsn > lsn) continue;
        found.image = layer as L & { descriptor: ImageDescriptor };
        break;
      }
      if (descriptor.startLsn < lsn) found.deltas.push(layer as L & { descriptor: DeltaDescriptor });
    }
    const floor = found.image?.descriptor.lsn ?? -1;
    for (const layer of this.#level0) {
      const descriptor = layer.descriptor as DeltaDescriptor;
      if (descriptor.startLsn < lsn && descriptor.endLsn > floor)
        found.deltas.push(layer as L & { descriptor: DeltaDescriptor });
    }
    found.deltas.sort((a, b) => b.descriptor.endLsn - a.descriptor.endLsn);
    return found;
  }

  #prepare(): Slot<L>[] {
    if (this.#slots !== null) return this.#slots;
    const all = [...this.#layers.values()].sort(newestFirst);
    this.#level0 = all.filter((layer) => isLevel0(layer.descriptor));
    const others = all.filter((layer) => !isLevel0(layer.descriptor));
    const cuts = new Set<Key>(['\0'.repeat(KEY_BYTES) as Key]);
    for (const { descriptor } of others) {
      cuts.add(descriptor.keys.first);
      const after = keyAfter(descriptor.keys.last);
      if (after !== null) cuts.add(after);
    }
    const slots: Slot<L>[] = [...cuts].sort(byKey).map((first) => ({ first, layers: [] }));
    for (const layer of others) {
      const { first, last } = layer.descriptor.keys;
      for (let at = slotOf(slots, first); at < slots.length && slots[at].first <= last; at++)
        slots[at].layers.push(layer);
    }
    return (this.#slots = slots);
  }
}

/** Whether any of `layers` overlaps the range; for compaction. */
export const anyOverlaps = (layers: Iterable<{ descriptor: LayerDescriptor }>, keys: KeyRange): boolean => {
  for (const { descriptor } of layers) if (overlaps(descriptor.keys, keys)) return true;
  return false;
};

function newestFirst(a: { descriptor: LayerDescriptor }, b: { descriptor: LayerDescriptor }): number {
  const order = newestLsn(b.descriptor) - newestLsn(a.descriptor);
  if (order !== 0) return order;
  return (a.descriptor.kind === 'image' ? 0 : 1) - (b.descriptor.kind === 'image' ? 0 : 1);
}

const byKey = (a: Key, b: Key): number => (a < b ? -1 : a > b ? 1 : 0);

/** Index of the slot that `key` is in; the first slot begins at the first key there can be. */
function slotOf(slots: readonly { first: Key }[], key: Key): number {
  let low = 1;
  let high = slots.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (slots[middle].first <= key) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/** The next 18-byte string; null after the last. */
export function keyAfter(key: Key): Key | null {
  for (let at = KEY_BYTES - 1; at >= 0; at--) {
    const byte = key.charCodeAt(at);
    if (byte !== 0xff)
      return (key.slice(0, at) + String.fromCharCode(byte + 1) + '\0'.repeat(KEY_BYTES - 1 - at)) as Key;
  }
  return null;
}
/** The 18-byte string before `key`, which is not the first. */
export function keyBefore(key: Key): Key {
  for (let at = KEY_BYTES - 1; at >= 0; at--) {
    const byte = key.charCodeAt(at);
    if (byte !== 0)
      return (key.slice(0, at) + String.fromCharCode(byte - 1) + '\xff'.repeat(KEY_BYTES - 1 - at)) as Key;
  }
  throw new RangeError('no key comes before the first');
}
