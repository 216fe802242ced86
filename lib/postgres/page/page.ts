/**
 * A page of a relation: header, line pointers and items, read and changed in place.
 *
 *   0              24           pd_lower        pd_upper          pd_special    8192
 *   ┌ PageHeader ──┬ ItemId … ──┬── free ───────┬ … items ────────┬ special ────┐
 *
 * Everything here works on a `Page`: the 8192 bytes and one DataView over them. Reads and writes outside of
 * the page throw RangeError, a page that contradicts itself throws PageError; redo names the record to both.
 *
 * Source: storage/bufpage.h, storage/itemid.h.
 */
import type { Lsn } from '../lsn.ts';

export const PAGE_BYTES = 8192;
/** SizeOfPageHeaderData. */
export const PAGE_HEADER_BYTES = 24;
const ITEM_ID_BYTES = 4;

/** pd_flags. */
export const PD_HAS_FREE_LINES = 0x0001;
export const PD_PAGE_FULL = 0x0002;
export const PD_ALL_VISIBLE = 0x0004;

/** lp_flags. */
export const LP_UNUSED = 0;
export const LP_NORMAL = 1;
export const LP_REDIRECT = 2;
export const LP_DEAD = 3;

/** MaxHeapTuplesPerPage and MaxIndexTuplesPerPage (access/htup_details.h, access/itup.h). */
export const HEAP_TUPLES_MAX = 291;
export const INDEX_TUPLES_MAX = 408;

/** A page that contradicts itself, or to which a change does not apply. */
export class PageError extends Error {
  override readonly name = 'PageError';
}

export interface Page {
  readonly bytes: Uint8Array;
  readonly data: DataView;
}

/** A `Page` over 8192 bytes. Throws RangeError for any other length. */
export function pageOver(bytes: Uint8Array): Page {
  if (bytes.length !== PAGE_BYTES) {
    throw new RangeError(`a page of ${bytes.length} bytes: ${PAGE_BYTES} expected`);
  }
  return { bytes, data: new DataView(bytes.buffer, bytes.byteOffset, PAGE_BYTES) };
}

export const alignTo8 = (length: number): number => (length + 7) & ~7;

/** pd_lsn; may exceed what an `Lsn` can be when the page is no page. */
export const pageLsn = ({ data }: Page): Lsn =>
  (data.getUint32(0, true) * 0x1_0000_0000 + data.getUint32(4, true)) as Lsn;
export function setPageLsn({ data }: Page, lsn: Lsn): void {
  data.setUint32(0, Math.floor(lsn / 0x1_0000_0000), true);
  data.setUint32(4, lsn % 0x1_0000_0000, true);
}
export const pageFlags = ({ data }: Page): number => data.getUint16(10, true);
export const setPageFlag = ({ data }: Page, flag: number): void =>
  data.setUint16(10, data.getUint16(10, true) | flag, true);
export const clearPageFlag = ({ data }: Page, flag: number): void =>
  data.setUint16(10, data.getUint16(10, true) & ~flag, true);
export const pageLower = ({ data }: Page): number => data.getUint16(12, true);
export const setPageLower = ({ data }: Page, lower: number): void => data.setUint16(12, lower, true);
export const pageUpper = ({ data }: Page): number => data.getUint16(14, true);
export const setPageUpper = ({ data }: Page, upper: number): void => data.setUint16(14, upper, true);
export const pageSpecial = ({ data }: Page): number => data.getUint16(16, true);
export const pagePruneXid = ({ data }: Page): number => data.getUint32(20, true);
export const setPagePruneXid = ({ data }: Page, xid: number): void => data.setUint32(20, xid, true);

/** PageIsNew: never initialised. */
export const isNewPage = (page: Page): boolean => pageUpper(page) === 0;

/** PageGetMaxOffsetNumber: how many line pointers there are. */
export function itemCount(page: Page): number {
  const lower = pageLower(page);
  return lower <= PAGE_HEADER_BYTES ? 0 : (lower - PAGE_HEADER_BYTES) >>> 2;
}

