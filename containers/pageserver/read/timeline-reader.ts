/**
 * Reads of one timeline as of an LSN: a content, or the contents of a range of keys.
 *
 * A read of a key walks from the newest version down and stops at one that starts a chain, at an image layer, or at
 * what the page cache holds; then the records are replayed (reconstruct). Which layers there are is decided in one
 * synchronous step; they are held until the read is done, so that compaction may take them away meanwhile.
 *
 * A branch has only what came after its branch point. What its own layers do not answer is read from its ancestor as of
 * the branch point: a content is the base of the branch's own records, as if it came from an image layer there.
 */
import type { Lsn } from '../../../lib/postgres/lsn.ts';
import type { Key, KeyRange } from '../../../lib/storage/key.ts';
import type { LayerSearch } from '../../../lib/storage/layers/layer-map.ts';
import type { reconstruct } from '../../../lib/storage/reconstruct.ts';
import { imageValue, plainContent, type Value, type Version } from '../../../lib/storage/value.ts';
import type { StoredLayer } from '../layers/stored-layer.ts';
import type { Metrics } from '../metrics/metrics.ts';
import type { LayerStack } from '../timeline/layer-stack.ts';
import type { PageCache } from './page-cache.ts';

export interface TimelineReaderOptions {
  stack: LayerStack;
  pageCache: PageCache;
  reconstruct: typeof reconstruct;
  metrics: Metrics;
  /** Of a branch: where the reads go on that its own layers do not answer. */
  ancestor?: Ancestor | undefined;
}

/** The timeline that a branch began in, as of where it began. */
export interface Ancestor {
  reader: TimelineReader;
  /** The branch point; everything up to here is ingested there. */
  lsn: Lsn;
}

/** A view of a buffer that is larger by no more than this is kept as it is. */
const VIEW_SLACK_BYTES = 64;

let timelineNumber = 0;

export class TimelineReader {
  readonly #stack: LayerStack;
  readonly #cache: PageCache;
  readonly #reconstruct: typeof reconstruct;
  readonly #metrics: Metrics;
  readonly #ancestor: Ancestor | null;
  readonly #number = timelineNumber++;
  /** Layers that reads looked into, and reads: how deep a read goes. */
  layersVisited = 0;
  reads = 0;

  constructor(options: TimelineReaderOptions) {
    this.#stack = options.stack;
    this.#cache = options.pageCache;
    this.#reconstruct = options.reconstruct;
    this.#metrics = options.metrics;
    this.#ancestor = options.ancestor ?? null;
  }

  /**
   * The content of `key` as of `lsn`, which has been ingested; null when it is absent. Not to be changed.
   * `remember: false` leaves the page cache as it is (compaction). Throws TimelineError `belowWindow`, LayerError,
   * StorageError, ReconstructError.
   */
  async get(key: Key, lsn: Lsn, remember = true): Promise<Uint8Array | null> {
    this.#stack.history.assertReadable(lsn);
    const cached = this.#cache.get(this.#number, key, lsn);
    if (cached?.lsn === lsn) return cached.content;
    const versions: Version[] = [];
    const { isWhole, visited } = await this.#collect(key, lsn, cached?.lsn ?? (-1 as Lsn), versions);
    if (remember) this.#metrics.layersVisited.observe(visited);
    versions.reverse();
    const isInherited = !isWhole && cached === undefined && this.#ancestor !== null;
    const base = isInherited ? await this.#inherited(key, lsn, remember) : (cached?.content ?? null);
    const content = versions.length === 0 ? base : ownBytes(this.#reconstruct(key, base, versions));
    if (remember) this.#cache.set(this.#number, key, { lsn, content });
    return content;
  }

  /** What the key was at the branch point, or at `lsn` if that is before it. */
  #inherited(key: Key, lsn: Lsn, remember: boolean): Promise<Uint8Array | null> {
    const { reader, lsn: branchLsn } = this.#ancestor!;
    return reader.get(key, Math.min(lsn, branchLsn) as Lsn, remember);
  }

  /** Versions in (`after`, `lsn`], newest first, down to one that starts a chain. */
  async #collect(key: Key, lsn: Lsn, after: Lsn, into: Version[]): Promise<Collected> {
    this.reads++;
    for (const layer of this.#stack.memory(lsn))
      if (layer.collect(key, after, lsn, into)) return { isWhole: true, visited: 0 };
    const layers = this.#stack.search(key, lsn);
    const collected = await holding([layers], () => collectFromLayers(layers, key, lsn, after, into));
    this.layersVisited += collected.visited;
    return collected;
  }

