import fc from 'fast-check';
import { expect, test } from 'vitest';
import { lsn } from '../../../../lib/postgres/lsn.ts';
import {
  ALL_KEYS,
  isPageKey,
  keyBlock,
  pagePrefixOfSize,
  sizeKeyOfPage,
  type Key,
  type KeyRange,
} from '../../../../lib/storage/key.ts';
import { MemoryLayer } from '../../../../lib/storage/layers/memory-layer.ts';
import { imageValue, type Version } from '../../../../lib/storage/value.ts';
import { arbitraryEntries, arbitraryKey, byKeyAndLsn, openLayer, page, size, writeLayer } from './support.ts';

/** As ingest has it: a string of its own. */
const prefixOf = (key: Key): string => pagePrefixOfSize(sizeKeyOfPage(key));

test('reads as the level-0 delta that it becomes', async () => {
  await fc.assert(
    fc.asyncProperty(
      arbitraryEntries(100, 200),
      fc.array(fc.tuple(arbitraryKey, fc.integer({ min: 90, max: 210 }), fc.integer({ min: 90, max: 210 }))),
      async (entries, lookups) => {
        const layer = new MemoryLayer(lsn(100));
        for (const [i, { key, lsn, value }] of entries.toSorted((a, b) => a.lsn - b.lsn).entries()) {
          if (i % 3 === 0) layer.put(key, lsn, value);
          else if (i % 3 === 1 || !isPageKey(key)) layer.keep(key, lsn, value);
          else layer.keepPage(prefixOf(key), keyBlock(key), lsn, value);
          layer.advance(lsn);
        }
        layer.advance(lsn(200));
        layer.freeze();
        expect([...layer.entries()]).toEqual(entries.toSorted(byKeyAndLsn));
        const descriptor = {
          kind: 'delta',
          keys: ALL_KEYS,
          startLsn: layer.startLsn,
          endLsn: layer.endLsn,
          generation: 1,
        } as const;
        const reader = await openLayer(descriptor, await writeLayer(descriptor, layer.entries()));
        for (const [key, after, upTo] of lookups) {
          const [here, there]: Version[][] = [[], []];
          const met = layer.collect(key, lsn(after), lsn(upTo), here);
          expect(await reader.collect(key, lsn(after), lsn(upTo), there)).toBe(met);
          const text = (versions: Version[]) =>
            versions.map((v) => [v.lsn, Buffer.from(v.value).toString('hex')]);
          expect(text(here)).toEqual(text(there));
        }
      },
    ),
    { numRuns: 50 },
  );
});

test('scans what is no page, within a range and up to an LSN', () => {
  const layer = new MemoryLayer(lsn(1));
  const value = imageValue(new Uint8Array(4));
  for (const [i, rel] of [3, 1, 2, 1].entries()) {
    layer.put(size(rel), lsn(2 + i), value);
    layer.put(page(rel, 0), lsn(2 + i), value);
  }
  const scan = (range: KeyRange, upTo: number) =>
    [...layer.scanOthers(range, lsn(upTo))].map(({ key, lsn }) => [key, lsn]);
  expect(scan(ALL_KEYS, 9)).toEqual([
    [size(3), 2],
    [size(1), 5],
    [size(2), 4],
  ]);
  expect(scan(ALL_KEYS, 3)).toEqual([
    [size(3), 2],
    [size(1), 3],
  ]);
  expect(scan({ first: size(2), last: size(2) }, 9)).toHaveLength(1);
  expect(layer.bytes).toBeGreaterThan(8 * 64);
});

test('never goes back', () => {
  const layer = new MemoryLayer(lsn(10));
  const value = imageValue(new Uint8Array(1));
  expect(() => layer.put(size(1), lsn(10), value)).toThrow('in LSN order');
  layer.advance(lsn(20));
  expect(() => layer.put(size(1), lsn(19), value)).toThrow('in LSN order');
  layer.put(size(1), lsn(20), value);
  layer.put(size(1), lsn(20), imageValue(new Uint8Array([7])));
  const found: Version[] = [];
  expect(layer.collect(size(1), lsn(10), lsn(20), found)).toBe(true);
  expect(found.map((version) => [...version.value])).toEqual([[1, 7]]);
  layer.freeze();
  expect(() => layer.put(size(1), lsn(30), value)).toThrow();
});
