import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { lsn } from '../../../../lib/postgres/lsn.ts';
import { ALL_KEYS, kindRange } from '../../../../lib/storage/key.ts';
import {
  layerName,
  parseLayerName,
  type DeltaDescriptor,
  type LayerDescriptor,
} from '../../../../lib/storage/layers/descriptor.ts';
import { LayerError, LayerFooter } from '../../../../lib/storage/layers/format.ts';
import { imageValue, operationValue, startsChain, type Version } from '../../../../lib/storage/value.ts';
import { arbitraryEntries, arbitraryKey, openLayer, page, writeLayer, type Entry } from './support.ts';

const delta: DeltaDescriptor = {
  kind: 'delta',
  keys: ALL_KEYS,
  startLsn: lsn(100),
  endLsn: lsn(200),
  generation: 7,
};

/** What `collect` must find, by looking at everything. */
function naive(entries: readonly Entry[], key: string, after: number, upTo: number): Version[] {
  const found: Version[] = [];
  const all = entries.filter((entry) => entry.key === key && entry.lsn > after && entry.lsn <= upTo);
  for (const { lsn, value } of all.toReversed()) {
    found.push({ lsn, value });
    if (startsChain(value)) break;
  }
  return found;
}
const comparable = (versions: readonly Version[]) =>
  versions.map(({ lsn, value }) => [lsn, Buffer.from(value).toString('base64')]);

test('what was written is found by key and LSN, and scanned in order', async () => {
  await fc.assert(
    fc.asyncProperty(
      arbitraryEntries(100, 200),
      fc.array(fc.tuple(arbitraryKey, fc.integer({ min: 90, max: 210 }), fc.integer({ min: 90, max: 210 }))),
      async (entries, lookups) => {
        const reader = await openLayer(delta, await writeLayer(delta, entries));
        expect(reader.entryCount).toBe(entries.length);
        for (const [key, after, upTo] of lookups) {
          const found: Version[] = [];
          const met = await reader.collect(key, lsn(after), lsn(upTo), found);
          const expected = naive(entries, key, after, upTo);
          expect(comparable(found)).toEqual(comparable(expected));
          expect(met).toBe(expected.length > 0 && startsChain(expected[expected.length - 1].value));
        }
        for (const range of [ALL_KEYS, kindRange('relationSize'), { first: page(2, 3), last: page(3, 1) }]) {
          const scanned: string[] = [];
          for await (const entry of reader.scan(range, false)) scanned.push(`${entry.key}${entry.lsn}`);
          const expected = entries.filter((entry) => range.first <= entry.key && entry.key <= range.last);
          expect(scanned).toEqual(expected.map((entry) => `${entry.key}${entry.lsn}`));
        }
      },
    ),
    { numRuns: 60 },
  );
});

test('a page is read with the tail of the file and one block', async () => {
  const entries = Array.from({ length: 4000 }, (_, block): Entry => {
    const content = Uint8Array.from(
      { length: 8192 },
      (_, i) => (Math.imul(i + block, 2654435761) >>> 24) & 15,
    );
    return { key: page(1, block), lsn: lsn(200), value: imageValue(content) };
  });
  const image: LayerDescriptor = { kind: 'image', keys: ALL_KEYS, lsn: lsn(200), generation: 1 };
  const bytes = await writeLayer(image, entries);
  const reads: number[] = [];
  const reader = await openLayer(image, bytes, { onRead: (_, length) => reads.push(length) });
  const opened = reads.length;
  const found: Version[] = [];
  await reader.collect(page(1, 3210), lsn(199), lsn(200), found);
  expect(Buffer.compare(found[0].value, entries[3210].value)).toBe(0);
  expect(opened).toBeLessThanOrEqual(2);
  expect(reads.length - opened).toBe(1);
  expect(reads[opened]).toBeLessThan(64 << 10);
});

