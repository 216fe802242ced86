/**
 * The timeline's index object: what is durably in object storage, and whether this pageserver may still say so.
 *
 *   open      read the newest index of a generation up to ours; reads can be served from here on
 *   take      1 put our fence, if there is none of our generation
 *             2 read the newest index again: if it changed, its writer was still at work, and we begin anew
 *   publish   1 take, unless that is done; put our index in place of our last one (its layers have been put before)
 *             2 list: is there a fence or an index of a newer generation? Then we are superseded.
 *             3 only now report the new position, or delete what the index no longer names
 *
 * An older pageserver whose list (its publish 2) came before our fence put its index before that too, so our take 2
 * sees it; one whose list came after sees our fence and neither reports nor deletes. So nothing that the current
 * pageserver's index names is ever deleted, and no safekeeper trims WAL that it still needs. An index is only ever
 * written by a pageserver that has taken over, so the newest one is always the truth, whoever died when.
 *
 * The two puts are conditional. The fence holds its writer's name and is put only where none is: of two processes with one
 * generation, one goes on. The index replaces exactly the one that we put last: a put that was given up but still
 * arrives, after others, changes nothing. One whose answer was lost is in doubt; until storage answers nothing
 * else is published, so there is never a choice of what an index that may be there says.
 * This rests on storage being strongly consistent. (docs/formats/timeline-index.md)
 */
import { assert } from '../../../lib/assert.ts';
import { formatLsn } from '../../../lib/postgres/lsn.ts';
import type { TimelineSpec } from '../../../lib/protocol/specs.ts';
import { layerName } from '../../../lib/storage/layers/descriptor.ts';
import { LayerError } from '../../../lib/storage/layers/format.ts';
import {
  decodeIndex,
  encodeIndex,
  fenceName,
  indexName,
  parseFenceName,
  parseIndexName,
  WHOLE_HISTORY,
  type IndexedHistory,
  type IndexedLayer,
  type TimelineIndex,
} from '../../../lib/storage/layers/timeline-index.ts';
import type { ReachFailpoint } from '../failpoints.ts';
import type { Metrics } from '../metrics/metrics.ts';
import { putOnce } from '../remote/retry.ts';
import { StorageError, type ObjectStorage } from '../remote/storage.ts';
import { SupersededError, TimelineError } from './errors.ts';
import type { Position } from './layer-stack.ts';

export interface RemoteIndexOptions {
  storage: ObjectStorage;
  crc32c: (bytes: Uint8Array) => number;
  /** Of the timeline's objects, with its final slash. */
  prefix: string;
  spec: TimelineSpec;
  generation: number;
  /** Of this process alone. */
  owner: string;
  metrics: Metrics;
  failpoint: ReachFailpoint;
  /** Waits; rejects when the pageserver exits. */
  sleep: (ms: number) => Promise<void>;
  onError: (error: unknown, what: string) => void;
}

const RETRY_MS = 200;
const RETRY_MS_MAX = 10_000;

/** What there is in storage: generations that have an index, ascending, and those that have a fence. */
interface Listing {
  indexes: number[];
  fences: number[];
}
/** An index as it was read. */
interface Found {
  generation: number;
  bytes: Uint8Array;
  tag: string;
}

export class RemoteIndex {
  readonly #options: RemoteIndexOptions;
  #index: TimelineIndex;
  /** What `#index` was read from, until it is taken over; null for nothing. */
  #origin: Found | null;
  /** Of our generation's index object as we know it; null while there is none. */
  #tag: string | null;
  #taken = false;
  #closed = false;
  /** Once it is known that another has the timeline, nothing more is put. */
  #superseded: SupersededError | null = null;
  #taking: Promise<void> | null = null;
  /** Index objects of older generations, to be deleted once there is one of ours. */
  #older: number[] = [];
  #queue: Promise<void> = Promise.resolve();

  private constructor(options: RemoteIndexOptions, index: TimelineIndex, origin: Found | null) {
    this.#options = options;
    this.#index = index;
    this.#origin = origin;
    this.#tag = origin?.generation === options.generation ? origin.tag : null;
  }

  /** What the last pageserver left; null when no generation has an index. Throws SupersededError, LayerError. */
  static async open(options: RemoteIndexOptions): Promise<RemoteIndex | null> {
    const found = await readNewest(options, await list(options));
    if (found === null) return null;
    const index = decodeIndex(found.bytes, options.crc32c);
    checkIdentity(index, options.spec);
    return new RemoteIndex(options, { ...index, generation: options.generation }, found);
  }

