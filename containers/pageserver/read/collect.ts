/**
 * Many keys at one LSN, down through the layers together: memory, then for each stretch of keys that the same layers are over the
 * deltas from the newest to the oldest and the image below them. A layer is asked once for all keys that still need it.
 *
 * Everything happens on the spot as long as blocks are in memory or on the local disk; where one has to be fetched the rest of
 * its stretch follows as a promise, and the stretches go on side by side.
 */
import type { Lsn } from '../../../lib/postgres/lsn.ts';
import type { Key } from '../../../lib/storage/key.ts';
import type { LayerSearch } from '../../../lib/storage/layers/layer-map.ts';
import type { Wanted } from '../../../lib/storage/layers/reader.ts';
import type { StoredLayer } from '../layers/stored-layer.ts';
import type { LayerStack } from '../timeline/layer-stack.ts';

/** One key of a read. */
export interface WantedContent extends Wanted {
  /** Among the keys that were asked for. */
  readonly index: number;
  /** Up to here the page cache had it when the read began; versions after it are wanted. -1: it had nothing. */
  readonly cachedLsn: Lsn;
  /** Of the image layer that was looked into: a key that is not in it is absent there. -1: of none. */
  imageLsn: Lsn;
  /** Layers that were looked into. */
  visited: number;
}

const NONE = -1 as Lsn;

export const wantedContent = (key: Key, index: number, cachedLsn: Lsn, lsn: Lsn): WantedContent => ({
  key,
  index,
  cachedLsn,
  after: cachedLsn,
  upTo: lsn,
  versions: [],
  isWhole: false,
  imageLsn: NONE,
  visited: 0,
});

/** Keys that the same layers are over, in their order. */
interface Stretch {
  layers: LayerSearch<StoredLayer>;
  wanted: WantedContent[];
}

/**
 * Fills in the versions of each key, newest first, down to one that starts a chain, to an image layer (`isWhole` in both
 * cases), or to what the page cache had.
 */
export function collectWanted(
  stack: LayerStack,
  wanted: readonly WantedContent[],
  lsn: Lsn,
): void | Promise<void> {
  for (const layer of stack.memory(lsn))
    for (const want of wanted)
      if (!want.isWhole) want.isWhole = layer.collect(want.key, want.after, lsn, want.versions);
  const rest = wanted.filter(({ isWhole }) => !isWhole);
  if (rest.length === 0) return undefined;
  const stretches = stretchesOf(stack, inOrder(rest), lsn);
  return holding(
    stretches.map(({ layers }) => layers),
    () => together(stretches.map((stretch) => () => collectStretch(stretch, 0))),
  );
}

const precedes = (a: WantedContent, b: WantedContent): number => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0);

function inOrder(wanted: WantedContent[]): WantedContent[] {
  for (let i = 1; i < wanted.length; i++) if (wanted[i].key < wanted[i - 1].key) return wanted.sort(precedes);
  return wanted;
}

function stretchesOf(stack: LayerStack, wanted: readonly WantedContent[], lsn: Lsn): Stretch[] {
  const stretches: Stretch[] = [];
  let end: Key | null = null;
  for (const want of wanted) {
    if (stretches.length > 0 && (end === null || want.key < end)) {
      stretches[stretches.length - 1].wanted.push(want);
      continue;
    }
    const found = stack.searchFrom(want.key, lsn);
    end = found.end;
    stretches.push({ layers: found.layers, wanted: [want] });
  }
  return stretches;
}

/** From the delta of number `from` on; the image comes last. */
function collectStretch({ layers, wanted }: Stretch, from: number): void | Promise<void> {
  const { deltas, image } = layers;
  const imageLsn = image?.descriptor.lsn ?? NONE;
  for (let i = from; i < deltas.length; i++) {
    const delta = deltas[i];
    const asked: WantedContent[] = [];
    for (const want of wanted) {
      if (want.isWhole) continue;
      want.after = Math.max(want.cachedLsn, imageLsn) as Lsn;
      if (delta.descriptor.endLsn <= want.after) continue;
      want.visited++;
      asked.push(want);
    }
    if (asked.length === 0) continue;
    const collecting = delta.collectAll(asked);
    if (collecting !== undefined) return collecting.then(() => collectStretch({ layers, wanted }, i + 1));
  }
  if (image === null) return;
  const asked = wanted.filter(({ isWhole, cachedLsn }) => !isWhole && cachedLsn < imageLsn);
  for (const want of asked) {
    want.after = NONE;
    want.upTo = imageLsn;
    want.imageLsn = imageLsn;
    want.visited++;
  }
  const finish = () => {
    for (const want of asked) want.isWhole = true;
  };
  const collecting = asked.length === 0 ? undefined : image.collectAll(asked);
  if (collecting !== undefined) return collecting.then(finish);
  finish();
}

/** Begins all of `works`, and is done when all of them are, also when one fails; then it fails with the first error. */
export function together(works: readonly (() => void | Promise<void>)[]): void | Promise<void> {
  const running: Promise<void>[] = [];
  const errors: unknown[] = [];
  for (const work of works) {
    try {
      const result = work();
      if (result instanceof Promise) running.push(result.catch((error: unknown) => void errors.push(error)));
    } catch (error) {
      errors.push(error);
    }
  }
  const end = () => {
    if (errors.length > 0) throw errors[0];
  };
  return running.length > 0 ? Promise.all(running).then(end) : end();
}

/** Runs `read` while the layers of `searches` cannot go away. */
export function holding<T>(searches: readonly LayerSearch<StoredLayer>[], read: () => T): T {
  const layers = new Set<StoredLayer>();
  for (const { deltas, image } of searches) {
    for (const delta of deltas) layers.add(delta);
    if (image !== null) layers.add(image);
  }
  for (const layer of layers) layer.acquire();
  const release = () => {
    for (const layer of layers) layer.release();
  };
  let result: T;
  try {
    result = read();
  } catch (error) {
    release();
    throw error;
  }
  if (result instanceof Promise) return result.finally(release) as T;
  release();
  return result;
}
