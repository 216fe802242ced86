/**
 * Btree: insertion, splits, deduplication, deletion of tuples and of pages.
 *
 * Source: btree_redo in access/nbtree/nbtxlog.c, layouts in access/nbtxlog.h, posting lists in
 * access/nbtree/nbtdedup.c.
 */
import { addItem, makeItem } from '../page/add-item.ts';
import { deleteIndexTuple } from '../page/compact.ts';
import { copyBytes, itemLength, itemOffset, storedItem, type Page } from '../page/page.ts';
import { LSN_AND_CHECKSUM, maskLinePointerFlags, UNUSED_SPACE } from '../page/mask.ts';
import { restartPage } from '../page/restart.ts';
import type { BlockReference, WalRecord } from '../wal/record.ts';
import {
  BTP_HAS_GARBAGE,
  BTP_INCOMPLETE_SPLIT,
  BTP_LEAF,
  BTP_ROOT,
  BTP_SPLIT_END,
  btreeFlags,
  checkBtreePage,
  firstDataKey,
  initBtreePage,
  initHalfDead,
  P_HIKEY,
  postingTupleAt,
  restoreItems,
  restoreMeta,
  setBtreeFlags,
  setBtreeNext,
  setBtreePrevious,
  setCycleId,
  setDeleted,
  swapPosting,
} from './btree-page.ts';
import { deduplicate, removeTuples } from './btree-posting.ts';
import { MalformedRecord, UnsupportedRecord } from './errors.ts';
import { indexTupleAt, loggedTupleSize, setTidBlock, TID_BYTES, tidBlock } from './index-tuple.ts';
import {
  blockOfId,
  needData,
  needMain,
  requiredBlock,
  typeOf,
  type ResourceManager,
} from './resource-manager.ts';

export const XLOG_BTREE_INSERT_LEAF = 0x00;
export const XLOG_BTREE_INSERT_UPPER = 0x10;
export const XLOG_BTREE_INSERT_META = 0x20;
export const XLOG_BTREE_SPLIT_L = 0x30;
export const XLOG_BTREE_SPLIT_R = 0x40;
export const XLOG_BTREE_INSERT_POST = 0x50;
export const XLOG_BTREE_DEDUP = 0x60;
export const XLOG_BTREE_DELETE = 0x70;
export const XLOG_BTREE_UNLINK_PAGE = 0x80;
export const XLOG_BTREE_UNLINK_PAGE_META = 0x90;
export const XLOG_BTREE_NEWROOT = 0xa0;
export const XLOG_BTREE_MARK_PAGE_HALFDEAD = 0xb0;
export const XLOG_BTREE_VACUUM = 0xc0;
export const XLOG_BTREE_REUSE_PAGE = 0xd0;
export const XLOG_BTREE_META_CLEANUP = 0xe0;

export const btree: ResourceManager = {
  redo(record: WalRecord, block: BlockReference, page: Page): boolean {
    if (!block.willInit) checkBtreePage(page);
    apply(record, block, page);
    return true;
  },
  masks: [
    LSN_AND_CHECKSUM,
    UNUSED_SPACE,
    {
      what: 'line pointer flags of leaves',
      apply: (page) => {
        checkBtreePage(page);
        if (btreeFlags(page) & BTP_LEAF) maskLinePointerFlags(page);
      },
    },
    {
      what: 'BTP_HAS_GARBAGE',
      apply: (page) => setBtreeFlags(page, btreeFlags(page) & ~BTP_HAS_GARBAGE),
    },
    {
      what: 'BTP_SPLIT_END and the vacuum cycle',
      apply: (page) => {
        setBtreeFlags(page, btreeFlags(page) & ~BTP_SPLIT_END);
        setCycleId(page, 0);
      },
    },
  ],
};

