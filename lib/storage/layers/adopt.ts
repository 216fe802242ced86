/**
 * A layer file of one timeline made into one of another, with one value changed: all blocks but one stay as they
 * are, so nothing else is decompressed or compressed again.
 *
 *   block 0 … block k … block n-1   index   footer
 *      │         │         │          └───────┴── made anew: timeline, generation, block k
 *      │    decompressed   │
 *      └─── copied ────────┘
 */
import { BlockBuilder, Block } from './block.ts';
import type { LayerDescriptor } from './descriptor.ts';
import {
  BlockEntry,
  LAYER_VERSION,
  LayerError,
  LayerFooter,
  LayerHeader,
  MAGIC,
  RAW_BYTES_MAX,
  type LayerCodec,
} from './format.ts';
import type { Key } from '../key.ts';
import type { Value } from '../value.ts';

export interface Adoption {
  timelineId: string;
  /** What the new layer is; of the same kind, keys and LSNs. */
  descriptor: LayerDescriptor;
  key: Key;
  /** From the value that `key` has to the one it shall have. */
  change: (value: Value) => Value;
}

/** The new file. Throws LayerError when `file` is no layer of this version, is damaged, or does not hold the key. */
export async function adoptLayer(
  file: Uint8Array,
  { timelineId, descriptor, key, change }: Adoption,
  codec: LayerCodec,
): Promise<Uint8Array> {
  const footer = readFooter(file, codec);
  const frame = file.subarray(footer.indexOffset, footer.indexOffset + footer.indexLength);
  if (codec.crc32c(frame) !== footer.indexCrc) throw new LayerError('corrupt', 'layer index: CRC differs');
  const index = codec.decompress(frame, footer.indexRawLength).slice();
  const entryAt = (at: number) => LayerHeader.size + at * BlockEntry.size;

  let number = -1;
  let offset = 0;
  for (let at = 0, from = 0; at < footer.blockCount; at++) {
    const entry = BlockEntry.decode(index, entryAt(at));
    if (entry.key > key) break;
    [number, offset] = [at, from];
    from += entry.length;
  }
  if (number < 0) throw new LayerError('corrupt', 'the layer does not hold the key');
  const entry = BlockEntry.decode(index, entryAt(number));
  const raw = changedBlock(file.subarray(offset, offset + entry.length), entry, { key, change }, codec);
  const block = await codec.compress(raw);

  const header = LayerHeader.over(index);
  header.timelineId = timelineId;
  header.generation = descriptor.generation;
  header.rawBytes = (header.rawBytes - entry.rawLength + raw.length) as typeof header.rawBytes;
  const changed = { ...entry, length: block.length, rawLength: raw.length, crc: codec.crc32c(block) };
  index.set(BlockEntry.encode(changed), entryAt(number));
  const newIndex = await codec.compress(index);
  const indexOffset = footer.indexOffset - entry.length + block.length;
  const newFooter = LayerFooter.encode({
    ...footer,
    indexOffset: indexOffset as typeof footer.indexOffset,
    indexLength: newIndex.length,
    indexCrc: codec.crc32c(newIndex),
  });
  LayerFooter.over(newFooter).crc = codec.crc32c(newFooter.subarray(0, LayerFooter.offsets.crc));

  const result = new Uint8Array(indexOffset + newIndex.length + LayerFooter.size);
  result.set(file.subarray(0, offset));
  result.set(block, offset);
  result.set(file.subarray(offset + entry.length, footer.indexOffset), offset + block.length);
  result.set(newIndex, indexOffset);
  result.set(newFooter, indexOffset + newIndex.length);
  return result;
}

function readFooter(file: Uint8Array, codec: LayerCodec) {
  if (file.length < LayerFooter.size)
    throw new LayerError(
      'corrupt',
      `layer file of ${file.length} bytes: ${LayerFooter.size} at least expected`,
    );
  const bytes = file.subarray(file.length - LayerFooter.size);
  const footer = LayerFooter.over(bytes);
  if (footer.magicLow !== MAGIC[0] || footer.magicHigh !== MAGIC[1])
    throw new LayerError('corrupt', 'no layer file: its last bytes are not the format’s');
  if (codec.crc32c(bytes.subarray(0, LayerFooter.offsets.crc)) !== footer.crc)
    throw new LayerError('corrupt', 'layer footer: CRC differs');
  if (footer.version !== LAYER_VERSION)
    throw new LayerError('version', `layer file of version ${footer.version}: ${LAYER_VERSION} expected`);
  if (
    footer.indexOffset + footer.indexLength + LayerFooter.size !== file.length ||
    footer.indexRawLength > RAW_BYTES_MAX ||
    footer.indexRawLength < LayerHeader.size + footer.blockCount * BlockEntry.size
  )
    throw new LayerError('corrupt', 'layer footer: its lengths are not those of the file');
  return LayerFooter.decode(bytes, 0);
}

/** The raw block with the value of `key` changed. */
function changedBlock(
  frame: Uint8Array,
  { crc, rawLength }: { crc: number; rawLength: number },
  { key, change }: Pick<Adoption, 'key' | 'change'>,
  codec: LayerCodec,
): Uint8Array {
  if (codec.crc32c(frame) !== crc) throw new LayerError('corrupt', 'layer block: CRC differs');
  const block = new Block(codec.decompress(frame, rawLength));
  const builder = new BlockBuilder();
  let found = false;
  for (let at = 0; at < block.count; at++) {
    const isIt = block.key(at) === key;
    found ||= isIt;
    builder.add(block.key(at), block.lsn(at), isIt ? change(block.value(at)) : block.value(at));
  }
  if (!found) throw new LayerError('corrupt', 'the layer does not hold the key');
  return builder.finish();
}
