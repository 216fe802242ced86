/**
 * Gin: entry trees, posting trees, the list of pending entries.
 *
 * Source: gin_redo in access/gin/ginxlog.c, layouts in access/ginxlog.h.
 */
import { addItem } from '../page/add-item.ts';
import { deleteIndexTuple } from '../page/compact.ts';
import { LSN_AND_CHECKSUM, maskPageContent, maskUnusedSpace } from '../page/mask.ts';
import {
  copyBytes,
  itemCount,
  PAGE_HEADER_BYTES,
  pageLower,
  setPagePruneXid,
  type Page,
} from '../page/page.ts';
import type { BlockReference, WalRecord } from '../wal/record.ts';
import { MalformedRecord, UnsupportedRecord } from './errors.ts';
import {
  checkGinPage,
  deletePostingItem,
  GIN_COMPRESSED,
  GIN_DATA,
  GIN_DATA_START,
  GIN_DELETED,
  GIN_INCOMPLETE_SPLIT,
  GIN_LEAF,
  GIN_LIST,
  GIN_LIST_FULLROW,
  GIN_META_BYTES,
  ginCount,
  ginFlags,
  initGinMeta,
  initGinPage,
  insertPostingItem,
  NO_BLOCK,
  setDataSize,
  setGinCount,
  setGinFlags,
  setRightLink,
} from './gin-page.ts';
import { recompressLeaf } from './gin-posting-list.ts';
import {
  INDEX_TUPLE_HEADER_BYTES,
  indexTupleAt,
  setTidBlock,
  setTidOffset,
  tidBlock,
  tupleSize,
} from './index-tuple.ts';
import { needData, needMain, typeOf, type ResourceManager } from './resource-manager.ts';

export const XLOG_GIN_CREATE_PTREE = 0x10;
export const XLOG_GIN_INSERT = 0x20;
export const XLOG_GIN_SPLIT = 0x30;
export const XLOG_GIN_VACUUM_PAGE = 0x40;
export const XLOG_GIN_DELETE_PAGE = 0x50;
export const XLOG_GIN_UPDATE_META_PAGE = 0x60;
export const XLOG_GIN_INSERT_LISTPAGE = 0x70;
export const XLOG_GIN_DELETE_LISTPAGE = 0x80;
export const XLOG_GIN_VACUUM_DATA_LEAF_PAGE = 0x90;

const GIN_INSERT_ISDATA = 0x01;
const GIN_INSERT_ISLEAF = 0x02;
/** The child whose split a GIN_SPLIT completes; its other blocks are always images. */
const SPLIT_CHILD = 3;

export const gin: ResourceManager = {
  redo(record: WalRecord, block: BlockReference, page: Page): boolean {
    if (!block.willInit) checkGinPage(page);
    apply(record, block, page);
    return true;
  },
  masks: [
    LSN_AND_CHECKSUM,
    {
      what: 'content of deleted pages',
      apply: (page) => {
        checkGinPage(page);
        if (ginFlags(page) & GIN_DELETED) maskPageContent(page);
      },
    },
    {
      what: 'unused space',
      apply: (page) => {
        if (pageLower(page) > PAGE_HEADER_BYTES) maskUnusedSpace(page);
      },
    },
  ],
};

function apply(record: WalRecord, block: BlockReference, page: Page): void {
  switch (typeOf(record)) {
    case XLOG_GIN_CREATE_PTREE:
      createPostingTree(record, page);
      return;
    case XLOG_GIN_INSERT:
      insert(record, block, page);
      return;
    case XLOG_GIN_SPLIT:
      if (block.id !== SPLIT_CHILD) throw new MalformedRecord(`block ${block.id} has no full-page image`);
      clearIncompleteSplit(page);
      return;
    case XLOG_GIN_VACUUM_PAGE:
      throw new MalformedRecord(`block ${block.id} has no full-page image`);
    case XLOG_GIN_DELETE_PAGE:
      deletePage(record, block, page);
      return;
    case XLOG_GIN_UPDATE_META_PAGE:
      updateMeta(record, block, page);
      return;
    case XLOG_GIN_INSERT_LISTPAGE:
      insertListPage(record, block, page);
      return;
    case XLOG_GIN_DELETE_LISTPAGE:
      needMain(record, GIN_META_BYTES + 4);
      if (block.id === 0) initGinMeta(page, record.bytes, record.mainStart);
      else initGinPage(page, GIN_DELETED);
      return;
    case XLOG_GIN_VACUUM_DATA_LEAF_PAGE:
      recompressLeaf(record, block.dataStart, block.dataStart + block.dataLength, page);
      return;
    default:
      throw new UnsupportedRecord('no such type');
  }
}

const clearIncompleteSplit = (page: Page): void => setGinFlags(page, ginFlags(page) & ~GIN_INCOMPLETE_SPLIT);

