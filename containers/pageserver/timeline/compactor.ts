/**
 * Compaction, so that a read visits few layers:
 *
 *   level-0 deltas (all keys, one LSN range each) ──merge──► level-1 deltas (a key range each, all their LSNs)
 *   an image with many deltas over it             ──redo──► newer images of the same keys
 *
 * New layers are uploaded, then one index names them in place of the old, then the old are deleted, and that only while this
 * pageserver is the current one (remote-index.ts). No history is dropped: older images and deltas stay for reads at
 * older LSNs. Runs when nothing waits to be uploaded, in slices.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Lsn } from '../../../lib/postgres/lsn.ts';
import { ALL_KEYS, keyHex, type Key, type KeyRange } from '../../../lib/storage/key.ts';
import {
  isLevel0,
  type DeltaDescriptor,
  type ImageDescriptor,
} from '../../../lib/storage/layers/descriptor.ts';
import { keyBefore } from '../../../lib/storage/layers/layer-map.ts';
import { mergeEntries } from '../../../lib/storage/layers/merge.ts';
import type { LayerWriter } from '../../../lib/storage/layers/writer.ts';
import { ReconstructError } from '../../../lib/storage/reconstruct.ts';
import { imageValue, type Value } from '../../../lib/storage/value.ts';
import type { LayerStore } from '../layers/layer-store.ts';
import type { StoredLayer } from '../layers/stored-layer.ts';
import type { ReachFailpoint } from '../failpoints.ts';
import type { Metrics } from '../metrics/metrics.ts';
import type { TimelineReader } from '../read/timeline-reader.ts';
import type { TimelineSettings } from './context.ts';
import { SupersededError } from './errors.ts';
import type { LayerStack } from './layer-stack.ts';
import { liveKeys } from './live-keys.ts';
import type { RemoteIndex } from './remote-index.ts';

export interface CompactorOptions {
  stack: LayerStack;
  store: LayerStore;
  remote: RemoteIndex;
  reader: TimelineReader;
  generation: number;
  settings: TimelineSettings;
  metrics: Metrics;
  failpoint: ReachFailpoint;
  onEvent: (what: string, details: Record<string, unknown>) => void;
  onError: (error: unknown, what: string) => void;
  onSuperseded: (error: SupersededError) => void;
}

/** Keys that lie under one image, and how many deltas are over it. */
interface Tile {
  keys: KeyRange;
  deltas: number;
  /** Newest LSN of those deltas. */
  endLsn: Lsn;
}

class Stopped extends Error {}

const SLICE_MS = 4;

export class Compactor {
  readonly #options: CompactorOptions;
  #running: Promise<void> | null = null;
  #stopped = false;
  #sliceEnd = 0;
  /** Tiles that could not be imaged, by first key: the deltas at which another attempt is worth it. */
  readonly #refused = new Map<Key, number>();

  constructor(options: CompactorOptions) {
    this.#options = options;
  }
  get isIdle(): boolean {
    return this.#running === null;
  }
  /** Looks whether there is something to do. */
  kick(): void {
    if (this.#running !== null || this.#stopped) return;
    this.#running = this.#run().finally(() => (this.#running = null));
  }
  /** Resolves when nothing of it runs any more; what was not finished leaves no trace. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
  }

  async #run(): Promise<void> {
    const { onError, onSuperseded, settings } = this.#options;
    try {
      if (this.#level0().length >= settings.level0Max) await this.#mergeLevel0();
      for (const tile of this.#tiles()) {
        if (tile.deltas < (this.#refused.get(tile.keys.first) ?? settings.imageDeltasMax)) continue;
        await this.#image(tile);
      }
    } catch (error) {
      if (error instanceof SupersededError) onSuperseded(error);
      else if (!(error instanceof Stopped)) onError(error, 'compaction');
    }
  }

  #level0(): StoredLayer[] {
    return this.#options.stack.map.level0().filter((layer) => layer.isUploaded);
  }

  async #mergeLevel0(): Promise<void> {
    const inputs = this.#level0();
    const startLsn = (inputs[0].descriptor as DeltaDescriptor).startLsn;
    const endLsn = (inputs[inputs.length - 1].descriptor as DeltaDescriptor).endLsn;
    const entries = mergeEntries(inputs.map((layer) => layer.scan(ALL_KEYS, false)));
    await this.#writeAndSwap(inputs, async (write) => {
      let next = await entries.next();
      while (!next.done) {
        await write(async (writer) => {
          while (!next.done) {
            const { key, lsn, value } = next.value;
            if (this.#isFull(writer) && writer.lastKey !== key) break;
            await this.#add(writer, key, lsn, value);
            next = await entries.next();
          }
          const keys = { first: writer.firstKey!, last: writer.lastKey! };
          const { generation } = this.#options;
          return { kind: 'delta', keys, startLsn, endLsn, generation } satisfies DeltaDescriptor;
        });
      }
    });
  }

  /** Runs of keys under one image each, as of the newest LSN that is in level 1. */
  #tiles(): Tile[] {
    const { map } = this.#options.stack;
    let at = 0 as Lsn;
    for (const { descriptor } of map.values())
      if (descriptor.kind === 'delta' && !isLevel0(descriptor) && descriptor.endLsn > at)
        at = descriptor.endLsn;
    const tiles: Tile[] = [];
    let image: StoredLayer | null = null;
    let deltas = new Set<StoredLayer>();
    for (const { keys, layers } of map.searchRange(ALL_KEYS, at)) {
      if (tiles.length === 0 || layers.image !== image) {
        image = layers.image;
        deltas = new Set();
        tiles.push({ keys, deltas: 0, endLsn: at });
      }
      for (const delta of layers.deltas) if (!isLevel0(delta.descriptor)) deltas.add(delta);
      const tile = tiles[tiles.length - 1];
      tile.keys = { first: tile.keys.first, last: keys.last };
      tile.deltas = deltas.size;
    }
    return tiles;
  }

