/**
 * Heap: insert, delete, update, lock, speculative confirmation and in-place update of single tuples.
 *
 * Source: heap_redo in access/heap/heapam_xlog.c, layouts in access/heapam_xlog.h.
 */
import { makeItem, PAI_IS_HEAP, PAI_OVERWRITE } from '../page/add-item.ts';
import {
  clearPageFlag,
  initPage,
  itemCount,
  itemId,
  itemLength,
  PageError,
  PD_ALL_VISIBLE,
  type Page,
} from '../page/page.ts';
import {
  clearVisibility,
  mapBlockOf,
  VISIBILITYMAP_ALL_FROZEN,
  VISIBILITYMAP_VALID_BITS,
} from '../page/visibility-map.ts';
import type { BlockReference, WalRecord } from '../wal/record.ts';
import { MalformedRecord, UnsupportedRecord } from './errors.ts';
import { heapMasks } from './heap-mask.ts';
import {
  clearCommandId,
  headerLength,
  HEAP_TUPLE_BYTES_MAX,
  HEAP_TUPLE_HEADER_BYTES,
  infomask,
  isLockedOnly,
  setCtid,
  setHotUpdated,
  setInfobits,
  setMovedPartitions,
  setPrunable,
  setXmax,
  setXmin,
  tupleAt,
  writeTupleHeader,
} from './heap-tuple.ts';
import {
  blockOfId,
  copyFromRecord,
  needData,
  needMain,
  requiredBlock,
  type ResourceManager,
} from './resource-manager.ts';

export const XLOG_HEAP_INSERT = 0x00;
export const XLOG_HEAP_DELETE = 0x10;
export const XLOG_HEAP_UPDATE = 0x20;
export const XLOG_HEAP_TRUNCATE = 0x30;
export const XLOG_HEAP_HOT_UPDATE = 0x40;
export const XLOG_HEAP_CONFIRM = 0x50;
export const XLOG_HEAP_LOCK = 0x60;
export const XLOG_HEAP_INPLACE = 0x70;
export const XLOG_HEAP_INIT_PAGE = 0x80;
export const XLOG_HEAP_OPMASK = 0x70;

/** Flags of the records' main data that say that visibility bits were cleared. */
export const XLH_INSERT_ALL_VISIBLE_CLEARED = 0x01;
export const XLH_DELETE_ALL_VISIBLE_CLEARED = 0x01;
export const XLH_UPDATE_OLD_ALL_VISIBLE_CLEARED = 0x01;
export const XLH_UPDATE_NEW_ALL_VISIBLE_CLEARED = 0x02;
export const XLH_LOCK_ALL_FROZEN_CLEARED = 0x01;
const XLH_DELETE_IS_SUPER = 0x08;
const XLH_DELETE_IS_PARTITION_MOVE = 0x10;
const XLH_UPDATE_PREFIX_FROM_OLD = 0x20;
const XLH_UPDATE_SUFFIX_FROM_OLD = 0x40;

/** xl_heap_header. */
const HEAP_HEADER_BYTES = 5;

/** Block ids: the heap block is 0; a page of the visibility map, where the record names it, 1 (update: 2 new, 3 old). */
const HEAP_BLOCK = 0;
const UPDATE_OLD_BLOCK = 1;
const UPDATE_NEW_MAP = 2;
const UPDATE_OLD_MAP = 3;

export const heap: ResourceManager = {
  redo(record: WalRecord, block: BlockReference, page: Page): boolean {
    const type = record.info & XLOG_HEAP_OPMASK;
    switch (type) {
      case XLOG_HEAP_INSERT:
        if (block.id !== HEAP_BLOCK) return clearMap(record, page, VISIBILITYMAP_VALID_BITS);
        return insert(record, block, page);
      case XLOG_HEAP_DELETE:
        if (block.id !== HEAP_BLOCK) return clearMap(record, page, VISIBILITYMAP_VALID_BITS);
        return remove(record, block, page);
      case XLOG_HEAP_UPDATE:
      case XLOG_HEAP_HOT_UPDATE:
        return update(record, block, page, type === XLOG_HEAP_HOT_UPDATE);
      case XLOG_HEAP_CONFIRM:
        return confirm(record, block, page);
      case XLOG_HEAP_LOCK:
        if (block.id !== HEAP_BLOCK) return clearMap(record, page, VISIBILITYMAP_ALL_FROZEN);
        return lock(record, block, page);
      case XLOG_HEAP_INPLACE:
        return inplace(record, block, page);
      default:
        throw new UnsupportedRecord('this type has no block references');
    }
  },
  masks: heapMasks,
};

