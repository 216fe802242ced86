/**
 * Gist: page updates, splits into several pages, deletion of tuples and pages.
 *
 * Source: gist_redo in access/gist/gistxlog.c, layouts in access/gistxlog.h, page layout in access/gist.h.
 */
import { addItem } from '../page/add-item.ts';
import { deleteIndexTuple, deleteIndexTuples, resizeIndexTuple } from '../page/compact.ts';
import { LSN_AND_CHECKSUM, maskLinePointerFlags, UNUSED_SPACE } from '../page/mask.ts';
import {
  copyBytes,
  initPage,
  itemCount,
  PAGE_BYTES,
  PAGE_HEADER_BYTES,
  PageError,
  pageSpecial,
  setPageLower,
  type Page,
} from '../page/page.ts';
import type { BlockReference, WalRecord } from '../wal/record.ts';
import { MalformedRecord, UnsupportedRecord } from './errors.ts';
import { INDEX_TUPLE_HEADER_BYTES, tupleSize } from './index-tuple.ts';
import { needData, needMain, requiredBlock, typeOf, type ResourceManager } from './resource-manager.ts';

export const XLOG_GIST_PAGE_UPDATE = 0x00;
export const XLOG_GIST_DELETE = 0x10;
export const XLOG_GIST_PAGE_REUSE = 0x20;
export const XLOG_GIST_PAGE_SPLIT = 0x30;
export const XLOG_GIST_PAGE_DELETE = 0x60;
export const XLOG_GIST_ASSIGN_LSN = 0x70;

/** Flags of the special space. */
const F_LEAF = 0x01;
const F_DELETED = 0x02;
const F_TUPLES_DELETED = 0x04;
const F_FOLLOW_RIGHT = 0x08;
const F_HAS_GARBAGE = 0x10;

const GIST_ROOT_BLOCK = 0;
const GIST_PAGE_ID = 0xff81;
const NO_BLOCK = 0xffff_ffff;
/** GISTPageOpaqueData: u32 NSN high, u32 NSN low, u32 rightlink, u16 flags, u16 gist_page_id. */
const OPAQUE_BYTES = 16;
const OPAQUE = PAGE_BYTES - OPAQUE_BYTES;

const gistFlags = ({ data }: Page): number => data.getUint16(OPAQUE + 12, true);
const setGistFlags = ({ data }: Page, flags: number): void => data.setUint16(OPAQUE + 12, flags, true);
const setRightLink = ({ data }: Page, block: number): void => data.setUint32(OPAQUE + 8, block, true);
function setNsn({ data }: Page, high: number, low: number): void {
  data.setUint32(OPAQUE, high, true);
  data.setUint32(OPAQUE + 4, low, true);
}

function checkGistPage(page: Page): void {
  if (pageSpecial(page) !== OPAQUE) throw new PageError(`pd_special ${pageSpecial(page)}: no GiST page`);
}

export const gist: ResourceManager = {
  redo(record: WalRecord, block: BlockReference, page: Page): boolean {
    if (!block.willInit) checkGistPage(page);
    apply(record, block, page);
    return true;
  },
  afterImage(record: WalRecord, block: BlockReference, page: Page): void {
    if (isLeftChild(record, block)) clearFollowRight(record, page);
  },
  masks: [
    LSN_AND_CHECKSUM,
    UNUSED_SPACE,
    {
      what: 'the node sequence number',
      apply: (page) => {
        checkGistPage(page);
        setNsn(page, 0, 0);
      },
    },
    {
      what: 'F_FOLLOW_RIGHT',
      apply: (page) => setGistFlags(page, gistFlags(page) | F_FOLLOW_RIGHT),
    },
    {
      what: 'line pointer flags of leaves',
      apply: (page) => {
        if (gistFlags(page) & F_LEAF) maskLinePointerFlags(page);
      },
    },
    {
      what: 'F_HAS_GARBAGE',
      apply: (page) => setGistFlags(page, gistFlags(page) & ~F_HAS_GARBAGE),
    },
  ],
};

function apply(record: WalRecord, block: BlockReference, page: Page): void {
  if (isLeftChild(record, block)) return clearFollowRight(record, page);
  switch (typeOf(record)) {
    case XLOG_GIST_PAGE_UPDATE:
      updatePage(record, block, page);
      return;
    case XLOG_GIST_DELETE:
      deleteTuples(record, page);
      return;
    case XLOG_GIST_PAGE_SPLIT:
      splitPage(record, block, page);
      return;
    case XLOG_GIST_PAGE_DELETE:
      deletePage(record, block, page);
      return;
    default:
      throw new UnsupportedRecord('this type has no block references');
  }
}

/** The left half of a split below, whose downlink this record inserts. */
function isLeftChild(record: WalRecord, block: BlockReference): boolean {
  const type = typeOf(record);
  return (
    (type === XLOG_GIST_PAGE_UPDATE && block.id === 1) || (type === XLOG_GIST_PAGE_SPLIT && block.id === 0)
  );
}
function clearFollowRight(record: WalRecord, page: Page): void {
  const lsn = record.endLsn;
  setNsn(page, Math.floor(lsn / 0x1_0000_0000), lsn % 0x1_0000_0000);
  setGistFlags(page, gistFlags(page) & ~F_FOLLOW_RIGHT);
}

