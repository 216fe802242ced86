import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ValueSlabs, type SpillFile } from '../../../../lib/storage/layers/value-slabs.ts';
import type { Value } from '../../../../lib/storage/value.ts';

const BYTES_MAX = 3 << 20;
function fileInMemory() {
  const slabs: Uint8Array[] = [];
  const seen = { slabs, opened: 0, reads: 0, closed: 0 };
  const file: SpillFile = {
    write: (slab) => slabs.push(slab.slice()) - 1,
    read: (id) => {
      seen.reads++;
      return slabs[id].slice();
    },
    close: () => seen.closed++,
  };
  const open = (): SpillFile => {
    seen.opened++;
    return file;
  };
  return { seen, spill: { bytesMax: BYTES_MAX, open } };
}
const filled = (length: number, byte: number): Value => new Uint8Array(length).fill(byte) as Value;

test('values are what they were, in memory or not, and memory stays within its bound', () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.record({ length: fc.integer({ min: 1, max: 400_000 }), kept: fc.boolean(), byte: fc.nat(255) }),
        { minLength: 1, maxLength: 120, size: 'max' },
      ),
      (values) => {
        const { seen, spill } = fileInMemory();
        const slabs = new ValueSlabs(spill);
        const places: { slab: number; offset: number }[] = [];
        let total = 0;
        // As values are made: several in a buffer that is filled on while it is kept.
        let pool = new Uint8Array(1 << 20);
        let used = 0;
        for (const { length, kept, byte } of values) {
          if (kept) {
            if (used + length > pool.length) [pool, used] = [new Uint8Array(1 << 20), 0];
            const value = pool.subarray(used, (used += length)).fill(byte);
            slabs.keep(value as Value);
          } else slabs.copyIn(filled(length, byte));
          places.push({ ...slabs.place });
          total += length;
          // Two slabs are being written to, and one is new.
          expect(slabs.residentBytes).toBeLessThanOrEqual(BYTES_MAX + (3 << 20));
          expect(slabs.residentBytes + slabs.spilledBytes).toBe(total);
        }
        expect(seen.opened).toBe(slabs.spilledBytes > 0 ? 1 : 0);
        for (const [i, { length, byte }] of values.entries()) {
          const value = slabs.read(places[i].slab, places[i].offset, length);
          expect(value).toHaveLength(length);
          expect([value[0], value[length >> 1], value[length - 1]]).toEqual([byte, byte, byte]);
        }
        slabs.close();
        expect(seen.closed).toBe(seen.opened);
      },
    ),
    { numRuns: 40, endOnFailure: true },
  );
});

test('what was spilled together is read back once', () => {
  const { seen, spill } = fileInMemory();
  const slabs = new ValueSlabs(spill);
  const places = Array.from({ length: 2000 }, (_, i) => {
    slabs.copyIn(filled(8193, i % 251));
    return { ...slabs.place };
  });
  for (const [i, { slab, offset }] of places.entries())
    expect(slabs.read(slab, offset, 8193)[8192]).toBe(i % 251);
  expect(seen.reads).toBe(seen.slabs.length);
  expect(seen.slabs.length).toBeGreaterThan(10);
});
