/**
 * Index tuples: a TID, then t_info with the tuple's size and flags, then the keys.
 *
 * Source: access/itup.h, storage/itemptr.h.
 */
import { alignTo8, itemLength, itemOffset, PageError, storedItem, type Page } from '../page/page.ts';
import { MalformedRecord } from './errors.ts';

/** sizeof(IndexTupleData). */
export const INDEX_TUPLE_HEADER_BYTES = 8;
/** sizeof(ItemPointerData). */
export const TID_BYTES = 6;
export const INDEX_SIZE_MASK = 0x1fff;
export const INDEX_AM_RESERVED_BIT = 0x2000;

/** t_info of the tuple at `at`. */
export const tupleInfo = (data: DataView, at: number): number => data.getUint16(at + 6, true);
export const setTupleInfo = (data: DataView, at: number, info: number): void =>
  data.setUint16(at + 6, info, true);
/** IndexTupleSize. */
export const tupleSize = (data: DataView, at: number): number =>
  data.getUint16(at + 6, true) & INDEX_SIZE_MASK;

/** Block number of the TID at `at`: two halves, the high one first. */
export const tidBlock = (data: DataView, at: number): number =>
  data.getUint16(at, true) * 0x10000 + data.getUint16(at + 2, true);
export const tidOffset = (data: DataView, at: number): number => data.getUint16(at + 4, true);
export function setTidBlock(data: DataView, at: number, block: number): void {
  data.setUint16(at, block >>> 16, true);
  data.setUint16(at + 2, block & 0xffff, true);
}
export const setTidOffset = (data: DataView, at: number, offset: number): void =>
  data.setUint16(at + 4, offset, true);

/** Offset in the page of the index tuple at `offsetNumber`, which must lie within its item. Throws PageError. */
export function indexTupleAt(page: Page, offsetNumber: number): number {
  const item = storedItem(page, offsetNumber);
  const at = itemOffset(item);
  if (itemLength(item) < INDEX_TUPLE_HEADER_BYTES || tupleSize(page.data, at) > itemLength(item)) {
    throw new PageError(`item ${offsetNumber} of ${itemLength(item)} bytes is no index tuple`);
  }
  return at;
}

/** Aligned size of the index tuple at `at` of a record, which must end at `end` at most. Throws MalformedRecord. */
export function loggedTupleSize(data: DataView, at: number, end: number): number {
  const size = at + INDEX_TUPLE_HEADER_BYTES <= end ? alignTo8(tupleSize(data, at)) : 0;
  if (size < INDEX_TUPLE_HEADER_BYTES || at + size > end) {
    throw new MalformedRecord(`an index tuple of ${size} bytes where ${end - at} are left`);
  }
  return size;
}
