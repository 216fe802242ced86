/**
 * What a layer is: a rectangle of keys × LSNs, or a line of keys at one LSN. Its file name says all of it, so that a
 * listing of a bucket can be read, and two pageservers of different generations never write one name.
 *
 *   LSN ▲   ┌──────── delta ────────┐    every version of the keys with startLsn < LSN ≤ endLsn
 *       │   └───────────────────────┘
 *       │   ═════ image ═════            every key of the range that is there as of lsn; the others are absent
 *       └──────────────────────────► key
 *
 *   delta  {first}-{last}__{startLsn}-{endLsn}-{generation}
 *   image  {first}-{last}__{lsn}-{generation}
 *
 * Keys are 36 hexadecimal digits and both belong to the range, LSNs 16, the generation 8. A delta over all keys
 * is level 0: an in-memory layer as it was written out. (docs/formats/layers.md)
 */
import { formatLsn, lsn, type Lsn } from '../../postgres/lsn.ts';
import { ALL_KEYS, KEY_BYTES, keyHex, type Key, type KeyRange } from '../key.ts';

export interface DeltaDescriptor {
  kind: 'delta';
  keys: KeyRange;
  /** Exclusive. */
  startLsn: Lsn;
  /** Inclusive. */
  endLsn: Lsn;
  generation: number;
}
export interface ImageDescriptor {
  kind: 'image';
  keys: KeyRange;
  lsn: Lsn;
  generation: number;
}
export type LayerDescriptor = DeltaDescriptor | ImageDescriptor;

/** A level-0 delta: it may hold any key. */
export const isLevel0 = (layer: LayerDescriptor): boolean =>
  layer.kind === 'delta' && layer.keys.first === ALL_KEYS.first && layer.keys.last === ALL_KEYS.last;

/** The newest LSN that the layer speaks of. */
export const newestLsn = (layer: LayerDescriptor): Lsn => (layer.kind === 'delta' ? layer.endLsn : layer.lsn);

export const holdsKey = (layer: LayerDescriptor, key: Key): boolean =>
  layer.keys.first <= key && key <= layer.keys.last;

export const overlaps = (a: KeyRange, b: KeyRange): boolean => a.first <= b.last && b.first <= a.last;

const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, '0');

export function layerName(layer: LayerDescriptor): string {
  const keys = `${keyHex(layer.keys.first)}-${keyHex(layer.keys.last)}`;
  const lsns =
    layer.kind === 'delta' ? `${hex(layer.startLsn, 16)}-${hex(layer.endLsn, 16)}` : hex(layer.lsn, 16);
  return `${keys}__${lsns}-${hex(layer.generation, 8)}`;
}

const NAME = new RegExp(
  `^([0-9a-f]{${KEY_BYTES * 2}})-([0-9a-f]{${KEY_BYTES * 2}})__([0-9a-f]{16})(?:-([0-9a-f]{16}))?-([0-9a-f]{8})$`,
);

/** What a name says; null when it is not the name of a layer. */
export function parseLayerName(name: string): LayerDescriptor | null {
  const match = NAME.exec(name);
  if (match === null) return null;
  const [, first, last, from, to, generationText] = match;
  const keys = { first: keyFromHex(first), last: keyFromHex(last) };
  const generation = Number.parseInt(generationText, 16);
  const start = parseHexLsn(from);
  const end = to === undefined ? start : parseHexLsn(to);
  if (start === null || end === null || keys.first > keys.last) return null;
  if (to === undefined) return { kind: 'image', keys, lsn: start, generation };
  return start < end ? { kind: 'delta', keys, startLsn: start, endLsn: end, generation } : null;
}

function parseHexLsn(text: string): Lsn | null {
  const value = BigInt(`0x${text}`);
  return value <= BigInt(Number.MAX_SAFE_INTEGER) ? lsn(value) : null;
}

function keyFromHex(text: string): Key {
  let key = '';
  for (let at = 0; at < text.length; at += 2)
    key += String.fromCharCode(Number.parseInt(text.slice(at, at + 2), 16));
  return key as Key;
}

/** For logs and errors: `delta (0/3000000, 0/3A00028] generation 2`. */
export function formatLayer(layer: LayerDescriptor): string {
  const lsns =
    layer.kind === 'delta'
      ? `(${formatLsn(layer.startLsn)}, ${formatLsn(layer.endLsn)}]`
      : formatLsn(layer.lsn);
  const keys = isLevel0(layer) ? '' : ` keys ${keyHex(layer.keys.first)} to ${keyHex(layer.keys.last)}`;
  return `${layer.kind} ${lsns}${keys} generation ${layer.generation}`;
}
