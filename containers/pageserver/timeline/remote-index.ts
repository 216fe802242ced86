/**
 * The timeline's index object: what is durably in object storage, and whether this pageserver may still say so.
 *
 *   attach    1 read the newest index of a generation up to ours
 *             2 put the same as our own
 *             3 read again the one that was read first: if it changed, its writer was not done; again from 1
 *   publish   1 put our index (its layers have been put before)
 *             2 list the indexes: is there one of a newer generation? Then we are superseded.
 *             3 only now report the new position, or delete what the index no longer names
 *
 * An older pageserver that passed its step 2 before our step 2 has its last index read by our step 3; one that did
 * not sees our index and neither reports nor deletes. So nothing that a current index names is ever deleted, and no
 * safekeeper trims WAL that the current pageserver still needs. This rests on storage being strongly consistent.
 */
import { formatLsn } from '../../../lib/postgres/lsn.ts';
import type { TimelineSpec } from '../../../lib/protocol/specs.ts';
import { layerName } from '../../../lib/storage/layers/descriptor.ts';
import { LayerError } from '../../../lib/storage/layers/format.ts';
import {
  decodeIndex,
  encodeIndex,
  indexName,
  parseIndexName,
  type IndexedLayer,
  type TimelineIndex,
} from '../../../lib/storage/layers/timeline-index.ts';
import type { ObjectStorage } from '../remote/storage.ts';
import { SupersededError } from './errors.ts';
import type { Position } from './layer-stack.ts';

export interface RemoteIndexOptions {
  storage: ObjectStorage;
  crc32c: (bytes: Uint8Array) => number;
  /** Of the timeline's objects, with its final slash. */
  prefix: string;
  spec: TimelineSpec;
  generation: number;
}

/** Attempts to read an index that does not change meanwhile; each new one means another writer was at work. */
const SETTLE_ATTEMPTS_MAX = 20;

export class RemoteIndex {
  readonly #options: RemoteIndexOptions;
  #index: TimelineIndex;
  #queue: Promise<void> = Promise.resolve();

  private constructor(options: RemoteIndexOptions, index: TimelineIndex) {
    this.#options = options;
    this.#index = index;
  }

  /** Takes the timeline over; null when no generation has an index of it. Throws SupersededError, LayerError. */
  static async takeOver(options: RemoteIndexOptions): Promise<RemoteIndex | null> {
    for (let attempt = 0; attempt < SETTLE_ATTEMPTS_MAX; attempt++) {
      const newest = await newestGeneration(options);
      if (newest === null) return null;
      const bytes = await read(options, newest);
      if (bytes === null) continue;
      const found = decodeIndex(bytes, options.crc32c);
      checkIdentity(found, options.spec);
      const remote = new RemoteIndex(options, { ...found, generation: options.generation });
      if (newest === options.generation) return remote;
      await remote.#put(remote.#index);
      const again = await read(options, newest);
      if (again !== null && sameBytes(bytes, again)) return remote;
    }
    throw new LayerError('mismatch', `the index of timeline ${options.spec.timelineId} does not settle`);
  }

  /** A new timeline whose first layers have been put. Throws SupersededError. */
  static async create(
    options: RemoteIndexOptions,
    position: Position,
    layers: IndexedLayer[],
  ): Promise<RemoteIndex> {
    const { timelineId, postgresMajor, systemIdentifier } = options.spec;
    const { generation } = options;
    const remote = new RemoteIndex(options, {
      timelineId,
      generation,
      postgresMajor,
      systemIdentifier,
      diskConsistentLsn: position.lsn,
      previousLsn: position.previousLsn,
      layers,
    });
    await remote.#put(remote.#index);
    await remote.assertCurrent();
    return remote;
  }

  /** What was last put and found current. */
  get index(): Readonly<TimelineIndex> {
    return this.#index;
  }
  get position(): Position {
    return { lsn: this.#index.diskConsistentLsn, previousLsn: this.#index.previousLsn };
  }

  /**
   * Puts an index with other layers, and a later position if given; one call after another. When it resolves this
   * generation was still the current one after the put. Throws SupersededError, StorageError.
   */
  publish(change: {
    insert?: readonly IndexedLayer[];
    remove?: readonly IndexedLayer[];
    position?: Position;
  }): Promise<void> {
    const publish = async () => {
      const removed = new Set(change.remove?.map(({ descriptor }) => layerName(descriptor)));
      const kept = this.#index.layers.filter(({ descriptor }) => !removed.has(layerName(descriptor)));
      const inserted = (change.insert ?? []).map(({ descriptor, size }) => ({ descriptor, size }));
      const index: TimelineIndex = { ...this.#index, layers: [...kept, ...inserted] };
      if (change.position !== undefined) {
        index.diskConsistentLsn = change.position.lsn;
        index.previousLsn = change.position.previousLsn;
      }
      await this.#put(index);
      await this.assertCurrent();
      this.#index = index;
    };
    const published = this.#queue.then(publish);
    this.#queue = published.catch(() => undefined);
    return published;
  }

  /** Throws SupersededError when a newer generation has an index. */
  async assertCurrent(): Promise<void> {
    await newestGeneration(this.#options);
  }

  async #put(index: TimelineIndex): Promise<void> {
    const { storage, prefix, generation, crc32c } = this.#options;
    await storage.put(prefix + indexName(generation), encodeIndex(index, crc32c));
  }
}

/** The highest generation that has an index; null for none. Throws SupersededError when it is above our own. */
async function newestGeneration({
  storage,
  prefix,
  spec,
  generation,
}: RemoteIndexOptions): Promise<number | null> {
  const keys = await storage.list(`${prefix}index-`);
  const generations = keys
    .map((key) => parseIndexName(key.slice(prefix.length)))
    .filter((each) => each !== null);
  if (generations.length === 0) return null;
  const newest = Math.max(...generations);
  if (newest <= generation) return newest;
  throw new SupersededError(
    `timeline ${spec.timelineId} is held by generation ${newest}: this pageserver is generation ${generation}`,
  );
}

const read = ({ storage, prefix }: RemoteIndexOptions, generation: number): Promise<Uint8Array | null> =>
  storage.get(prefix + indexName(generation));

function checkIdentity(index: TimelineIndex, spec: TimelineSpec): void {
  for (const field of ['timelineId', 'postgresMajor', 'systemIdentifier'] as const)
    if (index[field] !== spec[field])
      throw new LayerError(
        'mismatch',
        `index at ${formatLsn(index.diskConsistentLsn)}: ${field} ${index[field]}, ${spec[field]} expected`,
      );
}

const sameBytes = (a: Uint8Array, b: Uint8Array): boolean =>
  a.length === b.length && a.every((byte, at) => byte === b[at]);