  /**
   * The keys of `range` that are there as of `lsn`, in key order: of kinds whose values are all images or absent, so that
   * the newest version of a key is all of it. Pages are not scanned. Throws as `get` does.
   */
  async *scan(range: KeyRange, lsn: Lsn): AsyncGenerator<{ key: Key; content: Uint8Array }> {
    this.#stack.history.assertReadable(lsn);
    const memory = this.#stack.memory(lsn).map((layer) => [...layer.scanOthers(range, lsn)]);
    const parts = this.#stack.searchRange(range, lsn);
    const newest = await holding(
      parts.map(({ layers }) => layers),
      async () => {
        const found = new Map<Key, { lsn: Lsn; value: Value }>();
        for (const { keys, layers } of parts) await this.#scanPart(keys, layers, lsn, found);
        return found;
      },
    );
    for (const layer of memory) for (const entry of layer) keepNewest(newest, entry.key, entry);
    for (const { keys, layers } of parts)
      if (layers.image === null) await this.#scanInherited(keys, lsn, newest);
    for (const key of [...newest.keys()].sort()) {
      const content = plainContent(newest.get(key)!.value);
      if (content === undefined) throw new Error(`scan met a value that is no image at key ${key}`);
      if (content !== null) yield { key, content };
    }
  }

  /** What the ancestor has of a part that no image layer of this timeline covers. */
  async #scanInherited(keys: KeyRange, lsn: Lsn, into: Map<Key, { lsn: Lsn; value: Value }>): Promise<void> {
    if (this.#ancestor === null) return;
    const { reader, lsn: branchLsn } = this.#ancestor;
    for await (const { key, content } of reader.scan(keys, Math.min(lsn, branchLsn) as Lsn))
      if (!into.has(key)) into.set(key, { lsn: branchLsn, value: imageValue(content) });
  }

  async #scanPart(
    keys: KeyRange,
    layers: LayerSearch<StoredLayer>,
    lsn: Lsn,
    into: Map<Key, { lsn: Lsn; value: Value }>,
  ): Promise<void> {
    const floor = layers.image?.descriptor.lsn ?? -1;
    if (layers.image !== null)
      for await (const { key, lsn: at, value } of layers.image.scan(keys, true))
        keepNewest(into, key, { lsn: at, value });
    for (const layer of layers.deltas)
      for await (const { key, lsn: at, value } of layer.scan(keys, true))
        if (at > floor && at <= lsn) keepNewest(into, key, { lsn: at, value });
  }
}

interface Collected {
  /** Nothing older matters: a version started a chain, or there was an image layer, which has every key that is there. */
  isWhole: boolean;
  /** Layers that were looked into. */
  visited: number;
}

async function collectFromLayers(
  layers: LayerSearch<StoredLayer>,
  key: Key,
  lsn: Lsn,
  after: Lsn,
  into: Version[],
): Promise<Collected> {
  const floor = Math.max(after, layers.image?.descriptor.lsn ?? -1) as Lsn;
  let visited = 0;
  for (const layer of layers.deltas) {
    if (layer.descriptor.endLsn <= floor) break;
    visited++;
    if (await layer.collect(key, floor, lsn, into)) return { isWhole: true, visited };
  }
  if (layers.image === null || layers.image.descriptor.lsn <= after) return { isWhole: false, visited };
  await layers.image.collect(key, -1 as Lsn, layers.image.descriptor.lsn, into);
  return { isWhole: true, visited: visited + 1 };
}

function keepNewest(into: Map<Key, { lsn: Lsn; value: Value }>, key: Key, version: Version): void {
  const known = into.get(key);
  if (known === undefined || known.lsn < version.lsn) into.set(key, version);
}

/** The content, copied when it would keep a whole block in memory. */
const ownBytes = (content: Uint8Array | null): Uint8Array | null =>
  content !== null && content.buffer.byteLength > content.byteLength + VIEW_SLACK_BYTES
    ? content.slice()
    : content;

async function holding<T>(searches: readonly LayerSearch<StoredLayer>[], read: () => Promise<T>): Promise<T> {
  const layers = new Set(
    searches.flatMap(({ deltas, image }): StoredLayer[] => (image === null ? deltas : [...deltas, image])),
  );
  for (const layer of layers) layer.acquire();
  try {
    return await read();
  } finally {
    for (const layer of layers) layer.release();
  }
}
