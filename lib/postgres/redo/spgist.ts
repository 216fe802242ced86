/**
 * SPGist: leaf tuples added and moved, inner tuples grown and split, vacuum.
 *
 * Source: spg_redo in access/spgist/spgxlog.c, layouts in access/spgxlog.h.
 */
import { deleteIndexTuple, deleteIndexTuples } from '../page/compact.ts';
import { LSN_AND_CHECKSUM, maskUnusedSpace } from '../page/mask.ts';
import { existingItem, itemCount, PAGE_HEADER_BYTES, pageLower, type Page } from '../page/page.ts';
import type { BlockReference, WalRecord } from '../wal/record.ts';
import { MalformedRecord, UnsupportedRecord } from './errors.ts';
import { needMain, requiredBlock, typeOf, blockOfId, type ResourceManager } from './resource-manager.ts';
import { pickSplit } from './spgist-picksplit.ts';
import {
  addDeadTuple,
  addOrReplaceTuple,
  addPlaceholders,
  addRedirections,
  checkSpgistPage,
  initSpgistPage,
  killTuples,
  loggedInnerSize,
  loggedLeafSize,
  makePlaceholder,
  replaceTuple,
  setNextOffset,
  SPGIST_DEAD,
  SPGIST_LEAF,
  SPGIST_NULLS,
  SPGIST_PLACEHOLDER,
  SPGIST_REDIRECT,
  updateNodeLink,
  type DeadTuple,
} from './spgist-page.ts';

export const XLOG_SPGIST_ADD_LEAF = 0x10;
export const XLOG_SPGIST_MOVE_LEAFS = 0x20;
export const XLOG_SPGIST_ADD_NODE = 0x30;
export const XLOG_SPGIST_SPLIT_TUPLE = 0x40;
export const XLOG_SPGIST_PICKSPLIT = 0x50;
export const XLOG_SPGIST_VACUUM_LEAF = 0x60;
export const XLOG_SPGIST_VACUUM_ROOT = 0x70;
export const XLOG_SPGIST_VACUUM_REDIRECT = 0x80;

export const spgist: ResourceManager = {
  redo(record: WalRecord, block: BlockReference, page: Page): boolean {
    if (!block.willInit) checkSpgistPage(page);
    apply(record, block, page);
    return true;
  },
  masks: [
    LSN_AND_CHECKSUM,
    {
      what: 'unused space',
      apply: (page) => {
        if (pageLower(page) >= PAGE_HEADER_BYTES) maskUnusedSpace(page);
      },
    },
  ],
};

function apply(record: WalRecord, block: BlockReference, page: Page): void {
  switch (typeOf(record)) {
    case XLOG_SPGIST_ADD_LEAF:
      addLeaf(record, block, page);
      return;
    case XLOG_SPGIST_MOVE_LEAFS:
      moveLeafs(record, block, page);
      return;
    case XLOG_SPGIST_ADD_NODE:
      addNode(record, block, page);
      return;
    case XLOG_SPGIST_SPLIT_TUPLE:
      splitTuple(record, block, page);
      return;
    case XLOG_SPGIST_PICKSPLIT:
      pickSplit(record, block, page);
      return;
    case XLOG_SPGIST_VACUUM_LEAF:
      vacuumLeaf(record, page);
      return;
    case XLOG_SPGIST_VACUUM_ROOT: {
      needMain(record, 12);
      const count = record.data.getUint16(record.mainStart, true);
      needMain(record, 12 + 2 * count);
      deleteIndexTuples(page, record.data, record.mainStart + 12, count);
      return;
    }
    case XLOG_SPGIST_VACUUM_REDIRECT:
      vacuumRedirect(record, page);
      return;
    default:
      throw new UnsupportedRecord('no such type');
  }
}

const mainEnd = (record: WalRecord): number => record.mainStart + record.mainLength;
const leafFlags = (storesNulls: number): number => SPGIST_LEAF | (storesNulls === 0 ? 0 : SPGIST_NULLS);

/**
 * spgxlogAddLeaf: bool newPage, bool storesNulls, u16 offnumLeaf, offnumHeadLeaf, offnumParent, nodeI; the tuple.
 * Blocks: leaf, parent.
 */
