/**
 * B-tree pages and their tuples: the special space, the metapage, half-dead and deleted pages, posting lists.
 *
 * Source: access/nbtree.h, _bt_restore_page and _bt_restore_meta in access/nbtree/nbtxlog.c.
 */
import { makeItem } from '../page/add-item.ts';
import {
  copyBytes,
  initPage,
  LP_NORMAL,
  PAGE_BYTES,
  PAGE_HEADER_BYTES,
  PageError,
  pageSpecial,
  setItemId,
  setPageLower,
  setPageUpper,
  type Page,
} from '../page/page.ts';
import type { BlockReference, WalRecord } from '../wal/record.ts';
import { MalformedRecord } from './errors.ts';
import {
  INDEX_AM_RESERVED_BIT,
  INDEX_TUPLE_HEADER_BYTES,
  indexTupleAt,
  loggedTupleSize,
  setTidBlock,
  TID_BYTES,
  tidBlock,
  tidOffset,
  tupleInfo,
  tupleSize,
} from './index-tuple.ts';
import { needData } from './resource-manager.ts';

/** btpo_flags. */
export const BTP_LEAF = 0x0001;
export const BTP_ROOT = 0x0002;
export const BTP_DELETED = 0x0004;
export const BTP_META = 0x0008;
export const BTP_HALF_DEAD = 0x0010;
export const BTP_SPLIT_END = 0x0020;
export const BTP_HAS_GARBAGE = 0x0040;
export const BTP_INCOMPLETE_SPLIT = 0x0080;
export const BTP_HAS_FULLXID = 0x0100;

/** BTPageOpaqueData: u32 btpo_prev, u32 btpo_next, u32 btpo_level, u16 btpo_flags, u16 btpo_cycleid. */
const OPAQUE_BYTES = 16;
const OPAQUE = PAGE_BYTES - OPAQUE_BYTES;
const BTREE_MAGIC = 0x053162;
export const P_HIKEY = 1;
/** BTMaxItemSize. */
export const TUPLE_BYTES_MAX = 2704;
const BT_OFFSET_MASK = 0x0fff;
const BT_IS_POSTING = 0x2000;

export function checkBtreePage(page: Page): void {
  if (pageSpecial(page) !== OPAQUE) throw new PageError(`pd_special ${pageSpecial(page)}: no B-tree page`);
}
export const btreeNext = ({ data }: Page): number => data.getUint32(OPAQUE + 4, true);
export const setBtreePrevious = ({ data }: Page, block: number): void => data.setUint32(OPAQUE, block, true);
export const setBtreeNext = ({ data }: Page, block: number): void => data.setUint32(OPAQUE + 4, block, true);
export const setBtreeLevel = ({ data }: Page, level: number): void => data.setUint32(OPAQUE + 8, level, true);
export const btreeFlags = ({ data }: Page): number => data.getUint16(OPAQUE + 12, true);
export const setBtreeFlags = ({ data }: Page, flags: number): void =>
  data.setUint16(OPAQUE + 12, flags, true);
export const setCycleId = ({ data }: Page, cycleId: number): void =>
  data.setUint16(OPAQUE + 14, cycleId, true);

/** P_FIRSTDATAKEY: behind the high key, which the rightmost page has not. */
export const firstDataKey = (page: Page): number => (btreeNext(page) === 0 ? 1 : 2);

/** _bt_pageinit, with the fields of the special space. */
export function initBtreePage(
  page: Page,
  previous: number,
  next: number,
  level: number,
  flags: number,
): void {
  initPage(page, OPAQUE_BYTES);
  setBtreePrevious(page, previous);
  setBtreeNext(page, next);
  setBtreeLevel(page, level);
  setBtreeFlags(page, flags);
}

/** A half-dead leaf: one dummy high key that names the topmost parent to be deleted. */
export function initHalfDead(page: Page, previous: number, next: number, topParent: number): void {
  initBtreePage(page, previous, next, 0, BTP_HALF_DEAD | BTP_LEAF);
  const at = makeItem(page, INDEX_TUPLE_HEADER_BYTES, P_HIKEY, 0);
  setTidBlock(page.data, at, topParent);
  page.data.setUint16(at + 4, 0, true);
  page.data.setUint16(at + 6, INDEX_TUPLE_HEADER_BYTES | INDEX_AM_RESERVED_BIT, true);
}

/** BTPageSetDeleted; the page was just initialised. `safeXid` stands at `at` of the record. */
export function setDeleted(page: Page, record: WalRecord, at: number): void {
  setBtreeFlags(page, btreeFlags(page) | BTP_DELETED | BTP_HAS_FULLXID);
  setPageLower(page, PAGE_HEADER_BYTES + 8);
  setPageUpper(page, OPAQUE);
  copyBytes(record.bytes, at, page.bytes, PAGE_HEADER_BYTES, 8);
}

