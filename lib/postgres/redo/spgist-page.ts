/**
 * SP-GiST pages and tuples: the special space, dead tuples that keep a place, links from inner tuples.
 *
 *   inner tuple   u32 tupstate 2 bits, allTheSame 1, nNodes 13, prefixSize 16; u16 size; prefix; nodes (index tuples)
 *   leaf tuple    u32 tupstate 2 bits, size 30; u16 nextOffset and flags; TID; data
 *   dead tuple    as a leaf tuple: its TID points to where the tuple went; u32 xid
 *
 * Source: access/spgist_private.h; spgPageIndexMultiDelete and spgUpdateNodeLink in access/spgist/spgdoinsert.c,
 * spgFormDeadTuple in spgutils.c, addOrReplaceTuple in spgxlog.c.
 */
import { addItem } from '../page/add-item.ts';
import { deleteIndexTuple, deleteIndexTuples } from '../page/compact.ts';
import {
  initPage,
  itemCount,
  itemLength,
  itemOffset,
  PAGE_BYTES,
  PageError,
  pageSpecial,
  storedItem,
  type Page,
} from '../page/page.ts';
import { MalformedRecord } from './errors.ts';
import { INDEX_TUPLE_HEADER_BYTES, setTidBlock, setTidOffset, tupleSize } from './index-tuple.ts';

/** tupstate. */
export const SPGIST_REDIRECT = 1;
export const SPGIST_DEAD = 2;
export const SPGIST_PLACEHOLDER = 3;
/** Flags of the special space. */
export const SPGIST_LEAF = 0x04;
export const SPGIST_NULLS = 0x08;

const NO_BLOCK = 0xffff_ffff;
const SPGIST_PAGE_ID = 0xff82;
/** SpGistPageOpaqueData: u16 flags, u16 nRedirection, u16 nPlaceholder, u16 spgist_page_id. */
const OPAQUE_BYTES = 8;
const OPAQUE = PAGE_BYTES - OPAQUE_BYTES;
/** SGDTSIZE. */
const DEAD_TUPLE_BYTES = 16;
const INNER_HEADER_BYTES = 8;

export function checkSpgistPage(page: Page): void {
  if (pageSpecial(page) !== OPAQUE) throw new PageError(`pd_special ${pageSpecial(page)}: no SP-GiST page`);
}
export function initSpgistPage(page: Page, flags: number): void {
  initPage(page, OPAQUE_BYTES);
  page.data.setUint16(OPAQUE, flags, true);
  page.data.setUint16(OPAQUE + 6, SPGIST_PAGE_ID, true);
}
export const addRedirections = ({ data }: Page, count: number): void =>
  data.setUint16(OPAQUE + 2, data.getUint16(OPAQUE + 2, true) + count, true);
export const addPlaceholders = ({ data }: Page, count: number): void =>
  data.setUint16(OPAQUE + 4, data.getUint16(OPAQUE + 4, true) + count, true);

const tupleState = (data: DataView, at: number): number => data.getUint32(at, true) & 3;
const leafSize = (data: DataView, at: number): number => data.getUint32(at, true) >>> 2;
const innerSize = (data: DataView, at: number): number => data.getUint16(at + 4, true);

/** Size of the leaf tuple at `at` of the record, which must end at `end` at most. Throws MalformedRecord. */
export const loggedLeafSize = (data: DataView, at: number, end: number): number =>
  checkSize(at + DEAD_TUPLE_BYTES <= end ? leafSize(data, at) : 0, at, end);
/** As `loggedLeafSize`, of an inner tuple. */
export const loggedInnerSize = (data: DataView, at: number, end: number): number =>
  checkSize(at + INNER_HEADER_BYTES <= end ? innerSize(data, at) : 0, at, end);
function checkSize(size: number, at: number, end: number): number {
  if (size >= INNER_HEADER_BYTES && at + size <= end) return size;
  throw new MalformedRecord(`an SP-GiST tuple of ${size} bytes where ${end - at} are left`);
}

/** Offset in the page of a stored tuple with at least the header that all kinds have. */
export function spgistTupleAt(page: Page, offsetNumber: number): number {
  const item = storedItem(page, offsetNumber);
  if (itemLength(item) < DEAD_TUPLE_BYTES) {
    throw new PageError(`item ${offsetNumber} of ${itemLength(item)} bytes is no SP-GiST tuple`);
  }
  return itemOffset(item);
}

/** Removes an item and puts the tuple at `from[at]` in its place. */
export function replaceTuple(
  page: Page,
  from: Uint8Array,
  at: number,
  size: number,
  offsetNumber: number,
): void {
  deleteIndexTuple(page, offsetNumber);
  addItem(page, from, at, size, offsetNumber);
}

