/**
 * What compaction does next, decided from the layer map alone.
 *
 *   merge   level-0 deltas, and with them the newest runs of level 1 that are no larger than what has come: each version
 *           is written again a logarithmic number of times, and there are few runs to look into
 *   image   keys over which runs have piled up, or more bytes of deltas than the image under them takes
 *
 * A run is what one merge made: deltas of one range of LSNs, side by side.
 */
import type { Lsn } from '../../postgres/lsn.ts';
import { ALL_KEYS, type KeyRange } from '../key.ts';
import { isLevel0, overlaps, type DeltaDescriptor, type LayerDescriptor } from '../layers/descriptor.ts';
import type { LayerMap } from '../layers/layer-map.ts';

export interface PlannedLayer {
  descriptor: LayerDescriptor;
  /** Bytes of the file. */
  size: number;
  /** In object storage: what is not may still fail to get there. */
  isUploaded: boolean;
}
export interface PlanSettings {
  /** Level-0 deltas at which they are merged. */
  level0Max: number;
  /** Runs over an image at which a newer one is made. */
  imageDeltasMax: number;
  /** The same by bytes: of the deltas, to those of the image. */
  imageBytesRatio: number;
}

export interface Merge<L> {
  /** Oldest first. */
  inputs: L[];
  startLsn: Lsn;
  endLsn: Lsn;
}
/** Keys that lie under one image, and what lies over it up to an LSN. */
export interface Tile<L> {
  keys: KeyRange;
  image: L | null;
  /** Level-1 deltas, and about how many bytes of each are over these keys. */
  deltas: { layer: L; bytes: number }[];
  runs: number;
  deltaBytes: number;
}

/** Inputs of a merge hold a block of memory each. */
const INPUTS_MAX = 32;

const deltaOf = (layer: PlannedLayer): DeltaDescriptor => layer.descriptor as DeltaDescriptor;
const bytesOf = (layers: readonly PlannedLayer[]): number => layers.reduce((sum, { size }) => sum + size, 0);

/** Oldest first, as far as all of them are in object storage. */
export function mergeableLevel0<L extends PlannedLayer>(map: LayerMap<L>): L[] {
  const level0 = map.level0();
  const pending = level0.findIndex((layer) => !layer.isUploaded);
  return pending < 0 ? level0 : level0.slice(0, pending);
}

export function planMerge<L extends PlannedLayer>(map: LayerMap<L>, settings: PlanSettings): Merge<L> | null {
  const inputs = mergeableLevel0(map).slice(0, INPUTS_MAX);
  if (inputs.length < settings.level0Max) return null;
  const { endLsn } = deltaOf(inputs[inputs.length - 1]);
  let { startLsn } = deltaOf(inputs[0]);
  let bytes = bytesOf(inputs);
  for (const run of runsOf(map)) {
    const { endLsn: runEnd } = deltaOf(run[0]);
    const isAdjacent = runEnd === startLsn;
    if (!isAdjacent || bytesOf(run) > bytes || inputs.length + run.length > INPUTS_MAX) break;
    if (isUnderImage(map, run, runEnd)) break;
    inputs.unshift(...run);
    startLsn = deltaOf(run[0]).startLsn;
    bytes += bytesOf(run);
  }
  return { inputs, startLsn, endLsn };
}

/** Runs of level 1, newest first. */
function runsOf<L extends PlannedLayer>(map: LayerMap<L>): L[][] {
  const runs = new Map<string, L[]>();
  for (const layer of map.values()) {
    if (layer.descriptor.kind !== 'delta' || isLevel0(layer.descriptor)) continue;
    const id = `${layer.descriptor.startLsn}-${layer.descriptor.endLsn}`;
    const run = runs.get(id);
    if (run === undefined) runs.set(id, [layer]);
    else run.push(layer);
  }
  return [...runs.values()].sort((a, b) => deltaOf(b[0]).endLsn - deltaOf(a[0]).endLsn);
}

/** Reads of the head do not look into such a run: merging it would only keep it from being dropped. */
function isUnderImage(map: LayerMap<PlannedLayer>, run: readonly PlannedLayer[], endLsn: Lsn): boolean {
  for (const { descriptor } of map.values())
    if (descriptor.kind === 'image' && descriptor.lsn >= endLsn)
      for (const delta of run) if (overlaps(delta.descriptor.keys, descriptor.keys)) return true;
  return false;
}

/** Where the newest images may be: all of level 1 is below. 0/0 while there is none. */
export function level1End(map: LayerMap<PlannedLayer>): Lsn {
  let end = 0 as Lsn;
  for (const { descriptor } of map.values())
    if (descriptor.kind === 'delta' && !isLevel0(descriptor) && descriptor.endLsn > end)
      end = descriptor.endLsn;
  return end;
}

/** All keys, cut where another image begins, as a read at `at` finds them. */
export function tilesAt<L extends PlannedLayer>(map: LayerMap<L>, at: Lsn): Tile<L>[] {
  const tiles: (Tile<L> & { found: Set<L> })[] = [];
  for (const { keys, layers } of map.searchRange(ALL_KEYS, at)) {
    let tile = tiles.at(-1);
    if (tile === undefined || layers.image !== tile.image) {
      tile = { keys, image: layers.image, deltas: [], runs: 0, deltaBytes: 0, found: new Set() };
      tiles.push(tile);
    }
    tile.keys = { first: tile.keys.first, last: keys.last };
    for (const delta of layers.deltas) if (!isLevel0(delta.descriptor)) tile.found.add(delta);
  }
  const shares = new Map<L, number>();
  for (const { found } of tiles) for (const delta of found) shares.set(delta, (shares.get(delta) ?? 0) + 1);
  return tiles.map(({ found, ...tile }) => {
    const deltas = [...found].map((layer) => ({ layer, bytes: layer.size / shares.get(layer)! }));
    const runs = new Set(deltas.map(({ layer }) => deltaOf(layer).endLsn)).size;
    const deltaBytes = deltas.reduce((sum, { bytes }) => sum + bytes, 0);
    return { ...tile, deltas, runs, deltaBytes };
  });
}

/**
 * Whether a newer image of the tile is worth its writing. Where a branch has none yet, it would be a copy of what is
 * inherited (`inheritedBytes`): only when the branch has written about as much itself.
 */
export function wantsImage(
  tile: Tile<PlannedLayer>,
  inheritedBytes: number,
  settings: PlanSettings,
): boolean {
  if (tile.runs === 0) return false;
  if (tile.image !== null && tile.runs >= settings.imageDeltasMax) return true;
  return tile.deltaBytes >= (tile.image?.size ?? inheritedBytes) * settings.imageBytesRatio;
}