  /**
   * A new timeline, which has no index: it is taken over, `putLayers` puts its first layers, then there is one. Throws
   * SupersededError, also where it turned out that another pageserver has made it, StorageError, and what `putLayers` throws.
   */
  static async create(
    options: RemoteIndexOptions,
    position: Position,
    putLayers: () => Promise<IndexedLayer[]>,
  ): Promise<RemoteIndex> {
    const remote = RemoteIndex.unpublished(options, position);
    await remote.take();
    await options.failpoint('bootstrap.before-layer');
    const layers = (await putLayers()).map(({ descriptor, size }) => ({ descriptor, size }));
    await options.failpoint('bootstrap.before-index');
    await remote.#put({ ...remote.#index, layers });
    return remote;
  }

  /**
   * A branch that has no index: nothing is put until it has a layer. Its specification says where it begins, and the
   * safekeepers keep all of its WAL until then, so the next pageserver can begin as this one does.
   */
  static unpublished(options: RemoteIndexOptions, position: Position): RemoteIndex {
    const { timelineId, postgresMajor, systemIdentifier } = options.spec;
    const index: TimelineIndex = {
      timelineId,
      generation: options.generation,
      postgresMajor,
      systemIdentifier,
      diskConsistentLsn: position.lsn,
      previousLsn: position.previousLsn,
      history: WHOLE_HISTORY,
      layers: [],
    };
    return new RemoteIndex(options, index, null);
  }