describe('a damaged file', () => {
  const entries = Array.from({ length: 300 }, (_, i): Entry => {
    const content = Uint8Array.from({ length: 500 }, (_, at) => Math.imul(at * i + 1, 2654435761) >>> 24);
    return {
      key: page(1 + (i >> 6), i & 63),
      lsn: lsn(101 + (i % 99)),
      value: operationValue(1, content, true),
    };
  });
  const written = writeLayer(delta, entries);

  test('with any bit flipped gives an error or the right bytes, never others', async () => {
    const good = await written;
    let errors = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 0, max: good.length * 8 - 1 }),
        fc.constantFrom(...entries),
        async (bit, entry) => {
          const bad = good.slice();
          bad[bit >> 3] ^= 1 << (bit & 7);
          try {
            const reader = await openLayer(delta, bad);
            const found: Version[] = [];
            await reader.collect(entry.key, lsn(100), entry.lsn, found);
            expect(Buffer.compare(found[0].value, entry.value)).toBe(0);
            for await (const scanned of reader.scan(ALL_KEYS, true)) expect(scanned.value.length).toBe(502);
            expect.unreachable('a scan of everything must meet the flipped bit');
          } catch (error) {
            expect(error).toBeInstanceOf(LayerError);
            expect((error as LayerError).code).toBe('corrupt');
            errors++;
          }
        },
      ),
      { numRuns: 400 },
    );
    expect(errors).toBe(400);
  });

  test('every bit of the footer is covered', async () => {
    const good = await written;
    for (let bit = 0; bit < LayerFooter.size * 8; bit++) {
      const bad = good.slice();
      bad[good.length - LayerFooter.size + (bit >> 3)] ^= 1 << (bit & 7);
      await expect(openLayer(delta, bad), `bit ${bit}`).rejects.toBeInstanceOf(LayerError);
    }
  });

  test('cut or extended anywhere is an error', async () => {
    const good = await written;
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 0, max: good.length - 1 }), async (length) => {
        await expect(openLayer(delta, good.subarray(0, length))).rejects.toBeInstanceOf(LayerError);
      }),
    );
    const longer = new Uint8Array(good.length + 1);
    longer.set(good);
    await expect(openLayer(delta, longer)).rejects.toBeInstanceOf(LayerError);
  });

  test('of any bytes at all is an error', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), async (bytes) => {
        await expect(openLayer(delta, bytes)).rejects.toMatchObject({ code: 'corrupt' });
      }),
    );
  });

  test('of another timeline, range, kind or version is refused by name', async () => {
    const good = await written;
    const other = { ...delta, endLsn: lsn(201) };
    await expect(openLayer(other, good)).rejects.toMatchObject({ code: 'mismatch' });
    await expect(openLayer({ ...delta, generation: 8 }, good)).rejects.toMatchObject({ code: 'mismatch' });
    const timelineId = 'f'.repeat(32);
    await expect(openLayer(delta, good, { timelineId })).rejects.toMatchObject({ code: 'mismatch' });
    const { layerCodec } = await import('../../../../containers/pageserver/layers/codec.ts');
    const future = good.slice();
    const footer = future.subarray(future.length - LayerFooter.size);
    LayerFooter.over(footer).version = 2;
    LayerFooter.over(footer).crc = layerCodec.crc32c(footer.subarray(0, LayerFooter.offsets.crc));
    await expect(openLayer(delta, future)).rejects.toThrow('layer format 2, 1 expected');
  });
});

describe('names', () => {
  test('say all of a layer, and sort by key and LSN', () => {
    const keys = { first: page(1, 0), last: page(2, 5) };
    const layers: LayerDescriptor[] = [
      delta,
      {
        kind: 'delta',
        keys,
        startLsn: lsn(0x1_2345_6789),
        endLsn: lsn(2 ** 53 - 1),
        generation: 0xffff_ffff,
      },
      { kind: 'image', keys, lsn: lsn(0x300_0000), generation: 1 },
    ];
    for (const layer of layers) expect(parseLayerName(layerName(layer))).toEqual(layer);
    expect(layerName(delta)).toBe(
      `${'00'.repeat(18)}-${'ff'.repeat(18)}__0000000000000064-00000000000000c8-00000007`,
    );
  });
  test.each([
    '',
    'index-00000001.json',
    layerName(delta).toUpperCase(),
    `${layerName(delta)}.tmp`,
    layerName({ ...delta, startLsn: lsn(200) }),
    layerName({ ...delta, keys: { first: ALL_KEYS.last, last: ALL_KEYS.first } }),
    layerName(delta).replace('__0000000000000064', '__ffffffffffffffff'),
  ])('%j is none', (name) => {
    expect(parseLayerName(name)).toBeNull();
  });
});
