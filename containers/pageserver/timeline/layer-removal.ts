/**
 * Deletion from object storage: only of layers that no index of this generation names any more, and only while this generation is
 * still the current one.
 *
 *   index without the layer is put ──► nobody reads it any more ──► still current? ──► object deleted
 *
 * An object whose deletion failed is tried again with the next. What a pageserver left behind that died in between (or that
 * put a layer and no index) is found by listing, once a newer one has taken over: its generation tells it apart from what is
 * being put at the moment.
 */
import { layerName, parseLayerName, type LayerDescriptor } from '../../../lib/storage/layers/descriptor.ts';
import type { StoredLayer } from '../layers/stored-layer.ts';
import type { ObjectStorage } from '../remote/storage.ts';
import type { RemoteIndex } from './remote-index.ts';

export interface LayerRemovalOptions {
  storage: ObjectStorage;
  /** Of the timeline's objects, with its final slash. */
  prefix: string;
  generation: number;
  remote: RemoteIndex;
}

export class LayerRemoval {
  readonly #options: LayerRemovalOptions;
  /** By name. */
  readonly #doomed = new Map<string, LayerDescriptor>();
  #orphansFound = false;

  constructor(options: LayerRemovalOptions) {
    this.#options = options;
  }

  /** Layers that the index has ceased to name and that are in no map: resolves when nobody reads them any more. */
  async retire(layers: readonly StoredLayer[]): Promise<void> {
    for (const layer of layers) {
      await layer.retire();
      this.#doomed.set(layer.name, layer.descriptor);
    }
  }

  /** Deletes what is doomed; the index has been put since. Throws SupersededError, StorageError. */
  async sweep(): Promise<void> {
    const layers = [...this.#doomed.values()].map((descriptor) => ({ descriptor, size: 0 }));
    if (layers.length === 0) return;
    await this.#options.remote.deleteUnnamed(layers);
    for (const { descriptor } of layers) this.#doomed.delete(layerName(descriptor));
  }

  /** Dooms what earlier generations left behind; once. The timeline must have been taken over. */
  async findOrphans(): Promise<number> {
    if (this.#orphansFound) return 0;
    const { storage, prefix, generation, remote } = this.#options;
    await remote.take();
    const keys = await storage.list(prefix);
    const named = new Set(remote.index.layers.map(({ descriptor }) => layerName(descriptor)));
    let count = 0;
    for (const key of keys) {
      const name = key.slice(prefix.length);
      const layer = parseLayerName(name);
      if (layer === null || layer.generation >= generation || named.has(name)) continue;
      this.#doomed.set(name, layer);
      count++;
    }
    this.#orphansFound = true;
    return count;
  }
}