function addLeaf(record: WalRecord, block: BlockReference, page: Page): void {
  needMain(record, 10);
  const { data, mainStart: main } = record;
  const leaf = data.getUint16(main + 2, true);
  const head = data.getUint16(main + 4, true);
  if (block.id === 1) {
    const parent = data.getUint16(main + 6, true);
    updateNodeLink(page, parent, data.getUint16(main + 8, true), requiredBlock(record, 0).block, leaf);
    return;
  }
  if (data.getUint8(main) !== 0) initSpgistPage(page, leafFlags(data.getUint8(main + 1)));
  const size = loggedLeafSize(data, main + 10, mainEnd(record));
  if (leaf === head) {
    replaceTuple(page, record.bytes, main + 10, size, leaf); // a dead tuple
    return;
  }
  addOrReplaceTuple(page, record.bytes, main + 10, size, leaf);
  if (head !== 0) setNextOffset(page, head, leaf);
}

/**
 * spgxlogMoveLeafs: u16 nMoves, bool newPage, replaceDead, storesNulls, u16 offnumParent, nodeI, state (u32 redirectXid,
 * bool isBuild); offset numbers deleted, offset numbers inserted, leaf tuples. Blocks: source, destination, parent.
 */
function moveLeafs(record: WalRecord, block: BlockReference, page: Page): void {
  needMain(record, 20);
  const { data, mainStart: main } = record;
  const moves = data.getUint16(main, true);
  const inserts = data.getUint8(main + 3) === 0 ? moves + 1 : 1;
  needMain(record, 20 + 2 * (moves + inserts));
  const deleted = main + 20;
  const inserted = deleted + 2 * moves;
  const destination = requiredBlock(record, 1).block;
  const last = data.getUint16(inserted + 2 * (inserts - 1), true);
  if (block.id === 2) {
    updateNodeLink(page, data.getUint16(main + 6, true), data.getUint16(main + 8, true), destination, last);
    return;
  }
  if (block.id === 0) {
    const isBuild = data.getUint8(main + 16) !== 0;
    const first: DeadTuple = {
      state: isBuild ? SPGIST_PLACEHOLDER : SPGIST_REDIRECT,
      block: destination,
      offsetNumber: last,
      xid: data.getUint32(main + 12, true),
    };
    killTuples(page, data, deleted, moves, first, SPGIST_PLACEHOLDER);
    return;
  }
  if (data.getUint8(main + 2) !== 0) initSpgistPage(page, leafFlags(data.getUint8(main + 4)));
  let at = inserted + 2 * inserts;
  for (let i = 0; i < inserts; i++) {
    const size = loggedLeafSize(data, at, mainEnd(record));
    addOrReplaceTuple(page, record.bytes, at, size, data.getUint16(inserted + 2 * i, true));
    at += size;
  }
}

/**
 * spgxlogAddNode: u16 offnum, offnumNew, bool newPage, i8 parentBlk, u16 offnumParent, nodeI, state; the inner tuple. Blocks:
 * old page, new page where it is another, parent where it is yet another; parentBlk says which has the parent.
 */
function addNode(record: WalRecord, block: BlockReference, page: Page): void {
  needMain(record, 20);
  const { data, mainStart: main } = record;
  const offset = data.getUint16(main, true);
  const newOffset = data.getUint16(main + 2, true);
  const tuple = main + 20;
  const newBlock = blockOfId(record, 1);
  if (newBlock === undefined) {
    replaceTuple(page, record.bytes, tuple, loggedInnerSize(data, tuple, mainEnd(record)), offset);
    return;
  }
  if (block.id === 1) {
    if (data.getUint8(main + 4) !== 0) initSpgistPage(page, 0);
    addOrReplaceTuple(page, record.bytes, tuple, loggedInnerSize(data, tuple, mainEnd(record)), newOffset);
  } else if (block.id === 0) {
    const isBuild = data.getUint8(main + 16) !== 0;
    deleteIndexTuple(page, offset);
    const left: DeadTuple = {
      state: isBuild ? SPGIST_PLACEHOLDER : SPGIST_REDIRECT,
      block: newBlock.block,
      offsetNumber: newOffset,
      xid: data.getUint32(main + 12, true),
    };
    addDeadTuple(page, left, offset);
  }
  if (data.getInt8(main + 5) !== block.id) return;
  updateNodeLink(
    page,
    data.getUint16(main + 6, true),
    data.getUint16(main + 8, true),
    newBlock.block,
    newOffset,
  );
}

