/**
 * Reads of one timeline as of an LSN: contents of keys, or the contents of a range of keys.
 *
 * A read of a key walks from the newest version down and stops at one that starts a chain, at an image layer, or at
 * what the page cache holds; then the records are replayed. Keys that are read together go down together (collect.ts), so each
 * layer and each block is visited once. Which layers there are is decided in one synchronous step; they are held until
 * the read is done, so that compaction may take them away meanwhile.
 *
 * A branch has only what came after its branch point. What its own layers do not answer is read from its ancestor as of
 * the branch point: a content is the base of the branch's own records, as if it came from an image layer there.
 *
 * Contents are lent to whoever asked (`Take`): a page goes from its slot in the cache to where it is wanted in one copy.
 */
import type { Lsn } from '../../../lib/postgres/lsn.ts';
import { isPageKey, type Key, type KeyRange } from '../../../lib/storage/key.ts';
import type { LayerSearch } from '../../../lib/storage/layers/layer-map.ts';
import { reconstruct, replayPage } from '../../../lib/storage/reconstruct.ts';
import { imageValue, plainContent, type Value, type Version } from '../../../lib/storage/value.ts';
import type { StoredLayer } from '../layers/stored-layer.ts';
import type { Metrics } from '../metrics/metrics.ts';
import type { LayerStack } from '../timeline/layer-stack.ts';
import { collectWanted, holding, together, wantedContent, type WantedContent } from './collect.ts';
import type { PageCache } from './page-cache.ts';

export interface TimelineReaderOptions {
  stack: LayerStack;
  pageCache: PageCache;
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

/**
 * Takes the content of `keys[index]`; null: it is absent. It is the content at every LSN from `sinceLsn` to the one that was asked
 * for. The bytes are lent until it returns.
 */
export type Take = (index: number, content: Uint8Array | null, sinceLsn: Lsn) => void;

/** A view of a buffer that is larger by no more than this is kept as it is. */
const VIEW_SLACK_BYTES = 64;
/** Before any LSN. */
const NONE = -1 as Lsn;

let timelineNumber = 0;

export class TimelineReader {
  readonly #stack: LayerStack;
  readonly #cache: PageCache;
  readonly #metrics: Metrics;
  readonly #ancestor: Ancestor | null;
  readonly #number = timelineNumber++;
  /** Layers that reads looked into, and reads: how deep a read goes. */
  layersVisited = 0;
  reads = 0;

  constructor(options: TimelineReaderOptions) {
    this.#stack = options.stack;
    this.#cache = options.pageCache;
    this.#metrics = options.metrics;
    this.#ancestor = options.ancestor ?? null;
  }
  /** The timeline is detached: its pages make room for others. */
  close(): void {
    this.#cache.dropTimeline(this.#number);
  }

  /**
   * The content of `key` as of `lsn`, which has been ingested; null when it is absent. Not to be changed.
   * `remember: false` leaves the page cache as it is (compaction). Throws TimelineError `belowWindow`, LayerError,
   * StorageError, ReconstructError.
   */
  async get(key: Key, lsn: Lsn, remember = true): Promise<Uint8Array | null> {
    let content: Uint8Array | null = null;
    await this.getAll(
      [key],
      lsn,
      (_, found) => {
        content = isPageKey(key) && found !== null ? found.slice() : found; // a page is only lent
      },
      remember,
    );
    return content;
  }

  /**
   * The contents of `keys` as of `lsn`, in any order, each given to `take` once. A promise only where something has to be
   * fetched; otherwise all is done when it returns. Throws as `get` does, and then what was not taken is not known.
   */
  getAll(keys: readonly Key[], lsn: Lsn, take: Take, remember = true): void | Promise<void> {
    this.#stack.history.assertReadable(lsn);
    const wanted: WantedContent[] = [];
    for (let index = 0; index < keys.length; index++) {
      const cached = this.#cache.get(this.#number, keys[index], lsn);
      if (cached !== undefined && cached.lsn >= lsn) take(index, cached.content, cached.sinceLsn);
      else wanted.push(wantedContent(keys[index], index, cached?.lsn ?? NONE, lsn));
    }
    return wanted.length === 0 ? undefined : this.#read(wanted, { lsn, take, remember });
  }

