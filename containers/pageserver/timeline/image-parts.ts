/**
 * Which layers an image of some keys at an LSN is made of: those that a read there would visit, in this timeline and, where it
 * has no image of its own, in the one that it branched from.
 */
import type { Lsn } from '../../../lib/postgres/lsn.ts';
import { ALL_KEYS, type KeyRange } from '../../../lib/storage/key.ts';
import type { StoredLayer } from '../layers/stored-layer.ts';
import type { LayerStack } from './layer-stack.ts';

/** A timeline and what it branched from. */
export interface Lineage {
  stack: LayerStack;
  ancestor: { lineage: Lineage; lsn: Lsn } | null;
}
export interface LayerInput {
  layer: StoredLayer;
  /** Exclusive. */
  after: Lsn;
  /** Inclusive. */
  upTo: Lsn;
}

const EVERYTHING = -1 as Lsn;

/** About what an image of all keys of the timeline as it began would take; 0 for one that did not branch from another. */
export function inheritedBytes({ ancestor }: Lineage): number {
  if (ancestor === null) return 0;
  const { lineage, lsn } = ancestor;
  const images = new Set(lineage.stack.searchRange(ALL_KEYS, lsn).map(({ layers }) => layers.image));
  let bytes = images.has(null) ? inheritedBytes(lineage) : 0;
  for (const image of images) bytes += image?.size ?? 0;
  return bytes;
}

/** Parts that fill `keys` in order; null while some of it is only in memory. */
export function imageParts(
  { stack, ancestor }: Lineage,
  keys: KeyRange,
  lsn: Lsn,
): { keys: KeyRange; inputs: LayerInput[] }[] | null {
  if (stack.memory(lsn).length > 0) return null;
  const parts: { keys: KeyRange; inputs: LayerInput[] }[] = [];
  for (const { keys: part, layers } of stack.searchRange(keys, lsn)) {
    const floor = layers.image?.descriptor.lsn ?? EVERYTHING;
    const own: LayerInput[] = layers.deltas.map((layer) => ({ layer, after: floor, upTo: lsn }));
    if (layers.image !== null) own.push({ layer: layers.image, after: EVERYTHING, upTo: lsn });
    if (layers.image !== null || ancestor === null) {
      parts.push({ keys: part, inputs: own });
      continue;
    }
    const inherited = imageParts(ancestor.lineage, part, Math.min(lsn, ancestor.lsn) as Lsn);
    if (inherited === null) return null;
    for (const each of inherited) parts.push({ keys: each.keys, inputs: [...own, ...each.inputs] });
  }
  return parts;
}