/** Clears visibility bits of the record's heap block in the page of the map that it names. (heap_xlog_vm_clear) */
export function clearMap(record: WalRecord, page: Page, bits: number): boolean {
  return clearVisibility(page.bytes, requiredBlock(record, HEAP_BLOCK).block, bits);
}

/** Puts a tuple on the page whose header stands at `headerAt` and whose rest, `length` bytes, follows `bodyAt`. */
export function putTuple(
  record: WalRecord,
  block: BlockReference,
  page: Page,
  offsetNumber: number,
  headerAt: number,
  bodyAt: number,
  length: number,
): void {
  checkOffsetNumber(page, offsetNumber);
  const size = length + HEAP_TUPLE_HEADER_BYTES;
  if (length < 0 || size > HEAP_TUPLE_BYTES_MAX) throw new MalformedRecord(`heap tuple of ${size} bytes`);
  const tuple = makeItem(page, size, offsetNumber, PAI_OVERWRITE | PAI_IS_HEAP);
  writeTupleHeader(page, tuple, record.data, headerAt, record.xid, 0);
  setCtid(page, tuple, block.block, offsetNumber);
  const end = block.dataStart + block.dataLength;
  copyFromRecord(record, bodyAt, length, end, page, tuple + HEAP_TUPLE_HEADER_BYTES);
}

export function checkOffsetNumber(page: Page, offsetNumber: number): void {
  if (offsetNumber < 1) throw new MalformedRecord(`offset number ${offsetNumber}`);
  if (itemCount(page) + 1 < offsetNumber) {
    throw new PageError(`item ${offsetNumber} cannot be next: the page has ${itemCount(page)}`);
  }
}

function insert(record: WalRecord, block: BlockReference, page: Page): boolean {
  needMain(record, 3);
  needData(block, HEAP_HEADER_BYTES);
  const offsetNumber = record.data.getUint16(record.mainStart, true);
  const flags = record.data.getUint8(record.mainStart + 2);
  if (record.info & XLOG_HEAP_INIT_PAGE) initPage(page, 0);
  const at = block.dataStart;
  putTuple(
    record,
    block,
    page,
    offsetNumber,
    at,
    at + HEAP_HEADER_BYTES,
    block.dataLength - HEAP_HEADER_BYTES,
  );
  if (flags & XLH_INSERT_ALL_VISIBLE_CLEARED) clearPageFlag(page, PD_ALL_VISIBLE);
  return true;
}

/** xl_heap_delete: u32 xmax, u16 offnum, u8 infobits_set, u8 flags. */
function remove(record: WalRecord, block: BlockReference, page: Page): boolean {
  needMain(record, 8);
  const { data, mainStart: main } = record;
  const offsetNumber = data.getUint16(main + 4, true);
  const flags = data.getUint8(main + 7);
  const tuple = tupleAt(page, offsetNumber);
  setHotUpdated(page, tuple, false);
  setInfobits(page, tuple, data.getUint8(main + 6));
  if (flags & XLH_DELETE_IS_SUPER) setXmin(page, tuple, 0);
  else setXmax(page, tuple, data.getUint32(main, true));
  clearCommandId(page, tuple);
  setPrunable(page, record.xid);
  if (flags & XLH_DELETE_ALL_VISIBLE_CLEARED) clearPageFlag(page, PD_ALL_VISIBLE);
  if (flags & XLH_DELETE_IS_PARTITION_MOVE) setMovedPartitions(page, tuple);
  else setCtid(page, tuple, block.block, offsetNumber);
  return true;
}