/**
 * spgxlogSplitTuple: u16 offnumPrefix, offnumPostfix, bool newPage, bool postfixBlkSame; the two inner tuples. Blocks:
 * prefix, postfix where it is on another page.
 */
function splitTuple(record: WalRecord, block: BlockReference, page: Page): void {
  needMain(record, 6);
  const { data, mainStart: main } = record;
  const prefix = main + 6;
  const prefixSize = loggedInnerSize(data, prefix, mainEnd(record));
  const postfix = prefix + prefixSize;
  const postfixSize = loggedInnerSize(data, postfix, mainEnd(record));
  const postfixOffset = data.getUint16(main + 2, true);
  if (block.id === 0) replaceTuple(page, record.bytes, prefix, prefixSize, data.getUint16(main, true));
  else if (data.getUint8(main + 4) !== 0) initSpgistPage(page, 0);
  if (block.id === 0 && data.getUint8(main + 5) === 0) return;
  addOrReplaceTuple(page, record.bytes, postfix, postfixSize, postfixOffset);
}

const NOWHERE = { block: 0, offsetNumber: 0, xid: 0 };

/**
 * spgxlogVacuumLeaf: u16 nDead, nPlaceholder, nMove, nChain, state; offset numbers that become dead, that become
 * placeholders, that move from and to, whose link changes, and to what.
 */
function vacuumLeaf(record: WalRecord, page: Page): void {
  needMain(record, 16);
  const { data, mainStart: main } = record;
  const [nDead, nPlaceholder, nMove, nChain] = [0, 2, 4, 6].map((at) => data.getUint16(main + at, true));
  needMain(record, 16 + 2 * (nDead + nPlaceholder + 2 * nMove + 2 * nChain));
  const dead = main + 16;
  const placeholders = dead + 2 * nDead;
  const from = placeholders + 2 * nPlaceholder;
  const to = from + 2 * nMove;
  const chained = to + 2 * nMove;
  const next = chained + 2 * nChain;
  killTuples(page, data, dead, nDead, { state: SPGIST_DEAD, ...NOWHERE }, SPGIST_DEAD);
  const placeholder: DeadTuple = { state: SPGIST_PLACEHOLDER, ...NOWHERE };
  killTuples(page, data, placeholders, nPlaceholder, placeholder, SPGIST_PLACEHOLDER);
  for (let i = 0; i < nMove; i++) {
    swapPointers(page, data.getUint16(from + 2 * i, true), data.getUint16(to + 2 * i, true));
  }
  killTuples(page, data, from, nMove, placeholder, SPGIST_PLACEHOLDER);
  for (let i = 0; i < nChain; i++) {
    setNextOffset(page, data.getUint16(chained + 2 * i, true), data.getUint16(next + 2 * i, true));
  }
}

function swapPointers(page: Page, one: number, other: number): void {
  const [a, b] = [existingItem(page, one), existingItem(page, other)];
  page.data.setUint32(PAGE_HEADER_BYTES + 4 * (one - 1), b, true);
  page.data.setUint32(PAGE_HEADER_BYTES + 4 * (other - 1), a, true);
}

/**
 * spgxlogVacuumRedirect: u16 nToPlaceholder, u16 firstPlaceholder, u32 snapshotConflictHorizon, bool isCatalogRel,
 * padding, offset numbers of redirects that become placeholders.
 */
function vacuumRedirect(record: WalRecord, page: Page): void {
  needMain(record, 10);
  const { data, mainStart: main } = record;
  const count = data.getUint16(main, true);
  const first = data.getUint16(main + 2, true);
  needMain(record, 10 + 2 * count);
  for (let i = 0; i < count; i++) makePlaceholder(page, data.getUint16(main + 10 + 2 * i, true));
  addRedirections(page, -count);
  addPlaceholders(page, count);
  if (first === 0) return;
  const items = itemCount(page);
  if (first > items) throw new MalformedRecord(`placeholders from ${first} on: the page has ${items} items`);
  const removed = items - first + 1;
  const offsets = new DataView(new ArrayBuffer(2 * removed));
  for (let i = 0; i < removed; i++) offsets.setUint16(2 * i, first + i, true);
  addPlaceholders(page, -removed);
  deleteIndexTuples(page, offsets, 0, removed);
}