/** PageInit: all zero but for the header; the special space takes the last `specialBytes`, aligned. */
export function initPage(page: Page, specialBytes: number): void {
  page.bytes.fill(0);
  const special = PAGE_BYTES - alignTo8(specialBytes);
  setPageLower(page, PAGE_HEADER_BYTES);
  setPageUpper(page, special);
  page.data.setUint16(16, special, true);
  page.data.setUint16(18, PAGE_BYTES | 4, true); // PG_PAGE_LAYOUT_VERSION
}

/** What every change of items relies on. Throws PageError. */
export function checkPagePointers(page: Page): void {
  const { data } = page;
  const lower = data.getUint16(12, true);
  const upper = data.getUint16(14, true);
  const special = data.getUint16(16, true);
  if (lower >= PAGE_HEADER_BYTES && lower <= upper && upper <= special && special <= PAGE_BYTES) return;
  throw new PageError(`corrupted page pointers: lower ${lower}, upper ${upper}, special ${special}`);
}

/* Line pointers (ItemIdData): lp_off 15 bits, lp_flags 2, lp_len 15. Offset numbers count from 1. */

const itemIdAt = (offsetNumber: number): number =>
  PAGE_HEADER_BYTES - ITEM_ID_BYTES + offsetNumber * ITEM_ID_BYTES;

/** The whole line pointer, to be taken apart by `itemOffset`, `itemFlags` and `itemLength`. */
export const itemId = ({ data }: Page, offsetNumber: number): number =>
  data.getUint32(itemIdAt(offsetNumber), true);
export const itemOffset = (item: number): number => item & 0x7fff;
export const itemFlags = (item: number): number => (item >>> 15) & 3;
export const itemLength = (item: number): number => item >>> 17;

export const setItemId = (
  { data }: Page,
  offsetNumber: number,
  offset: number,
  flags: number,
  length: number,
): void => data.setUint32(itemIdAt(offsetNumber), (offset | (flags << 15) | (length << 17)) >>> 0, true);

/** Changes lp_off alone. */
export const moveItem = ({ data }: Page, offsetNumber: number, offset: number): void => {
  const at = itemIdAt(offsetNumber);
  data.setUint32(at, ((data.getUint32(at, true) & ~0x7fff) | offset) >>> 0, true);
};

/** The line pointer of an item that must be there. Throws PageError. */
export function existingItem(page: Page, offsetNumber: number): number {
  const count = itemCount(page);
  if (offsetNumber < 1 || offsetNumber > count) {
    throw new PageError(`item ${offsetNumber} does not exist: the page has ${count}`);
  }
  return itemId(page, offsetNumber);
}

/** The line pointer of an item that must be there, have storage and lie within the page's items. Throws PageError. */
export function storedItem(page: Page, offsetNumber: number): number {
  const item = existingItem(page, offsetNumber);
  const offset = itemOffset(item);
  const length = itemLength(item);
  if (length === 0 || offset < PAGE_HEADER_BYTES || offset + length > pageSpecial(page)) {
    throw new PageError(
      `item ${offsetNumber}: flags ${itemFlags(item)}, offset ${offset}, length ${length} where stored bytes are expected`,
    );
  }
  return item;
}

/** As `storedItem`, and LP_NORMAL. */
export function normalItem(page: Page, offsetNumber: number): number {
  const item = storedItem(page, offsetNumber);
  if (itemFlags(item) !== LP_NORMAL) {
    throw new PageError(`item ${offsetNumber} has flags ${itemFlags(item)}: a normal one expected`);
  }
  return item;
}

/** Up to here a loop is faster than TypedArray.set with the view that it needs. */
const COPY_LOOP_MAX = 36;

/**
 * Copies bytes from a record to a page. Both ranges must have been checked against what they belong to; what is
 * checked here is only that neither leaves its array.
 */
export function copyBytes(
  from: Uint8Array,
  fromStart: number,
  to: Uint8Array,
  toStart: number,
  length: number,
): void {
  if (length < 0 || fromStart + length > from.length || toStart + length > to.length) {
    throw new PageError(
      `copying ${length} bytes from ${fromStart} of ${from.length} to ${toStart} of ${to.length}`,
    );
  }
  if (length > COPY_LOOP_MAX) {
    to.set(from.subarray(fromStart, fromStart + length), toStart);
    return;
  }
  for (let i = 0; i < length; i++) to[toStart + i] = from[fromStart + i];
}
