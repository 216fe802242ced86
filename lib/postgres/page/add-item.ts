/**
 * Adding an item: room for it and a line pointer to it.
 *
 * Source: PageAddItemExtended in storage/page/bufpage.c.
 */
import {
  alignTo8,
  checkPagePointers,
  clearPageFlag,
  copyBytes,
  HEAP_TUPLES_MAX,
  itemCount,
  itemFlags,
  itemId,
  itemLength,
  LP_NORMAL,
  LP_UNUSED,
  PAGE_HEADER_BYTES,
  PageError,
  pageFlags,
  pageLower,
  pageUpper,
  PD_HAS_FREE_LINES,
  setItemId,
  setPageLower,
  setPageUpper,
  type Page,
} from './page.ts';

/** Take an unused line pointer at the offset number, instead of moving those from there on. */
export const PAI_OVERWRITE = 1;
/** At most MaxHeapTuplesPerPage line pointers. */
export const PAI_IS_HEAP = 2;

/**
 * Makes room for an item of `length` bytes at `offsetNumber` (0: the first free one) and returns the offset in the
 * page to which its bytes are to be written. Throws PageError when it does not fit or the line pointer is taken.
 */
export function makeItem(page: Page, length: number, offsetNumber: number, flags: number): number {
  checkPagePointers(page);
  const limit = itemCount(page) + 1;
  const overwrite = (flags & PAI_OVERWRITE) !== 0;
  const target = offsetNumber === 0 ? firstFree(page, limit) : offsetNumber;
  if (target > limit) throw new PageError(`item ${target} cannot be added: the page has ${limit - 1}`);
  if ((flags & PAI_IS_HEAP) !== 0 && target > HEAP_TUPLES_MAX) {
    throw new PageError(`item ${target} cannot be added to a heap page: ${HEAP_TUPLES_MAX} at most`);
  }
  let shift = false;
  if (target < limit) {
    if (offsetNumber !== 0 && !overwrite) {
      shift = true;
    } else {
      const item = itemId(page, target);
      if (itemFlags(item) !== LP_UNUSED || itemLength(item) !== 0) {
        throw new PageError(`item ${target} cannot be added: its line pointer is in use`);
      }
    }
  }
  const lower = pageLower(page) + (target === limit || shift ? 4 : 0);
  const upper = pageUpper(page) - alignTo8(length);
  if (lower > upper || length < 0) {
    throw new PageError(
      `an item of ${length} bytes does not fit: lower ${pageLower(page)}, upper ${pageUpper(page)}`,
    );
  }
  if (shift) {
    const at = PAGE_HEADER_BYTES + (target - 1) * 4;
    page.bytes.copyWithin(at + 4, at, pageLower(page));
  }
  setItemId(page, target, upper, LP_NORMAL, length);
  setPageLower(page, lower);
  setPageUpper(page, upper);
  return upper;
}

/** PageAddItem with its bytes: `from[start, start + length)`. */
export function addItem(
  page: Page,
  from: Uint8Array,
  start: number,
  length: number,
  offsetNumber: number,
  flags = 0,
): void {
  copyBytes(from, start, page.bytes, makeItem(page, length, offsetNumber, flags), length);
}

function firstFree(page: Page, limit: number): number {
  if ((pageFlags(page) & PD_HAS_FREE_LINES) === 0) return limit;
  for (let target = 1; target < limit; target++) {
    const item = itemId(page, target);
    if (itemFlags(item) === LP_UNUSED && itemLength(item) === 0) return target;
  }
  clearPageFlag(page, PD_HAS_FREE_LINES); // the hint was wrong
  return limit;
}