  #read(wanted: WantedContent[], read: Read): void | Promise<void> {
    this.reads += wanted.length;
    const collecting = collectWanted(this.#stack, wanted, read.lsn);
    return collecting === undefined
      ? this.#finish(wanted, read)
      : collecting.then(() => this.#finish(wanted, read));
  }

  /** All versions that this timeline has are known: replays them. */
  #finish(wanted: WantedContent[], read: Read): void | Promise<void> {
    const inherited: WantedContent[] = [];
    const lost: WantedContent[] = [];
    for (const want of wanted) {
      this.layersVisited += want.visited;
      if (read.remember) this.#metrics.layersVisited.observe(want.visited);
      if (want.isWhole) this.#replay(want, read, null);
      else if (want.cachedLsn !== NONE) {
        if (!this.#replayUponCached(want, read)) lost.push(want);
      } else if (this.#ancestor === null) this.#replay(want, read, null);
      else inherited.push(want);
    }
    if (inherited.length === 0 && lost.length === 0) return undefined;
    // What the cache had when the read began and has no more is read from the beginning.
    const anew = lost.map(({ key, index }) => wantedContent(key, index, NONE, read.lsn));
    return together([
      () => (inherited.length === 0 ? undefined : this.#finishInherited(inherited, read)),
      () => (anew.length === 0 ? undefined : this.#read(anew, read)),
    ]);
  }

  /** Upon what the keys were at the branch point, or at the LSN of the read if that is before it. */
  #finishInherited(wanted: readonly WantedContent[], read: Read): void | Promise<void> {
    const { reader, lsn: branchLsn } = this.#ancestor!;
    return reader.getAll(
      wanted.map(({ key }) => key),
      Math.min(read.lsn, branchLsn) as Lsn,
      (index, content, sinceLsn) => this.#replay(wanted[index], read, { content, sinceLsn }),
      read.remember,
    );
  }

  /** False: the cache does not hold any more what it held when the read began. */
  #replayUponCached(want: WantedContent, read: Read): boolean {
    const { key, index, versions, cachedLsn } = want;
    const cached = this.#cache.peek(this.#number, key);
    if (cached === undefined || cached.lsn < cachedLsn || cached.sinceLsn > read.lsn) return false;
    // Another read may have brought it further meanwhile.
    while (versions.length > 0 && versions[versions.length - 1].lsn <= cached.lsn) versions.pop();
    if (versions.length > 0) this.#replay(want, read, cached);
    else {
      if (read.remember) this.#cache.extend(cached, read.lsn);
      read.take(index, cached.content, cached.sinceLsn);
    }
    return true;
  }

  /** Replays what was collected upon `base`; remembers and gives what comes of it. */
  #replay(want: WantedContent, read: Read, base: Base | null): void {
    const { key, versions, index } = want;
    versions.reverse();
    const newest = versions.at(-1)?.lsn;
    const sinceLsn = newest ?? base?.sinceLsn ?? (want.imageLsn === NONE ? read.lsn : want.imageLsn);
    if (isPageKey(key) && read.remember && this.#isNewest(key, read.lsn)) {
      read.take(index, this.#replayPage(key, base, versions, { sinceLsn, lsn: read.lsn }), sinceLsn);
      return;
    }
    const from = base?.content ?? null;
    const content = versions.length === 0 ? from : ownBytes(reconstruct(key, from, versions));
    if (read.remember && !isPageKey(key))
      this.#cache.set(this.#number, key, { sinceLsn, lsn: read.lsn, content });
    read.take(index, content, sinceLsn);
  }
  #isNewest(key: Key, lsn: Lsn): boolean {
    const cached = this.#cache.peek(this.#number, key);
    return cached === undefined || cached.lsn < lsn;
  }
  /** The same in a slot of the cache. */
  #replayPage(
    key: Key,
    base: Base | null,
    versions: readonly Version[],
    span: { sinceLsn: Lsn; lsn: Lsn },
  ): Uint8Array | null {
    const content = base?.content ?? null;
    const slot = this.#cache.take(this.#number, key);
    let isThere = false;
    try {
      // The base may be this very slot, also one of the ancestor's that has just been given up for it.
      if (content !== null && content !== slot.content) slot.content.set(content);
      isThere = replayPage(key, slot.content, content !== null, versions);
      slot.sinceLsn = span.sinceLsn;
      slot.lsn = span.lsn;
    } finally {
      if (!isThere) this.#cache.drop(this.#number, key);
    }
    return isThere ? slot.content : null;
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
        await Promise.all(parts.flatMap(({ keys, layers }) => scanPart(keys, layers, lsn, found)));
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
}

/** All layers at once: each may be far away. */
function scanPart(
  keys: KeyRange,
  { image, deltas }: LayerSearch<StoredLayer>,
  lsn: Lsn,
  into: Map<Key, Version>,
): Promise<void>[] {
  const floor = image?.descriptor.lsn ?? -1;
  const scanLayer = async (layer: StoredLayer, after: number): Promise<void> => {
    for await (const { key, lsn: at, value } of layer.scan(keys, true))
      if (at > after && at <= lsn) keepNewest(into, key, { lsn: at, value });
  };
  const scans = deltas.map((layer) => scanLayer(layer, floor));
  return image === null ? scans : [...scans, scanLayer(image, -1)];
}

/** What all keys of a read have in common. */
interface Read {
  lsn: Lsn;
  take: Take;
  remember: boolean;
}
/** What versions are replayed upon. */
interface Base {
  content: Uint8Array | null;
  sinceLsn: Lsn;
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
