/**
 * The visibility map: two bits for each heap block, in pages of its own fork.
 *
 * Bits are set by Heap2/VISIBLE and cleared by heap records. Those of 18.4 and before say only by a flag that they
 * clear (no reference to the map's page); later ones name the map's page as a block. Whoever files a record
 * under its pages uses `clearVisibility` for the former; such a change does not move the page's LSN.
 *
 * Source: access/heap/visibilitymap.c, access/visibilitymapdefs.h.
 */
import { PAGE_BYTES, PAGE_HEADER_BYTES } from './page.ts';

export const VISIBILITYMAP_ALL_VISIBLE = 0x01;
export const VISIBILITYMAP_ALL_FROZEN = 0x02;
export const VISIBILITYMAP_VALID_BITS = 0x03;

/** HEAPBLOCKS_PER_PAGE: heap blocks that one page of the map covers. */
export const HEAP_BLOCKS_PER_MAP_PAGE = (PAGE_BYTES - PAGE_HEADER_BYTES) * 4;

/** The map's block that covers `heapBlock`. */
export const mapBlockOf = (heapBlock: number): number => Math.floor(heapBlock / HEAP_BLOCKS_PER_MAP_PAGE);
/** The map's blocks that cover a heap of `heapBlocks` blocks. */
export const mapBlocksOf = (heapBlocks: number): number => Math.ceil(heapBlocks / HEAP_BLOCKS_PER_MAP_PAGE);

const byteOf = (heapBlock: number): number =>
  PAGE_HEADER_BYTES + ((heapBlock % HEAP_BLOCKS_PER_MAP_PAGE) >>> 2);
const shiftOf = (heapBlock: number): number => (heapBlock & 3) * 2;

/** The two bits of `heapBlock` in its page of the map. */
export const visibilityOf = (mapPage: Uint8Array, heapBlock: number): number =>
  (mapPage[byteOf(heapBlock)] >>> shiftOf(heapBlock)) & VISIBILITYMAP_VALID_BITS;

/** Sets `bits` (VISIBILITYMAP_…) of `heapBlock`; false when they were just these already. */
export function setVisibility(mapPage: Uint8Array, heapBlock: number, bits: number): boolean {
  if (visibilityOf(mapPage, heapBlock) === bits) return false;
  mapPage[byteOf(heapBlock)] |= bits << shiftOf(heapBlock);
  return true;
}

/** Clears `bits` of `heapBlock`; false when none was set. */
export function clearVisibility(mapPage: Uint8Array, heapBlock: number, bits: number): boolean {
  if ((visibilityOf(mapPage, heapBlock) & bits) === 0) return false;
  mapPage[byteOf(heapBlock)] &= ~(bits << shiftOf(heapBlock));
  return true;
}

/**
 * What truncating a heap to `heapBlocks` leaves of the map's last page: every bit from there on is cleared.
 * `mapPage` must be the page `mapBlockOf(heapBlocks)`; nothing is to be done when `heapBlocks` fills its pages exactly.
 * (visibilitymap_prepare_truncate)
 */
export function truncateVisibility(mapPage: Uint8Array, heapBlocks: number): void {
  const byte = byteOf(heapBlocks);
  const shift = shiftOf(heapBlocks);
  mapPage.fill(0, byte + 1);
  mapPage[byte] &= (1 << shift) - 1;
}