function apply(record: WalRecord, block: BlockReference, page: Page): void {
  switch (typeOf(record)) {
    case XLOG_BTREE_INSERT_LEAF:
    case XLOG_BTREE_INSERT_UPPER:
    case XLOG_BTREE_INSERT_META:
      if (block.id === 0) insert(record, block, page);
      else if (block.id === 1) clearIncompleteSplit(page);
      else restoreMeta(record, block, page);
      return;
    case XLOG_BTREE_INSERT_POST:
      insertPosting(record, block, page);
      return;
    case XLOG_BTREE_SPLIT_L:
    case XLOG_BTREE_SPLIT_R:
      split(record, block, page);
      return;
    case XLOG_BTREE_DEDUP:
      deduplicate(record, block, page);
      return;
    case XLOG_BTREE_DELETE:
      needMain(record, 8);
      removeTuples(record, block, page, record.mainStart + 4);
      setBtreeFlags(page, btreeFlags(page) & ~BTP_HAS_GARBAGE);
      return;
    case XLOG_BTREE_VACUUM:
      needMain(record, 4);
      removeTuples(record, block, page, record.mainStart);
      setCycleId(page, 0);
      setBtreeFlags(page, btreeFlags(page) & ~BTP_HAS_GARBAGE);
      return;
    case XLOG_BTREE_MARK_PAGE_HALFDEAD:
      markHalfDead(record, block, page);
      return;
    case XLOG_BTREE_UNLINK_PAGE:
    case XLOG_BTREE_UNLINK_PAGE_META:
      unlink(record, block, page);
      return;
    case XLOG_BTREE_NEWROOT:
      newRoot(record, block, page);
      return;
    case XLOG_BTREE_META_CLEANUP:
      restoreMeta(record, block, page);
      return;
    default:
      throw new UnsupportedRecord('this type has no block references');
  }
}

const clearIncompleteSplit = (page: Page): void =>
  setBtreeFlags(page, btreeFlags(page) & ~BTP_INCOMPLETE_SPLIT);

/** xl_btree_insert: u16 offnum. */
function insert(record: WalRecord, block: BlockReference, page: Page): void {
  needMain(record, 2);
  const offsetNumber = record.data.getUint16(record.mainStart, true);
  addItem(page, record.bytes, block.dataStart, block.dataLength, offsetNumber);
}

/** As insert; the data begins with the position in the posting list before it at which the tuple's TID belongs. */
function insertPosting(record: WalRecord, block: BlockReference, page: Page): void {
  needMain(record, 2);
  needData(block, 2 + 8);
  const offsetNumber = record.data.getUint16(record.mainStart, true);
  const at = block.dataStart + 2;
  const posting = postingTupleAt(page, offsetNumber - 1);
  const position = record.data.getUint16(block.dataStart, true);
  const tid = swapPosting(page, posting, position, record.bytes, at);
  const item = makeItem(page, block.dataLength - 2, offsetNumber, 0);
  copyBytes(record.bytes, at, page.bytes, item, block.dataLength - 2);
  copyBytes(tid, 0, page.bytes, item, TID_BYTES);
}

/** xl_btree_split: u32 level, u16 firstrightoff, u16 newitemoff, u16 postingoff. Blocks: left, right, next, child. */
function split(record: WalRecord, block: BlockReference, page: Page): void {
  needMain(record, 10);
  const level = record.data.getUint32(record.mainStart, true);
  switch (block.id) {
    case 0:
      splitLeft(record, block, page, level);
      return;
    case 1:
      initBtreePage(
        page,
        requiredBlock(record, 0).block,
        blockOfId(record, 2)?.block ?? 0,
        level,
        level === 0 ? BTP_LEAF : 0,
      );
      restoreItems(record, block, page);
      return;
    case 2:
      setBtreePrevious(page, requiredBlock(record, 1).block);
      return;
    default:
      clearIncompleteSplit(page);
  }
}

/**
 * The left half: a new high key and the items that stay, with the new one among them where it went left. A posting list
 * that the new item fell into is changed on the way. Data: the new item where it is needed, then the high key.
 */
