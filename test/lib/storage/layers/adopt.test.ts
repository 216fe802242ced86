/** A layer adopted by another timeline: the same entries but for one value; damage is found, not carried over. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { layerCodec } from '../../../../containers/pageserver/layers/codec.ts';
import type { Lsn } from '../../../../lib/postgres/lsn.ts';
import { ALL_KEYS } from '../../../../lib/storage/key.ts';
import { adoptLayer } from '../../../../lib/storage/layers/adopt.ts';
import type { ImageDescriptor } from '../../../../lib/storage/layers/descriptor.ts';
import { LayerError } from '../../../../lib/storage/layers/format.ts';
import { imageValue } from '../../../../lib/storage/value.ts';
import { openLayer, page, TIMELINE, writeLayer, type Entry } from './support.ts';

const LSN = 0x3000000 as Lsn;
const descriptor: ImageDescriptor = { kind: 'image', keys: ALL_KEYS, lsn: LSN, generation: 0 };
const adopted: ImageDescriptor = { ...descriptor, generation: 7 };
const timelineId = 'f'.repeat(32);

const entries: Entry[] = Array.from({ length: 40 }, (_, block) => ({
  key: page(1, block),
  lsn: LSN,
  value: imageValue(new Uint8Array(8192).fill(block)),
}));
const changed = imageValue(new Uint8Array(100).fill(200));
const file = await writeLayer(descriptor, entries);

test.each([0, 17, 39])('the value of entry %i is changed, all others are kept', async (at) => {
  const { key } = entries[at];
  const bytes = await adoptLayer(
    file,
    { timelineId, descriptor: adopted, key, change: () => changed },
    layerCodec,
  );
  const layer = await openLayer(adopted, bytes, { timelineId });
  const found: Entry[] = [];
  for await (const entry of layer.scan(ALL_KEYS, false))
    found.push({ ...entry, value: entry.value.slice() as never });
  expect(found).toEqual(entries.map((entry, i) => (i === at ? { ...entry, value: changed } : entry)));
  await expect(openLayer(descriptor, bytes, { timelineId: TIMELINE })).rejects.toThrow(LayerError);
});

test('a key that is not there, and damage anywhere in what is read, is an error', async () => {
  const adopt = (bytes: Uint8Array, key = entries[17].key) =>
    adoptLayer(bytes, { timelineId, descriptor: adopted, key, change: (value) => value }, layerCodec);
  await expect(adopt(file, page(0, 0))).rejects.toThrow(LayerError);
  await expect(adopt(file, page(2, 0))).rejects.toThrow(LayerError);
  await expect(adopt(file.subarray(0, 20))).rejects.toThrow(LayerError);
  await fc.assert(
    fc.asyncProperty(fc.nat(file.length - 1), fc.integer({ min: 1, max: 255 }), async (at, flip) => {
      const bytes = file.slice();
      bytes[at] ^= flip;
      const result = await adopt(bytes).catch((error: unknown) => error);
      if (result instanceof LayerError) return;
      // The damage is in a block that was copied: its checksum, which was copied too, does not hold.
      const layer = await openLayer(adopted, result as Uint8Array, { timelineId });
      const read = (async () => {
        for await (const _ of layer.scan(ALL_KEYS, false)) continue;
      })();
      await expect(read).rejects.toThrow(LayerError);
    }),
    { numRuns: 60 },
  );
});
