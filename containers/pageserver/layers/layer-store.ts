/**
 * The layers of one timeline on disk and in object storage: makes new ones, uploads them, opens those an index names.
 *
 * A layer being written is a `.partial` file until it is whole. Files that no index names are leftovers of an
 * earlier process and are removed when the timeline is attached.
 */
import { open, mkdir, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import type { LayerDescriptor } from '../../../lib/storage/layers/descriptor.ts';
import { layerName } from '../../../lib/storage/layers/descriptor.ts';
import type { IndexedLayer } from '../../../lib/storage/layers/timeline-index.ts';
import { LayerWriter } from '../../../lib/storage/layers/writer.ts';
import type { ObjectStorage } from '../remote/storage.ts';
import { upload } from '../remote/upload.ts';
import { StoredLayer, type LayerContext } from './stored-layer.ts';

let partialNumber = 0;

export class LayerStore {
  readonly context: LayerContext;

  private constructor(context: LayerContext) {
    this.context = context;
  }
  static async open(context: LayerContext): Promise<LayerStore> {
    await mkdir(context.folder, { recursive: true });
    return new LayerStore(context);
  }

  /** Writes a layer: `fill` adds the entries and says what the layer is; null when it turned out to be nothing. */
  async create(fill: (writer: LayerWriter) => Promise<LayerDescriptor | null>): Promise<StoredLayer | null> {
    const { folder, timelineId, codec } = this.context;
    const partial = `${folder}/new-${partialNumber++}.partial`;
    const file = await open(partial, 'w');
    try {
      const sink = async (bytes: Uint8Array) => void (await file.write(bytes));
      const writer = new LayerWriter({ timelineId, codec, sink });
      const descriptor = await fill(writer);
      if (descriptor === null) {
        await rm(partial);
        return null;
      }
      const size = await writer.finish(descriptor);
      const layer = new StoredLayer(this.context, { descriptor, size, isLocal: true, isUploaded: false });
      await rename(partial, layer.path);
      return layer;
    } catch (error) {
      await rm(partial, { force: true });
      throw error;
    } finally {
      await file.close();
    }
  }

  /** Takes a layer whose file is there already. */
  async add(descriptor: LayerDescriptor, bytes: Uint8Array): Promise<StoredLayer> {
    const partial = `${this.context.folder}/new-${partialNumber++}.partial`;
    await writeFile(partial, bytes);
    const state = { descriptor, size: bytes.length, isLocal: true, isUploaded: false };
    const layer = new StoredLayer(this.context, state);
    await rename(partial, layer.path);
    return layer;
  }

  /** Takes a layer that is whole in a file at `path`, beside the others; the file is renamed. */
  async adopt(path: string, descriptor: LayerDescriptor, size: number): Promise<StoredLayer> {
    const layer = new StoredLayer(this.context, { descriptor, size, isLocal: true, isUploaded: false });
    await rename(path, layer.path);
    return layer;
  }

  /** Puts the layer's file into object storage. Throws StorageError. */
  async upload(layer: StoredLayer): Promise<void> {
    if (layer.isUploaded) return;
    const { metrics, storage } = this.context;
    try {
      await uploadFile(storage, layer.objectKey, layer);
    } catch (error) {
      metrics.uploads.inc(1, { outcome: 'failed' });
      throw error;
    }
    metrics.uploads.inc(1, { outcome: 'done' });
    metrics.uploadedBytes.inc(layer.size);
    layer.uploaded();
  }

  /** Layers as an index names them; removes local files that it does not name. */
  async load(layers: readonly IndexedLayer[]): Promise<StoredLayer[]> {
    const { folder } = this.context;
    const named = new Map(layers.map(({ descriptor, size }) => [layerName(descriptor), size]));
    const local = new Set<string>();
    for (const name of await readdir(folder)) {
      const size = (await stat(`${folder}/${name}`)).size;
      if (named.get(name) === size) local.add(name);
      else await rm(`${folder}/${name}`, { recursive: true });
    }
    return layers.map(({ descriptor, size }) => {
      const isLocal = local.has(layerName(descriptor));
      return new StoredLayer(this.context, { descriptor, size, isLocal, isUploaded: true });
    });
  }
}

/** Puts the layer's file, a few parts of it in memory at a time; it is open only while a part is read. */
function uploadFile(
  storage: ObjectStorage,
  key: string,
  { path, size }: { path: string; size: number },
): Promise<void> {
  const read = async (offset: number, length: number): Promise<Uint8Array> => {
    const file = await open(path);
    try {
      const bytes = new Uint8Array(length);
      const { bytesRead } = await file.read(bytes, 0, length, offset);
      if (bytesRead !== length) throw new Error(`${path}: ${offset + bytesRead} bytes, ${size} expected`);
      return bytes;
    } finally {
      await file.close();
    }
  };
  return upload(storage, key, { size, read });
}