function splitLeft(record: WalRecord, block: BlockReference, page: Page, level: number): void {
  const { data, mainStart: main } = record;
  const firstRight = data.getUint16(main + 4, true);
  const newItemOffset = data.getUint16(main + 6, true);
  const position = data.getUint16(main + 8, true);
  const onLeft = typeOf(record) === XLOG_BTREE_SPLIT_L;
  const end = block.dataStart + block.dataLength;
  const newItem = block.dataStart;
  let highKey = block.dataStart;
  let newItemSize = 0;
  if (onLeft || position !== 0) {
    newItemSize = loggedTupleSize(data, newItem, end);
    highKey += newItemSize;
  }
  const highKeySize = loggedTupleSize(data, highKey, end);
  if (highKey + highKeySize !== end) throw new MalformedRecord('data follows the high key of a split');

  const old = restartPage(page);
  const replaced = position === 0 ? 0 : newItemOffset - 1;
  let pushedOut: Uint8Array | undefined;
  let next = P_HIKEY;
  addItem(page, record.bytes, highKey, highKeySize, next++);
  const addNew = () => {
    const at = makeItem(page, newItemSize, next++, 0);
    copyBytes(record.bytes, newItem, page.bytes, at, newItemSize);
    if (pushedOut !== undefined) copyBytes(pushedOut, 0, page.bytes, at, TID_BYTES);
  };
  let offset = firstDataKey(old);
  for (; offset < firstRight; offset++) {
    if (offset === replaced) {
      const from = postingTupleAt(old, offset);
      const size = loggedTupleSize(old.data, from, old.bytes.length);
      const at = makeItem(page, size, next++, 0);
      copyBytes(old.bytes, from, page.bytes, at, size);
      pushedOut = swapPosting(page, at, position, record.bytes, newItem);
      continue;
    }
    if (onLeft && offset === newItemOffset) addNew();
    const item = storedItem(old, offset);
    addItem(page, old.bytes, itemOffset(item), itemLength(item), next++);
  }
  if (onLeft && offset === newItemOffset) addNew();

  setBtreeFlags(page, BTP_INCOMPLETE_SPLIT | (level === 0 ? BTP_LEAF : 0));
  setBtreeNext(page, requiredBlock(record, 1).block);
  setCycleId(page, 0);
}

/** xl_btree_mark_page_halfdead: u16 poffset, 2 padding, u32 leafblk, leftblk, rightblk, topparent. */
function markHalfDead(record: WalRecord, block: BlockReference, page: Page): void {
  needMain(record, 20);
  const { data, mainStart: main } = record;
  if (block.id === 0) {
    initHalfDead(
      page,
      data.getUint32(main + 8, true),
      data.getUint32(main + 12, true),
      data.getUint32(main + 16, true),
    );
    return;
  }
  const parentOffset = data.getUint16(main, true);
  const rightSibling = tidBlock(page.data, indexTupleAt(page, parentOffset + 1));
  setTidBlock(page.data, indexTupleAt(page, parentOffset), rightSibling);
  deleteIndexTuple(page, parentOffset + 1);
}

/**
 * xl_btree_unlink_page: u32 leftsib, rightsib, level, 4 padding, u64 safexid, u32 leafleftsib, leafrightsib, leaftopparent.
 * Blocks: the page, its left and right siblings, the half-dead leaf below it, the metapage.
 */
function unlink(record: WalRecord, block: BlockReference, page: Page): void {
  needMain(record, 36);
  const u32 = (at: number) => record.data.getUint32(record.mainStart + at, true);
  switch (block.id) {
    case 0:
      initBtreePage(page, u32(0), u32(4), u32(8), u32(8) === 0 ? BTP_LEAF : 0);
      setDeleted(page, record, record.mainStart + 16);
      return;
    case 1:
      setBtreeNext(page, u32(4));
      return;
    case 2:
      setBtreePrevious(page, u32(0));
      return;
    case 3:
      initHalfDead(page, u32(24), u32(28), u32(32));
      return;
    default:
      restoreMeta(record, block, page);
  }
}

/** xl_btree_newroot: u32 rootblk, u32 level. Blocks: root, left child, metapage. */
function newRoot(record: WalRecord, block: BlockReference, page: Page): void {
  needMain(record, 8);
  if (block.id === 1) return clearIncompleteSplit(page);
  if (block.id === 2) return restoreMeta(record, block, page);
  const level = record.data.getUint32(record.mainStart + 4, true);
  initBtreePage(page, 0, 0, level, level === 0 ? BTP_ROOT | BTP_LEAF : BTP_ROOT);
  if (level > 0) restoreItems(record, block, page);
}