/** ginxlogCreatePostingTree: u32 size, then the posting lists. */
function createPostingTree(record: WalRecord, page: Page): void {
  needMain(record, 4);
  const size = record.data.getUint32(record.mainStart, true);
  needMain(record, 4 + size);
  initGinPage(page, GIN_DATA | GIN_LEAF | GIN_COMPRESSED);
  setDataSize(page, size);
  copyBytes(record.bytes, record.mainStart + 4, page.bytes, GIN_DATA_START, size);
}

/** ginxlogInsert: u16 flags; above the leaves the block numbers of the two children follow. */
function insert(record: WalRecord, block: BlockReference, page: Page): void {
  needMain(record, 2);
  const flags = record.data.getUint16(record.mainStart, true);
  const isLeaf = (flags & GIN_INSERT_ISLEAF) !== 0;
  if (block.id !== 0) return clearIncompleteSplit(page);
  if (!isLeaf) needMain(record, 10);
  const rightChild = isLeaf ? NO_BLOCK : tidBlock(record.data, record.mainStart + 6);
  if ((flags & GIN_INSERT_ISDATA) === 0) return insertEntry(record, block, page, rightChild);
  if (isLeaf) return recompressLeaf(record, block.dataStart, block.dataStart + block.dataLength, page);
  needData(block, 12);
  const offset = record.data.getUint16(block.dataStart, true);
  insertPostingItem(page, offset, rightChild, record.bytes, block.dataStart + 2);
}

/** ginxlogInsertEntry: u16 offset, bool isDelete, padding, the tuple. */
function insertEntry(record: WalRecord, block: BlockReference, page: Page, rightChild: number): void {
  needData(block, 4 + INDEX_TUPLE_HEADER_BYTES);
  const { data } = record;
  const offset = data.getUint16(block.dataStart, true);
  const tuple = block.dataStart + 4;
  if (rightChild !== NO_BLOCK) {
    const old = indexTupleAt(page, offset);
    setTidBlock(page.data, old, rightChild);
    setTidOffset(page.data, old, 0);
  }
  if (data.getUint8(block.dataStart + 2) !== 0) deleteIndexTuple(page, offset);
  const size = tupleSize(data, tuple);
  needData(block, 4 + size);
  addItem(page, record.bytes, tuple, size, offset);
}

/** ginxlogDeletePage: u16 parentOffset, padding, u32 rightLink, u32 deleteXid. Blocks: page, parent, left sibling. */
function deletePage(record: WalRecord, block: BlockReference, page: Page): void {
  needMain(record, 12);
  const { data, mainStart: main } = record;
  if (block.id === 0) {
    setGinFlags(page, ginFlags(page) | GIN_DELETED);
    setPagePruneXid(page, data.getUint32(main + 8, true));
  } else if (block.id === 1) {
    deletePostingItem(page, data.getUint16(main, true));
  } else {
    setRightLink(page, data.getUint32(main + 4, true));
  }
}

/** Appends `count` tuples that are the block's data to the page. */
function appendTuples(record: WalRecord, block: BlockReference, page: Page, count: number): void {
  const end = block.dataStart + block.dataLength;
  let at = block.dataStart;
  for (let i = 0; i < count; i++) {
    const size = at + INDEX_TUPLE_HEADER_BYTES <= end ? tupleSize(record.data, at) : 0;
    if (size < INDEX_TUPLE_HEADER_BYTES || at + size > end) {
      throw new MalformedRecord(`tuple ${i + 1} of ${count} goes past the data`);
    }
    addItem(page, record.bytes, at, size, itemCount(page) + 1);
    at += size;
  }
  if (at !== end) throw new MalformedRecord(`${end - at} bytes follow ${count} tuples`);
}

/**
 * ginxlogUpdateMeta: RelFileLocator, padding, GinMetaPageData, u32 prevTail, u32 newRightlink, i32 ntuples. Blocks:
 * metapage, tail of the pending list.
 */
function updateMeta(record: WalRecord, block: BlockReference, page: Page): void {
  needMain(record, 84);
  const { data, mainStart: main } = record;
  if (block.id === 0) return initGinMeta(page, record.bytes, main + 16);
  const count = data.getInt32(main + 80, true);
  if (count > 0) {
    appendTuples(record, block, page, count);
    setGinCount(page, ginCount(page) + 1);
  } else {
    setRightLink(page, data.getUint32(main + 76, true));
  }
}

/** ginxlogInsertListPage: u32 rightlink, i32 ntuples. */
function insertListPage(record: WalRecord, block: BlockReference, page: Page): void {
  needMain(record, 8);
  const right = record.data.getUint32(record.mainStart, true);
  const isTail = right === NO_BLOCK;
  initGinPage(page, isTail ? GIN_LIST | GIN_LIST_FULLROW : GIN_LIST);
  setRightLink(page, right);
  setGinCount(page, isTail ? 1 : 0);
  appendTuples(record, block, page, record.data.getInt32(record.mainStart + 4, true));
}