/**
 * The metapage from xl_btree_metadata: u32 version, root, level, fastroot, fastlevel, last_cleanup_num_delpages,
 * bool allequalimage.
 */
export function restoreMeta(record: WalRecord, block: BlockReference, page: Page): void {
  needData(block, 25);
  initBtreePage(page, 0, 0, 0, BTP_META);
  const { data } = page;
  data.setUint32(PAGE_HEADER_BYTES, BTREE_MAGIC, true);
  copyBytes(record.bytes, block.dataStart, page.bytes, PAGE_HEADER_BYTES + 4, 24);
  data.setFloat64(PAGE_HEADER_BYTES + 32, -1, true); // btm_last_cleanup_num_heap_tuples
  data.setUint8(PAGE_HEADER_BYTES + 40, record.data.getUint8(block.dataStart + 24));
  setPageLower(page, PAGE_HEADER_BYTES + 48);
}

/**
 * Puts the tuples of a page that was just initialised back: the record holds its upper part as it was, so the last
 * item comes first.
 */
export function restoreItems(record: WalRecord, block: BlockReference, page: Page): void {
  const end = block.dataStart + block.dataLength;
  let count = 0;
  for (let at = block.dataStart; at < end; at += loggedTupleSize(record.data, at, end)) count++;
  const upper = OPAQUE - block.dataLength;
  const lower = PAGE_HEADER_BYTES + 4 * count;
  if (lower > upper)
    throw new MalformedRecord(`${count} tuples of ${block.dataLength} bytes do not fit on a page`);
  copyBytes(record.bytes, block.dataStart, page.bytes, upper, block.dataLength);
  let offset = upper;
  for (let i = count; i >= 1; i--) {
    const size = loggedTupleSize(page.data, offset, OPAQUE);
    setItemId(page, i, offset, LP_NORMAL, size);
    offset += size;
  }
  setPageLower(page, lower);
  setPageUpper(page, upper);
}

/* Posting list tuples: the TID says where the list starts (block) and how many TIDs it has (offset). */

export const isPosting = (data: DataView, at: number): boolean =>
  (tupleInfo(data, at) & INDEX_AM_RESERVED_BIT) !== 0 && (tidOffset(data, at) & BT_IS_POSTING) !== 0;
export const postingCount = (data: DataView, at: number): number => tidOffset(data, at) & BT_OFFSET_MASK;
/** Bytes of the tuple before its list. */
export const postingOffset = (data: DataView, at: number): number => tidBlock(data, at);
/** BTreeTupleSetPosting, on the page's tuple at `at`. */
export function setPosting(data: DataView, at: number, count: number, offset: number): void {
  data.setUint16(at + 6, tupleInfo(data, at) | INDEX_AM_RESERVED_BIT, true);
  data.setUint16(at + 4, count | BT_IS_POSTING, true);
  setTidBlock(data, at, offset);
}

/** The posting list tuple at `offsetNumber`, whose list lies within it. Throws PageError. */
export function postingTupleAt(page: Page, offsetNumber: number): number {
  const at = indexTupleAt(page, offsetNumber);
  checkPosting(page, at, offsetNumber);
  return at;
}
export function checkPosting(page: Page, at: number, offsetNumber: number): void {
  const { data } = page;
  const end = postingOffset(data, at) + postingCount(data, at) * TID_BYTES;
  if (
    isPosting(data, at) &&
    postingOffset(data, at) >= INDEX_TUPLE_HEADER_BYTES &&
    end <= tupleSize(data, at)
  )
    return;
  throw new PageError(`item ${offsetNumber} has no valid posting list`);
}

const pushedOut = new Uint8Array(TID_BYTES);

/**
 * Puts the TID at `from[fromAt]` at `position` into the posting list of the tuple at `at`, which pushes its last TID out. That
 * one is returned, valid until the next call. (_bt_swap_posting)
 */
export function swapPosting(
  page: Page,
  at: number,
  position: number,
  from: Uint8Array,
  fromAt: number,
): Uint8Array {
  const count = postingCount(page.data, at);
  if (position < 1 || position >= count) {
    throw new PageError(`a posting list of ${count} cannot be split at ${position}`);
  }
  const list = at + postingOffset(page.data, at);
  const last = list + (count - 1) * TID_BYTES;
  const place = list + position * TID_BYTES;
  for (let i = 0; i < TID_BYTES; i++) pushedOut[i] = page.bytes[last + i];
  page.bytes.copyWithin(place + TID_BYTES, place, last);
  copyBytes(from, fromAt, page.bytes, place, TID_BYTES);
  return pushedOut;
}