/** Adds a tuple at the end, or in the place of a placeholder. */
export function addOrReplaceTuple(
  page: Page,
  from: Uint8Array,
  at: number,
  size: number,
  offsetNumber: number,
): void {
  if (offsetNumber < 1) throw new MalformedRecord(`offset number ${offsetNumber}`);
  if (offsetNumber <= itemCount(page)) {
    if (tupleState(page.data, spgistTupleAt(page, offsetNumber)) !== SPGIST_PLACEHOLDER) {
      throw new PageError(`item ${offsetNumber} is to be replaced and is no placeholder`);
    }
    addPlaceholders(page, -1);
    deleteIndexTuple(page, offsetNumber);
  }
  addItem(page, from, at, size, offsetNumber);
}

const dead = new Uint8Array(DEAD_TUPLE_BYTES);
const deadData = new DataView(dead.buffer);

export interface DeadTuple {
  state: number;
  /** Where the tuple went, for SPGIST_REDIRECT. */
  block: number;
  offsetNumber: number;
  xid: number;
}
/** Adds a dead tuple at `offsetNumber`, which must be free, and counts it. */
export function addDeadTuple(page: Page, tuple: DeadTuple, offsetNumber: number): void {
  const isRedirect = tuple.state === SPGIST_REDIRECT;
  deadData.setUint32(0, tuple.state | (DEAD_TUPLE_BYTES << 2), true);
  deadData.setUint16(4, 0, true);
  setTidBlock(deadData, 6, isRedirect ? tuple.block : NO_BLOCK);
  setTidOffset(deadData, 6, isRedirect ? tuple.offsetNumber : 0);
  deadData.setUint32(12, isRedirect ? tuple.xid : 0, true);
  addItem(page, dead, 0, DEAD_TUPLE_BYTES, offsetNumber);
  if (isRedirect) addRedirections(page, 1);
  else if (tuple.state === SPGIST_PLACEHOLDER) addPlaceholders(page, 1);
}

const sorted = new Uint16Array(PAGE_BYTES / 4);
const sortedData = new DataView(sorted.buffer);

/**
 * Turns the `count` items whose offset numbers stand at `data[start]` into dead tuples: the one listed first into
 * `first`, the others into tuples of `restState`.
 */
export function killTuples(
  page: Page,
  data: DataView,
  start: number,
  count: number,
  first: DeadTuple,
  restState: number,
): void {
  if (count === 0) return;
  if (count > sorted.length) throw new MalformedRecord(`${count} items of a page`);
  for (let i = 0; i < count; i++) sorted[i] = data.getUint16(start + 2 * i, true);
  sorted.subarray(0, count).sort();
  deleteIndexTuples(page, sortedData, 0, count);
  const firstItem = data.getUint16(start, true);
  for (let i = 0; i < count; i++) {
    const state = sorted[i] === firstItem ? first.state : restState;
    addDeadTuple(page, { ...first, state }, sorted[i]);
  }
}

/** Makes node `node` of the inner tuple at `offsetNumber` point to a tuple. */
export function updateNodeLink(
  page: Page,
  offsetNumber: number,
  node: number,
  block: number,
  targetOffset: number,
): void {
  const { data } = page;
  const at = spgistTupleAt(page, offsetNumber);
  const header = data.getUint32(at, true);
  const end = at + itemLength(storedItem(page, offsetNumber));
  const nodes = (header >>> 3) & 0x1fff;
  let nodeAt = at + INNER_HEADER_BYTES + (header >>> 16);
  for (let i = 0; i < nodes; i++) {
    const size = nodeAt + INDEX_TUPLE_HEADER_BYTES <= end ? tupleSize(data, nodeAt) : 0;
    if (size < INDEX_TUPLE_HEADER_BYTES) break;
    if (i === node) {
      setTidBlock(data, nodeAt, block);
      setTidOffset(data, nodeAt, targetOffset);
      return;
    }
    nodeAt += size;
  }
  throw new PageError(`inner tuple ${offsetNumber} has no node ${node}`);
}

/** SGLT_SET_NEXTOFFSET of the leaf tuple at `offsetNumber`. */
export function setNextOffset(page: Page, offsetNumber: number, next: number): void {
  const at = spgistTupleAt(page, offsetNumber) + 4;
  page.data.setUint16(at, (page.data.getUint16(at, true) & 0xc000) | (next & 0x3fff), true);
}

/** A redirect that VACUUM found to be of no use any more: keeps the place, points nowhere. */
export function makePlaceholder(page: Page, offsetNumber: number): void {
  const at = spgistTupleAt(page, offsetNumber);
  const { data } = page;
  if (tupleState(data, at) !== SPGIST_REDIRECT) throw new PageError(`item ${offsetNumber} is no redirect`);
  data.setUint32(at, (data.getUint32(at, true) & ~3) | SPGIST_PLACEHOLDER, true);
  setTidBlock(data, at + 6, NO_BLOCK);
  setTidOffset(data, at + 6, 0);
}
