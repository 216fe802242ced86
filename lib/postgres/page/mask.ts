/**
 * The masks that resource managers share: what a page and its redo may differ in. Masked bytes become zero.
 *
 * They are Postgres's own, without those that no workload was found to need: hints in the header of index pages (nothing
 * sets them), unused space of sequences and generic pages (redo zeroes it), content of freed hash pages (redo writes it).
 *
 * Source: access/common/bufmask.c.
 */
import {
  checkPagePointers,
  itemCount,
  itemFlags,
  itemId,
  itemLength,
  itemOffset,
  LP_UNUSED,
  PAGE_HEADER_BYTES,
  pageLower,
  pageUpper,
  PD_ALL_VISIBLE,
  PD_HAS_FREE_LINES,
  PD_PAGE_FULL,
  clearPageFlag,
  setItemId,
  setPageLower,
  setPagePruneXid,
  setPageUpper,
  type Page,
} from './page.ts';

/** One thing that a page and its redo may differ in. The steps of a resource manager are applied in order. */
export interface PageMask {
  readonly what: string;
  /** Throws PageError when the page contradicts itself. */
  apply(page: Page, blockNumber: number): void;
}

export function maskLsnAndChecksum(page: Page): void {
  page.bytes.fill(0, 0, 10);
}

/** pd_prune_xid and every flag of the page header: all are hints, or can lag behind. */
export function maskHintBits(page: Page): void {
  setPagePruneXid(page, 0);
  clearPageFlag(page, PD_PAGE_FULL | PD_HAS_FREE_LINES | PD_ALL_VISIBLE);
}

/** The hole between pd_lower and pd_upper. Throws PageError when they contradict each other. */
export function maskUnusedSpace(page: Page): void {
  checkPagePointers(page);
  page.bytes.fill(0, pageLower(page), pageUpper(page));
}

/** lp_flags of used line pointers: some index access methods change them without a record. */
export function maskLinePointerFlags(page: Page): void {
  const count = itemCount(page);
  for (let i = 1; i <= count; i++) {
    const item = itemId(page, i);
    if (itemFlags(item) !== LP_UNUSED) setItemId(page, i, itemOffset(item), LP_UNUSED, itemLength(item));
  }
}

/** Nearly everything: for deleted pages, of which the content means nothing. */
export function maskPageContent(page: Page): void {
  page.bytes.fill(0, PAGE_HEADER_BYTES);
  setPageLower(page, 0);
  setPageUpper(page, 0);
}

export const LSN_AND_CHECKSUM: PageMask = { what: 'LSN and checksum', apply: maskLsnAndChecksum };
export const HINT_BITS: PageMask = { what: 'hints of the page header', apply: maskHintBits };
export const UNUSED_SPACE: PageMask = { what: 'unused space', apply: maskUnusedSpace };
