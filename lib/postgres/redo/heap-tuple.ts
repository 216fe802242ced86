/**
 * Heap tuple headers as redo changes them. Every function takes the page and the offset of a tuple in it.
 *
 * Source: access/htup_details.h; the infobits are those of access/heapam_xlog.h.
 */
import {
  itemLength,
  itemOffset,
  normalItem,
  PageError,
  pagePruneXid,
  setPagePruneXid,
  type Page,
} from '../page/page.ts';

/** SizeofHeapTupleHeader. */
export const HEAP_TUPLE_HEADER_BYTES = 23;
/** MaxHeapTupleSize. */
export const HEAP_TUPLE_BYTES_MAX = 8160;

export const HEAP_COMBOCID = 0x0020;
export const HEAP_XMAX_KEYSHR_LOCK = 0x0010;
export const HEAP_XMAX_EXCL_LOCK = 0x0040;
export const HEAP_XMAX_LOCK_ONLY = 0x0080;
export const HEAP_XMIN_FROZEN = 0x0300;
export const HEAP_XMAX_COMMITTED = 0x0400;
export const HEAP_XMAX_INVALID = 0x0800;
export const HEAP_XMAX_IS_MULTI = 0x1000;
export const HEAP_MOVED = 0xc000;
const HEAP_LOCK_MASK = HEAP_XMAX_EXCL_LOCK | HEAP_XMAX_KEYSHR_LOCK;
const HEAP_XMAX_BITS =
  HEAP_XMAX_COMMITTED | HEAP_XMAX_INVALID | HEAP_XMAX_IS_MULTI | HEAP_LOCK_MASK | HEAP_XMAX_LOCK_ONLY;

/** t_infomask2. */
const HEAP_KEYS_UPDATED = 0x2000;
const HEAP_HOT_UPDATED = 0x4000;

/** t_ctid's offset number of a speculative tuple, and of one that moved to another partition. */
export const SPEC_TOKEN_OFFSET_NUMBER = 0xfffe;
const MOVED_PARTITIONS_OFFSET_NUMBER = 0xfffd;
const INVALID_BLOCK_NUMBER = 0xffff_ffff;

/** Offset of a normal item's tuple whose header lies in the page. Throws PageError. */
export function tupleAt(page: Page, offsetNumber: number): number {
  const item = normalItem(page, offsetNumber);
  if (itemLength(item) < HEAP_TUPLE_HEADER_BYTES) {
    throw new PageError(`item ${offsetNumber} of ${itemLength(item)} bytes is no heap tuple`);
  }
  return itemOffset(item);
}

export const setXmin = ({ data }: Page, tuple: number, xid: number): void => data.setUint32(tuple, xid, true);
export const setXmax = ({ data }: Page, tuple: number, xid: number): void =>
  data.setUint32(tuple + 4, xid, true);
/** t_xvac, in the place of t_cid. */
export const setXvac = ({ data }: Page, tuple: number, xid: number): void =>
  data.setUint32(tuple + 8, xid, true);
export const infomask2 = ({ data }: Page, tuple: number): number => data.getUint16(tuple + 18, true);
export const setInfomask2 = ({ data }: Page, tuple: number, mask: number): void =>
  data.setUint16(tuple + 18, mask, true);
export const infomask = ({ data }: Page, tuple: number): number => data.getUint16(tuple + 20, true);
export const setInfomask = ({ data }: Page, tuple: number, mask: number): void =>
  data.setUint16(tuple + 20, mask, true);
export const headerLength = ({ data }: Page, tuple: number): number => data.getUint8(tuple + 22);
export const ctidOffsetNumber = ({ data }: Page, tuple: number): number => data.getUint16(tuple + 16, true);

/** ItemPointerSet on t_ctid: the block number in two halves, the high one first. */
export function setCtid({ data }: Page, tuple: number, block: number, offsetNumber: number): void {
  data.setUint16(tuple + 12, block >>> 16, true);
  data.setUint16(tuple + 14, block & 0xffff, true);
  data.setUint16(tuple + 16, offsetNumber, true);
}
export const setMovedPartitions = (page: Page, tuple: number): void =>
  setCtid(page, tuple, INVALID_BLOCK_NUMBER, MOVED_PARTITIONS_OFFSET_NUMBER);

/** HeapTupleHeaderSetCmin/SetCmax with FirstCommandId, which is all that redo ever knows. */
export function clearCommandId(page: Page, tuple: number): void {
  page.data.setUint32(tuple + 8, 0, true);
  setInfomask(page, tuple, infomask(page, tuple) & ~HEAP_COMBOCID);
}

export const setHotUpdated = (page: Page, tuple: number, hot: boolean): void => {
  const mask = infomask2(page, tuple);
  setInfomask2(page, tuple, hot ? mask | HEAP_HOT_UPDATED : mask & ~HEAP_HOT_UPDATED);
};

/** Clears everything known about xmax, then sets what `infobits` (XLHL_…) say. (fix_infomask_from_infobits) */
export function setInfobits(page: Page, tuple: number, infobits: number): void {
  let mask = infomask(page, tuple) & ~(HEAP_XMAX_BITS | HEAP_MOVED);
  if (infobits & 0x01) mask |= HEAP_XMAX_IS_MULTI;
  if (infobits & 0x02) mask |= HEAP_XMAX_LOCK_ONLY;
  if (infobits & 0x04) mask |= HEAP_XMAX_EXCL_LOCK;
  if (infobits & 0x08) mask |= HEAP_XMAX_KEYSHR_LOCK;
  setInfomask(page, tuple, mask);
  const mask2 = infomask2(page, tuple) & ~HEAP_KEYS_UPDATED;
  setInfomask2(page, tuple, infobits & 0x10 ? mask2 | HEAP_KEYS_UPDATED : mask2);
}

/** HEAP_XMAX_IS_LOCKED_ONLY. */
export const isLockedOnly = (mask: number): boolean =>
  (mask & HEAP_XMAX_LOCK_ONLY) !== 0 ||
  (mask & (HEAP_XMAX_IS_MULTI | HEAP_LOCK_MASK)) === HEAP_XMAX_EXCL_LOCK;

/** PageSetPrunable: the oldest transaction id that may have left something to prune. */
export function setPrunable(page: Page, xid: number): void {
  const prune = pagePruneXid(page);
  if (prune === 0 || precedes(xid, prune)) setPagePruneXid(page, xid);
}

/** TransactionIdPrecedes: modulo 2^32 between normal ids, plainly where one is special. */
function precedes(a: number, b: number): boolean {
  if (a < 3 || b < 3) return a < b;
  return ((a - b) | 0) < 0;
}

/**
 * Writes the header of a tuple that `xid` just put on the page: the masks and t_hoff stand at `headerAt` of the
 * record, two of 16 bits and one of 8 (xl_heap_header). `xmax` is 0 unless an update's new version has one.
 */
export function writeTupleHeader(
  page: Page,
  tuple: number,
  record: DataView,
  headerAt: number,
  xid: number,
  xmax: number,
): void {
  const { data } = page;
  data.setUint32(tuple, xid, true);
  data.setUint32(tuple + 4, xmax, true);
  data.setUint32(tuple + 8, 0, true);
  data.setUint16(tuple + 18, record.getUint16(headerAt, true), true);
  data.setUint16(tuple + 20, record.getUint16(headerAt + 2, true) & ~HEAP_COMBOCID, true);
  data.setUint8(tuple + 22, record.getUint8(headerAt + 4));
}
