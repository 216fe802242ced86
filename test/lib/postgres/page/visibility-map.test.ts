import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  clearVisibility,
  HEAP_BLOCKS_PER_MAP_PAGE,
  mapBlockOf,
  mapBlocksOf,
  setVisibility,
  truncateVisibility,
  visibilityOf,
  VISIBILITYMAP_ALL_FROZEN,
  VISIBILITYMAP_ALL_VISIBLE,
  VISIBILITYMAP_VALID_BITS,
} from '../../../../lib/postgres/page/visibility-map.ts';

test('a page of the map covers 32672 heap blocks', () => {
  expect(HEAP_BLOCKS_PER_MAP_PAGE).toBe(32_672);
  expect([mapBlockOf(32_671), mapBlockOf(32_672), mapBlockOf(4_294_967_294)]).toEqual([0, 1, 131_457]);
  expect([mapBlocksOf(0), mapBlocksOf(1), mapBlocksOf(32_672), mapBlocksOf(32_673)]).toEqual([0, 1, 1, 2]);
});

test('bits of one block do not touch another, nor the page header', () => {
  const block = fc.nat(3 * HEAP_BLOCKS_PER_MAP_PAGE);
  fc.assert(
    fc.property(fc.uniqueArray(block, { minLength: 2, maxLength: 50 }), (blocks) => {
      const pages = new Map<number, Uint8Array>();
      const pageOf = (heapBlock: number) => {
        const map = mapBlockOf(heapBlock);
        const page = pages.get(map) ?? new Uint8Array(8192);
        pages.set(map, page);
        return page;
      };
      for (const each of blocks)
        expect(setVisibility(pageOf(each), each, VISIBILITYMAP_VALID_BITS)).toBe(true);
      const [first, ...others] = blocks;
      expect(clearVisibility(pageOf(first), first, VISIBILITYMAP_ALL_FROZEN)).toBe(true);
      expect(clearVisibility(pageOf(first), first, VISIBILITYMAP_ALL_FROZEN)).toBe(false);
      expect(visibilityOf(pageOf(first), first)).toBe(VISIBILITYMAP_ALL_VISIBLE);
      for (const each of others) expect(visibilityOf(pageOf(each), each)).toBe(VISIBILITYMAP_VALID_BITS);
      for (const page of pages.values()) expect(page.subarray(0, 24).every((byte) => byte === 0)).toBe(true);
    }),
  );
});

test('truncation clears exactly the blocks that are gone', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: HEAP_BLOCKS_PER_MAP_PAGE - 1 }), (heapBlocks) => {
      const page = new Uint8Array(8192).fill(0xff, 24);
      truncateVisibility(page, heapBlocks);
      for (const block of [0, heapBlocks - 2, heapBlocks - 1]) {
        if (block >= 0 && block < heapBlocks) expect(visibilityOf(page, block)).toBe(3);
      }
      for (const block of [heapBlocks, heapBlocks + 1, HEAP_BLOCKS_PER_MAP_PAGE - 1]) {
        if (block < HEAP_BLOCKS_PER_MAP_PAGE) expect(visibilityOf(page, block)).toBe(0);
      }
    }),
  );
});