  async #image({ keys, deltas, endLsn }: Tile): Promise<void> {
    const { reader, generation, onError } = this.#options;
    const live = liveKeys(reader, keys, endLsn);
    try {
      await this.#writeAndSwap([], async (write) => {
        let { first } = keys;
        let next = await live.next();
        do {
          await write(async (writer) => {
            let last = keys.last;
            for (; !next.done; next = await live.next()) {
              const { key, content } = next.value;
              if (this.#isFull(writer)) {
                last = keyBefore(key);
                break;
              }
              await this.#add(writer, key, endLsn, imageValue(content));
            }
            const range = { first, last };
            first = next.done ? first : next.value.key;
            return { kind: 'image', keys: range, lsn: endLsn, generation } satisfies ImageDescriptor;
          });
        } while (!next.done);
      });
      this.#refused.delete(keys.first);
    } catch (error) {
      if (!(error instanceof ReconstructError)) throw error;
      // A page that redo refuses keeps its records; reads of it name the reason. The other pages wait with it.
      this.#refused.set(keys.first, deltas * 2);
      onError(error, `image of the keys from ${keyHex(keys.first)}`);
    } finally {
      await live.return(undefined);
    }
  }

  /** Writes layers, and puts them in the place of `inputs`: in storage, in the index, in the map. */
  async #writeAndSwap(
    inputs: readonly StoredLayer[],
    fill: (write: (one: Parameters<LayerStore['create']>[0]) => Promise<void>) => Promise<void>,
  ): Promise<void> {
    const { store, remote, stack, metrics, failpoint, onEvent } = this.#options;
    const kind = inputs.length === 0 ? 'image' : 'delta';
    const startedAt = performance.now();
    const outputs: StoredLayer[] = [];
    try {
      await fill(async (one) => {
        const layer = await store.create(one);
        if (layer !== null) outputs.push(layer);
      });
      await remote.take();
      await failpoint('compaction.before-upload');
      for (const output of outputs) {
        this.#checkStopped();
        await store.upload(output);
      }
      await failpoint('compaction.before-index');
      await remote.publish({ insert: outputs, remove: inputs });
      await failpoint('compaction.before-swap');
    } catch (error) {
      metrics.compactions.inc(1, { kind, outcome: error instanceof Stopped ? 'stopped' : 'failed' });
      for (const output of outputs) await output.retire();
      throw error;
    }
    metrics.compactions.inc(1, { kind, outcome: 'done' });
    metrics.compactionSeconds.observe((performance.now() - startedAt) / 1000);
    metrics.compactionReadBytes.inc(inputs.reduce((sum, { size }) => sum + size, 0));
    metrics.compactionWrittenBytes.inc(outputs.reduce((sum, { size }) => sum + size, 0));
    stack.map.replace({ remove: inputs, insert: outputs });
    onEvent('compacted', {
      inputs: inputs.length,
      outputs: outputs.length,
      bytes: outputs.reduce((sum, { size }) => sum + size, 0),
      ms: Math.round(performance.now() - startedAt),
    });
    if (inputs.length === 0) return;
    for (const input of inputs) await input.retire();
    await remote.deleteUnnamed(inputs);
  }

  #isFull(writer: LayerWriter): boolean {
    return writer.bytesWritten >= this.#options.settings.layerBytesTarget;
  }
  async #add(writer: LayerWriter, key: Key, lsn: Lsn, value: Value): Promise<void> {
    if (writer.add(key, lsn, value)) await writer.drain();
    if (performance.now() < this.#sliceEnd) return;
    this.#checkStopped();
    await nextTurn();
    this.#sliceEnd = performance.now() + SLICE_MS;
  }
  #checkStopped(): void {
    if (this.#stopped) throw new Stopped();
  }
}
