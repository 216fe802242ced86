/** Layers in memory for tests, and what fast-check makes of keys and versions. */
import fc from 'fast-check';
import { layerCodec } from '../../../../containers/pageserver/layers/codec.ts';
import { lsn, type Lsn } from '../../../../lib/postgres/lsn.ts';
import { relationPageKey, relationSizeKey, type Key } from '../../../../lib/storage/key.ts';
import type { Block } from '../../../../lib/storage/layers/block.ts';
import type { LayerDescriptor } from '../../../../lib/storage/layers/descriptor.ts';
import { LayerReader, type BlockCache } from '../../../../lib/storage/layers/reader.ts';
import { LayerWriter } from '../../../../lib/storage/layers/writer.ts';
import { ABSENT, imageValue, operationValue, type Value } from '../../../../lib/storage/value.ts';

export const TIMELINE = '0123456789abcdef0123456789abcdef';

export interface Entry {
  key: Key;
  lsn: Lsn;
  value: Value;
}

export const page = (relNumber: number, block: number): Key =>
  relationPageKey({ spcOid: 1663, dbOid: 5, relNumber, fork: 0 }, block);
export const size = (relNumber: number): Key =>
  relationSizeKey({ spcOid: 1663, dbOid: 5, relNumber, fork: 0 });

export async function writeLayer(descriptor: LayerDescriptor, entries: Iterable<Entry>): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  const sink = (bytes: Uint8Array) => void parts.push(bytes);
  const writer = new LayerWriter({ timelineId: TIMELINE, codec: layerCodec, sink });
  for (const { key, lsn, value } of entries) if (writer.add(key, lsn, value)) await writer.drain();
  await writer.finish(descriptor);
  return new Uint8Array(Buffer.concat(parts));
}

/** A cache that remembers nothing: every read goes to the bytes. */
export const noCache: BlockCache = {
  get: () => undefined,
  set: () => {},
  delete: () => {},
};
export class MapCache extends Map<string, Promise<Block>> {}

export function openLayer(
  descriptor: LayerDescriptor,
  bytes: Uint8Array,
  options: { timelineId?: string; onRead?: (offset: number, length: number) => void } = {},
): Promise<LayerReader> {
  const read = (offset: number, length: number) => {
    options.onRead?.(offset, length);
    return bytes.slice(offset, offset + length);
  };
  const identity = { descriptor, timelineId: options.timelineId ?? TIMELINE, size: bytes.length };
  return LayerReader.open(identity, { read }, layerCodec, noCache, 'test');
}

export const byKeyAndLsn = (a: Entry, b: Entry): number =>
  a.key < b.key ? -1 : a.key > b.key ? 1 : a.lsn - b.lsn;

export const arbitraryKey: fc.Arbitrary<Key> = fc
  .tuple(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 0, max: 6 }), fc.boolean())
  .map(([relNumber, block, isPage]) => (isPage ? page(relNumber, block) : size(relNumber)));

/** Values that start a chain and values that do not; of all sizes, compressible or not. */
export const arbitraryValue: fc.Arbitrary<Value> = fc.oneof(
  fc.constant(ABSENT),
  fc.uint8Array({ maxLength: 60 }).map(imageValue),
  fc.uint8Array({ maxLength: 60 }).map((bytes) => operationValue(1, bytes, false)),
  fc.integer({ min: 0, max: 255 }).map((byte) => imageValue(new Uint8Array(8192).fill(byte))),
  fc.integer({ min: 0, max: 1 << 20 }).map((length) => operationValue(2, new Uint8Array(length), false)),
);

/** Distinct (key, LSN) with LSNs in (after, upTo], in the order of a layer file. */
export const arbitraryEntries = (after: number, upTo: number, maxLength = 60): fc.Arbitrary<Entry[]> =>
  fc
    .uniqueArray(
      fc.record({
        key: arbitraryKey,
        lsn: fc.integer({ min: after + 1, max: upTo }).map((value) => lsn(value)),
        value: arbitraryValue,
      }),
      { maxLength, selector: (entry) => `${entry.key}${entry.lsn}` },
    )
    .map((entries) => entries.sort(byKeyAndLsn));
