/**
 * The layers and the index of an imported timeline: image layers that tile all keys at its start, of generation 0, which is
 * nobody's; the first pageserver goes on from that index as from any other.
 */
import { INVALID_LSN, type Lsn } from '../../../lib/postgres/lsn.ts';
import { ALL_KEYS, type Key } from '../../../lib/storage/key.ts';
import { layerName, type ImageDescriptor } from '../../../lib/storage/layers/descriptor.ts';
import { keyBefore } from '../../../lib/storage/layers/layer-map.ts';
import {
  encodeIndex,
  indexName,
  WHOLE_HISTORY,
  type IndexedLayer,
} from '../../../lib/storage/layers/timeline-index.ts';
import { LayerWriter } from '../../../lib/storage/layers/writer.ts';
import type { Modification } from '../../../lib/storage/value.ts';
import { layerCodec } from '../layers/codec.ts';

export interface ImportedTimeline {
  timelineId: string;
  systemIdentifier: bigint;
  startLsn: Lsn;
}
/** Puts an object beside the timeline's others. */
export type PutObject = (name: string, bytes: Uint8Array) => Promise<void>;

const GENERATION = 0;
/** Bytes at which a layer is closed: one is in memory at a time. */
const LAYER_BYTES = 32 << 20;

/** Layers first, the index last. `onEntry` is told of each entry that was written. */
export async function putImportedLayers(
  timeline: ImportedTimeline,
  entries: AsyncIterable<Modification>,
  put: PutObject,
  onEntry: () => void,
): Promise<void> {
  const { timelineId, systemIdentifier, startLsn } = timeline;
  const layers: IndexedLayer[] = [];
  let first: Key = ALL_KEYS.first;
  let open = newLayer(timelineId);

  async function close(last: Key): Promise<void> {
    const descriptor: ImageDescriptor = {
      kind: 'image',
      keys: { first, last },
      lsn: startLsn,
      generation: GENERATION,
    };
    const size = await open.writer.finish(descriptor);
    await put(layerName(descriptor), Buffer.concat(open.chunks));
    layers.push({ descriptor, size });
  }

  for await (const { key, value } of entries) {
    if (open.writer.bytesWritten >= LAYER_BYTES) {
      await close(keyBefore(key));
      first = key;
      open = newLayer(timelineId);
    }
    if (open.writer.add(key, startLsn, value)) await open.writer.drain();
    onEntry();
  }
  await close(ALL_KEYS.last);
  const index = encodeIndex(
    {
      timelineId,
      generation: GENERATION,
      postgresMajor: 18,
      systemIdentifier: systemIdentifier.toString(),
      diskConsistentLsn: startLsn,
      previousLsn: INVALID_LSN,
      history: WHOLE_HISTORY,
      layers,
    },
    layerCodec.crc32c,
  );
  await put(indexName(GENERATION), index);
}

function newLayer(timelineId: string): { writer: LayerWriter; chunks: Uint8Array[] } {
  const chunks: Uint8Array[] = [];
  const sink = (bytes: Uint8Array) => void chunks.push(bytes);
  return { chunks, writer: new LayerWriter({ timelineId, codec: layerCodec, sink }) };
}