/**
 * xl_heap_update: u32 old_xmax, u16 old_offnum, u8 old_infobits_set, u8 flags, u32 new_xmax, u16 new_offnum.
 * The old version's block is named only where it is another than the new one's.
 */
function update(record: WalRecord, block: BlockReference, page: Page, hot: boolean): boolean {
  needMain(record, 14);
  const newBlock = requiredBlock(record, HEAP_BLOCK);
  const oldBlock = blockOfId(record, UPDATE_OLD_BLOCK);
  switch (block.id) {
    case HEAP_BLOCK: {
      const oldTuple = oldBlock === undefined ? supersede(record, newBlock, page, hot) : undefined;
      if (record.info & XLOG_HEAP_INIT_PAGE && oldBlock !== undefined) initPage(page, 0);
      putNewVersion(record, newBlock, page, oldTuple);
      return true;
    }
    case UPDATE_OLD_BLOCK:
      supersede(record, newBlock, page, hot);
      return true;
    case UPDATE_NEW_MAP:
    case UPDATE_OLD_MAP:
      return clearMapOfUpdate(record, block, page, newBlock.block, (oldBlock ?? newBlock).block);
    default:
      throw new MalformedRecord(`block reference ${block.id}`);
  }
}

/** The old version: its xmax, and where the new one is. Its offset in the page and its length. */
function supersede(record: WalRecord, newBlock: BlockReference, page: Page, hot: boolean): number {
  const { data, mainStart: main } = record;
  const flags = data.getUint8(main + 7);
  const tuple = tupleAt(page, data.getUint16(main + 4, true));
  setHotUpdated(page, tuple, hot);
  setInfobits(page, tuple, data.getUint8(main + 6));
  setXmax(page, tuple, data.getUint32(main, true));
  clearCommandId(page, tuple);
  setCtid(page, tuple, newBlock.block, data.getUint16(main + 12, true));
  setPrunable(page, record.xid);
  if (flags & XLH_UPDATE_OLD_ALL_VISIBLE_CLEARED) clearPageFlag(page, PD_ALL_VISIBLE);
  return tuple;
}

/** The new version, of which a prefix and a suffix may have to be taken from the old one on the same page. */
function putNewVersion(
  record: WalRecord,
  block: BlockReference,
  page: Page,
  oldTuple: number | undefined,
): void {
  const { data, mainStart: main } = record;
  const flags = data.getUint8(main + 7);
  const offsetNumber = data.getUint16(main + 12, true);
  const end = block.dataStart + block.dataLength;
  let at = block.dataStart;
  let prefix = 0;
  let suffix = 0;
  needData(
    block,
    HEAP_HEADER_BYTES +
      (flags & XLH_UPDATE_PREFIX_FROM_OLD ? 2 : 0) +
      (flags & XLH_UPDATE_SUFFIX_FROM_OLD ? 2 : 0),
  );
  if (flags & XLH_UPDATE_PREFIX_FROM_OLD) {
    prefix = data.getUint16(at, true);
    at += 2;
  }
  if (flags & XLH_UPDATE_SUFFIX_FROM_OLD) {
    suffix = data.getUint16(at, true);
    at += 2;
  }
  if (prefix + suffix > 0 && oldTuple === undefined) {
    throw new MalformedRecord('the new version has parts of the old one, which is on another page');
  }
  const headerAt = at;
  at += HEAP_HEADER_BYTES;
  const logged = end - at;
  const size = HEAP_TUPLE_HEADER_BYTES + logged + prefix + suffix;
  const bitmap = data.getUint8(headerAt + 4) - HEAP_TUPLE_HEADER_BYTES;
  if (size > HEAP_TUPLE_BYTES_MAX || bitmap < 0 || (prefix > 0 && bitmap > logged)) {
    throw new MalformedRecord(`new version of ${size} bytes, t_hoff ${bitmap + HEAP_TUPLE_HEADER_BYTES}`);
  }
  checkOffsetNumber(page, offsetNumber);
  const oldLength = itemLength(itemId(page, data.getUint16(main + 4, true)));
  const tuple = makeItem(page, size, offsetNumber, PAI_OVERWRITE | PAI_IS_HEAP);
  writeTupleHeader(page, tuple, data, headerAt, record.xid, data.getUint32(main + 8, true));
  setCtid(page, tuple, block.block, offsetNumber);

  let to = tuple + HEAP_TUPLE_HEADER_BYTES;
  let fromRecord = logged;
  if (prefix > 0 && oldTuple !== undefined) {
    copyFromRecord(record, at, bitmap, end, page, to);
    at += bitmap;
    to += bitmap;
    fromRecord -= bitmap;
    const oldStart = headerLength(page, oldTuple);
    if (oldStart + prefix > oldLength) throw prefixError(prefix, oldLength);
    page.bytes.copyWithin(to, oldTuple + oldStart, oldTuple + oldStart + prefix);
    to += prefix;
  }
  copyFromRecord(record, at, fromRecord, end, page, to);
  if (suffix > 0 && oldTuple !== undefined) {
    if (suffix > oldLength) throw prefixError(suffix, oldLength);
    page.bytes.copyWithin(to + fromRecord, oldTuple + oldLength - suffix, oldTuple + oldLength);
  }
  if (flags & XLH_UPDATE_NEW_ALL_VISIBLE_CLEARED) clearPageFlag(page, PD_ALL_VISIBLE);
}