/** Size of the tuple at `at` of the record, which must end at `end` at most. */
function sizeOfTuple(record: WalRecord, at: number, end: number): number {
  const size = at + INDEX_TUPLE_HEADER_BYTES <= end ? tupleSize(record.data, at) : 0;
  if (size < INDEX_TUPLE_HEADER_BYTES || at + size > end)
    throw new MalformedRecord('a tuple goes past the data');
  return size;
}

/** Appends the tuples in `[at, end)` of the record; how many there were. */
function appendTuples(record: WalRecord, start: number, end: number, page: Page): number {
  let count = 0;
  for (let at = start; at < end; count++) {
    const size = sizeOfTuple(record, at, end);
    addItem(page, record.bytes, at, size, itemCount(page) + 1);
    at += size;
  }
  return count;
}

/** gistxlogPageUpdate: u16 ntodelete, u16 ntoinsert. Data: offset numbers to be deleted, tuples to be added. */
function updatePage(record: WalRecord, block: BlockReference, page: Page): void {
  needMain(record, 4);
  const deleted = record.data.getUint16(record.mainStart, true);
  const inserted = record.data.getUint16(record.mainStart + 2, true);
  needData(block, 2 * deleted);
  const end = block.dataStart + block.dataLength;
  const tuples = block.dataStart + 2 * deleted;
  if (deleted === 1 && inserted === 1) {
    const size = sizeOfTuple(record, tuples, end);
    const at = resizeIndexTuple(page, record.data.getUint16(block.dataStart, true), size);
    copyBytes(record.bytes, tuples, page.bytes, at, size);
    return;
  }
  if (deleted > 0) {
    deleteIndexTuples(page, record.data, block.dataStart, deleted);
    if (gistFlags(page) & F_LEAF) setGistFlags(page, gistFlags(page) | F_TUPLES_DELETED);
  }
  const count = appendTuples(record, tuples, end, page);
  if (count !== inserted) throw new MalformedRecord(`${count} tuples where ${inserted} are announced`);
}

/**
 * gistxlogDelete: u32 snapshotConflictHorizon, u16 ntodelete, bool isCatalogRel, padding, offset numbers.
 *
 * Postgres's own redo sets F_TUPLES_DELETED here, which the server that wrote the record did not (gistprunepage): with it a
 * page differs from the original, and Postgres's consistency check fails. Nothing reads the flag; we keep to the original.
 */
function deleteTuples(record: WalRecord, page: Page): void {
  needMain(record, 8);
  const count = record.data.getUint16(record.mainStart + 4, true);
  needMain(record, 8 + 2 * count);
  deleteIndexTuples(page, record.data, record.mainStart + 8, count);
  setGistFlags(page, gistFlags(page) & ~F_HAS_GARBAGE);
}

/**
 * gistxlogPageSplit: u32 origrlink, padding, u64 orignsn, bool origleaf, padding, u16 npage, bool markfollowright.
 * Blocks 1 to npage: the pages, the original one first, each with i32 count and so many tuples.
 */
function splitPage(record: WalRecord, block: BlockReference, page: Page): void {
  needMain(record, 21);
  needData(block, 4);
  const { data, mainStart: main } = record;
  const pages = data.getUint16(main + 18, true);
  const isRoot = block.block === GIST_ROOT_BLOCK;
  const isRootSplit = requiredBlock(record, 1).block === GIST_ROOT_BLOCK;
  const isLast = block.id === pages;

  initPage(page, OPAQUE_BYTES);
  page.data.setUint16(OPAQUE + 14, GIST_PAGE_ID, true);
  const end = block.dataStart + block.dataLength;
  const announced = data.getInt32(block.dataStart, true);
  const count = appendTuples(record, block.dataStart + 4, end, page);
  if (count !== announced) throw new MalformedRecord(`${count} tuples where ${announced} are announced`);
  setNsn(page, data.getUint32(main + 12, true), data.getUint32(main + 8, true));
  let flags = data.getUint8(main + 16) !== 0 && !isRoot ? F_LEAF : 0;
  if (isRoot) {
    setRightLink(page, NO_BLOCK);
  } else {
    setRightLink(page, isLast ? data.getUint32(main, true) : requiredBlock(record, block.id + 1).block);
    if (!isLast && !isRootSplit && data.getUint8(main + 20) !== 0) flags |= F_FOLLOW_RIGHT;
  }
  setGistFlags(page, flags);
}

/** gistxlogPageDelete: u64 deleteXid, u16 downlinkOffset. Blocks: page, parent. */
function deletePage(record: WalRecord, block: BlockReference, page: Page): void {
  needMain(record, 10);
  if (block.id === 1) return deleteIndexTuple(page, record.data.getUint16(record.mainStart + 8, true));
  setGistFlags(page, gistFlags(page) | F_DELETED);
  setPageLower(page, PAGE_HEADER_BYTES + 8);
  copyBytes(record.bytes, record.mainStart, page.bytes, PAGE_HEADER_BYTES, 8);
}
