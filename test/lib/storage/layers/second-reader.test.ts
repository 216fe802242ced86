/** What Ebb writes, read by a program that knows only docs/formats/layers.md. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { lsn } from '../../../../lib/postgres/lsn.ts';
import { ALL_KEYS, keyHex } from '../../../../lib/storage/key.ts';
import { layerName, type LayerDescriptor } from '../../../../lib/storage/layers/descriptor.ts';
import { imageValue } from '../../../../lib/storage/value.ts';
import { readLayer, readName } from './second-reader.ts';
import { arbitraryEntries, page, TIMELINE, writeLayer, type Entry } from './support.ts';

const plain = ({ key, lsn: at, value }: Entry) => ({
  key: keyHex(key),
  lsn: BigInt(at),
  value: Buffer.from(value),
});
async function expectRead(descriptor: LayerDescriptor, entries: readonly Entry[]): Promise<void> {
  const { versions, mayHold, timelineId, ...said } = readLayer(await writeLayer(descriptor, entries));
  expect(timelineId).toBe(TIMELINE);
  expect(said).toEqual(readName(layerName(descriptor)));
  expect(versions).toEqual(entries.map(plain));
  for (const { key } of versions) expect(mayHold(key)).toBe(true);
}

test('the document is enough to read a delta layer', async () => {
  const descriptor = {
    kind: 'delta',
    keys: ALL_KEYS,
    startLsn: lsn(99),
    endLsn: lsn(900),
    generation: 7,
  } as const;
  await fc.assert(
    fc.asyncProperty(arbitraryEntries(100, 900), (entries) => expectRead(descriptor, entries)),
    { numRuns: 12 },
  );
});

test('the document is enough to read an image layer, and to leave out keys that are not there', async () => {
  const keys = { first: page(1, 0), last: page(3, 9) };
  const descriptor = { kind: 'image', keys, lsn: lsn(0x1_2345_6789), generation: 1 } as const;
  const entries = Array.from({ length: 40 }, (_, block) => ({
    key: page(2, block),
    lsn: descriptor.lsn,
    value: imageValue(new Uint8Array(8192).fill(block)),
  }));
  await expectRead(descriptor, entries);

  const delta = { kind: 'delta', keys, startLsn: lsn(0), endLsn: descriptor.lsn, generation: 1 } as const;
  const { mayHold } = readLayer(await writeLayer(delta, entries));
  const others = Array.from({ length: 500 }, (_, block) => keyHex(page(4, block)));
  expect(others.filter(mayHold).length).toBeLessThan(25);
});