  /** What was last put and found current. */
  get index(): Readonly<TimelineIndex> {
    return this.#index;
  }
  get position(): Position {
    return { lsn: this.#index.diskConsistentLsn, previousLsn: this.#index.previousLsn };
  }

  /**
   * Makes the timeline this generation's; nothing is published before. Throws SupersededError, also where an older
   * pageserver published meanwhile: what was read is out of date, and a new generation must begin anew.
   */
  take(): Promise<void> {
    this.#taking ??= this.#unlessSuperseded(() => this.#take()).finally(() => (this.#taking = null));
    return this.#taking;
  }
  async #unlessSuperseded(request: () => Promise<void>): Promise<void> {
    if (this.#superseded !== null) throw this.#superseded;
    try {
      await request();
    } catch (error) {
      if (error instanceof SupersededError) this.#superseded = error;
      throw error;
    }
  }
  async #take(): Promise<void> {
    if (this.#taken) return;
    const { storage, prefix, generation, spec, owner, failpoint } = this.#options;
    await failpoint('take.before-fence');
    const fence = new TextEncoder().encode(owner);
    const put = await putOnce(storage, prefix + fenceName(generation), fence, { absent: true });
    if ('conflict' in put)
      throw new SupersededError(
        `timeline ${spec.timelineId}: generation ${generation} is that of another process`,
      );
    await failpoint('take.after-fence');
    const listing = await list(this.#options);
    const now = await readNewest(this.#options, listing);
    if (!isSame(this.#origin, now))
      throw new SupersededError(`timeline ${spec.timelineId}: another pageserver was still at work on it`);
    this.#taken = true;
    this.#origin = null;
    this.#older = listing.indexes.filter((each) => each < generation);
    const older = listing.fences.filter((each) => each < generation);
    await failpoint('take.before-delete');
    await storage.delete(older.map((each) => prefix + fenceName(each)));
  }

  /**
   * Puts an index with other layers, and a later position or another history if given; one call after another. When it resolves this
   * generation was still the current one after the put. Storage that does not answer is asked until it does. Throws SupersededError,
   * StorageError where it refuses, TimelineError `stopping` once it is closed.
   */
  publish(change: {
    insert?: readonly IndexedLayer[];
    remove?: readonly IndexedLayer[];
    position?: Position;
    history?: IndexedHistory;
  }): Promise<void> {
    const published = this.#queue.then(() => this.#unlessSuperseded(() => this.#publish(change)));
    this.#queue = published.catch(() => undefined);
    return published;
  }
  async #publish(change: Parameters<RemoteIndex['publish']>[0]): Promise<void> {
    const removed = new Set(change.remove?.map(({ descriptor }) => layerName(descriptor)));
    const kept = this.#index.layers.filter(({ descriptor }) => !removed.has(layerName(descriptor)));
    const inserted = (change.insert ?? []).map(({ descriptor, size }) => ({ descriptor, size }));
    const index: TimelineIndex = { ...this.#index, layers: [...kept, ...inserted] };
    if (change.history !== undefined) index.history = change.history;
    if (change.position !== undefined) {
      index.diskConsistentLsn = change.position.lsn;
      index.previousLsn = change.position.previousLsn;
    }
    for (let delay = RETRY_MS; ; delay = Math.min(delay * 2, RETRY_MS_MAX)) {
      if (this.#closed) throw new TimelineError('stopping', 'the index is not published any more');
      try {
        await this.take();
        await this.#put(index);
        return;
      } catch (error) {
        const inDoubt = error instanceof StorageError && error.isRetryable;
        if (!inDoubt || this.#closed) throw error;
        this.#options.onError(error, 'put of an index, tried again');
        await this.#options.sleep(delay * (0.5 + Math.random() / 2));
      }
    }
  }
  /** One attempt; a failure that is retryable leaves in doubt whether it took effect. */
  async #put(index: TimelineIndex): Promise<void> {
    const { storage, prefix, generation, crc32c, spec, failpoint, metrics } = this.#options;
    const count = (outcome: string) => metrics.indexPublishes.inc(1, { outcome });
    await failpoint('publish.before-index');
    try {
      const condition = this.#tag === null ? ({ absent: true } as const) : { tag: this.#tag };
      const put = await putOnce(
        storage,
        prefix + indexName(generation),
        encodeIndex(index, crc32c),
        condition,
      );
      if ('conflict' in put)
        throw new SupersededError(
          `timeline ${spec.timelineId}: another process has changed the index of generation ${generation}`,
        );
      this.#tag = put.tag;
      await failpoint('publish.after-index');
      await this.assertCurrent();
    } catch (error) {
      count(error instanceof SupersededError ? 'superseded' : 'failed');
      throw error;
    }
    count('done');
    this.#index = index;
    await failpoint('publish.before-delete');
    await storage.delete(this.#older.map((each) => prefix + indexName(each)));
    this.#older = [];
  }

  /**
   * Deletes objects of layers that the index, which has been published, does not name, if this generation is still the current
   * one. Throws SupersededError, StorageError.
   */
  async deleteUnnamed(layers: readonly IndexedLayer[]): Promise<void> {
    const { storage, prefix, failpoint, metrics } = this.#options;
    const named = new Set(this.#index.layers.map(({ descriptor }) => layerName(descriptor)));
    const names = layers.map(({ descriptor }) => layerName(descriptor));
    for (const name of names) assert(!named.has(name), `layer ${name} is in no index when it is deleted`);
    await failpoint('delete.before-check');
    await this.assertCurrent();
    await failpoint('delete.before-objects');
    for (const [at, name] of names.entries()) {
      if (at > 0) await failpoint('delete.between-objects');
      await storage.delete([prefix + name]);
      metrics.deletedObjects.inc();
    }
    await failpoint('delete.after-objects');
  }

  /** Publishes nothing more: a put that is in doubt is left so. */
  close(): void {
    this.#closed = true;
  }

  /** Throws SupersededError when there is a newer generation. */
  async assertCurrent(): Promise<void> {
    await list(this.#options);
  }
}

/** Throws SupersededError when there is a newer generation. */
async function list({ storage, prefix, spec, generation }: RemoteIndexOptions): Promise<Listing> {
  const names = (await storage.list(`${prefix}index-`)).map((key) => key.slice(prefix.length));
  const indexes = names.map(parseIndexName).filter((each) => each !== null);
  const fences = names.map(parseFenceName).filter((each) => each !== null);
  const newest = Math.max(0, ...indexes, ...fences);
  if (newest <= generation) return { indexes: indexes.sort((a, b) => a - b), fences };
  throw new SupersededError(
    `timeline ${spec.timelineId} is held by generation ${newest}: this pageserver is generation ${generation}`,
  );
}

async function readNewest(
  { storage, prefix }: RemoteIndexOptions,
  { indexes }: Listing,
): Promise<Found | null> {
  const generation = indexes.at(-1);
  if (generation === undefined) return null;
  const found = await storage.getTagged(prefix + indexName(generation));
  if (found !== null) return { generation, ...found };
  throw new SupersededError(`the index of generation ${generation} went away while it was read`);
}

const isSame = (a: Found | null, b: Found | null): boolean =>
  a === null || b === null
    ? a === b
    : a.generation === b.generation &&
      a.bytes.length === b.bytes.length &&
      a.bytes.every((byte, at) => byte === b.bytes[at]);

function checkIdentity(index: TimelineIndex, spec: TimelineSpec): void {
  for (const field of ['timelineId', 'postgresMajor', 'systemIdentifier'] as const)
    if (index[field] !== spec[field])
      throw new LayerError(
        'mismatch',
        `index at ${formatLsn(index.diskConsistentLsn)}: ${field} ${index[field]}, ${spec[field]} expected`,
      );
}