const prefixError = (part: number, oldLength: number): PageError =>
  new PageError(`the new version takes ${part} bytes of the old one, which has ${oldLength}`);

function clearMapOfUpdate(
  record: WalRecord,
  block: BlockReference,
  page: Page,
  newHeapBlock: number,
  oldHeapBlock: number,
): boolean {
  const flags = record.data.getUint8(record.mainStart + 7);
  if (block.id === UPDATE_OLD_MAP) return clearVisibility(page.bytes, oldHeapBlock, VISIBILITYMAP_VALID_BITS);
  const both = (flags & XLH_UPDATE_OLD_ALL_VISIBLE_CLEARED) !== 0 && mapBlockOf(oldHeapBlock) === block.block;
  const old = both && clearVisibility(page.bytes, oldHeapBlock, VISIBILITYMAP_VALID_BITS);
  return clearVisibility(page.bytes, newHeapBlock, VISIBILITYMAP_VALID_BITS) || old;
}

/** xl_heap_confirm: u16 offnum. */
function confirm(record: WalRecord, block: BlockReference, page: Page): boolean {
  needMain(record, 2);
  const offsetNumber = record.data.getUint16(record.mainStart, true);
  setCtid(page, tupleAt(page, offsetNumber), block.block, offsetNumber);
  return true;
}

/** xl_heap_lock: u32 xmax, u16 offnum, u8 infobits_set, u8 flags. */
function lock(record: WalRecord, block: BlockReference, page: Page): boolean {
  needMain(record, 8);
  const { data, mainStart: main } = record;
  const offsetNumber = data.getUint16(main + 4, true);
  const tuple = tupleAt(page, offsetNumber);
  setInfobits(page, tuple, data.getUint8(main + 6));
  if (isLockedOnly(infomask(page, tuple))) {
    setHotUpdated(page, tuple, false);
    setCtid(page, tuple, block.block, offsetNumber);
  }
  setXmax(page, tuple, data.getUint32(main, true));
  clearCommandId(page, tuple);
  return true;
}

/** xl_heap_inplace: u16 offnum, then what only caches care for. */
function inplace(record: WalRecord, block: BlockReference, page: Page): boolean {
  needMain(record, 2);
  const offsetNumber = record.data.getUint16(record.mainStart, true);
  const tuple = tupleAt(page, offsetNumber);
  const start = headerLength(page, tuple);
  const length = itemLength(itemId(page, offsetNumber)) - start;
  if (length !== block.dataLength) {
    throw new PageError(
      `item ${offsetNumber} has ${length} bytes of data: the record has ${block.dataLength}`,
    );
  }
  copyFromRecord(record, block.dataStart, length, block.dataStart + block.dataLength, page, tuple + start);
  return true;
}
