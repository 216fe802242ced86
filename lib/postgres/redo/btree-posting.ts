/**
 * Posting lists of leaf pages: made by deduplication, thinned out by deletion.
 *
 * Source: access/nbtree/nbtdedup.c; btree_xlog_dedup and btree_xlog_updates in access/nbtree/nbtxlog.c.
 */
import { addItem, makeItem } from '../page/add-item.ts';
import { deleteIndexTuples, resizeIndexTuple } from '../page/compact.ts';
import {
  alignTo8,
  copyBytes,
  itemCount,
  itemLength,
  itemOffset,
  PAGE_BYTES,
  PageError,
  storedItem,
  type Page,
} from '../page/page.ts';
import { restartPage } from '../page/restart.ts';
import type { BlockReference, WalRecord } from '../wal/record.ts';
import {
  BTP_HAS_GARBAGE,
  btreeFlags,
  checkPosting,
  firstDataKey,
  isPosting,
  P_HIKEY,
  postingCount,
  postingOffset,
  postingTupleAt,
  setBtreeFlags,
  setPosting,
  TUPLE_BYTES_MAX,
} from './btree-page.ts';
import { MalformedRecord } from './errors.ts';
import {
  INDEX_AM_RESERVED_BIT,
  INDEX_SIZE_MASK,
  indexTupleAt,
  setTupleInfo,
  TID_BYTES,
  tupleInfo,
  tupleSize,
} from './index-tuple.ts';
import { needData, needMain } from './resource-manager.ts';

/** TIDs of the posting list being gathered. */
const tids = new Uint8Array(PAGE_BYTES);

/**
 * xl_btree_dedup: u16 nintervals. Block data: for each interval u16 baseoff, u16 nitems: so many items from there on
 * become one.
 */
export function deduplicate(record: WalRecord, block: BlockReference, page: Page): void {
  needMain(record, 2);
  const intervals = record.data.getUint16(record.mainStart, true);
  needData(block, 4 * intervals);
  const old = restartPage(page);
  const count = itemCount(old);
  let next = 1;
  if (firstDataKey(old) > P_HIKEY) {
    const item = storedItem(old, P_HIKEY);
    addItem(page, old.bytes, itemOffset(item), itemLength(item), next++);
  }
  let done = 0;
  for (let offset = firstDataKey(old); offset <= count;) {
    const at = block.dataStart + 4 * done;
    const merged = done < intervals && record.data.getUint16(at, true) === offset;
    const items = merged ? record.data.getUint16(at + 2, true) : 1;
    if (items < 1 || offset + items - 1 > count) {
      throw new MalformedRecord(`${items} items from ${offset} on are to become one: the page has ${count}`);
    }
    if (merged) done++;
    if (items === 1) {
      const base = indexTupleAt(old, offset);
      addItem(page, old.bytes, base, tupleSize(old.data, base), next++);
    } else {
      mergeItems(old, offset, items, page, next++);
    }
    offset += items;
  }
  if (done !== intervals)
    throw new PageError(`${intervals - done} of ${intervals} intervals are not on the page`);
  setBtreeFlags(page, btreeFlags(page) & ~BTP_HAS_GARBAGE);
}

/** Adds one tuple with the keys of the first of `items` and the TIDs of all. (_bt_form_posting) */
function mergeItems(old: Page, first: number, items: number, page: Page, offsetNumber: number): void {
  let count = 0;
  for (let i = first; i < first + items; i++) count = gatherTids(old, i, count);
  const base = indexTupleAt(old, first);
  const keyBytes = isPosting(old.data, base) ? postingOffset(old.data, base) : tupleSize(old.data, base);
  const size = alignTo8(keyBytes + count * TID_BYTES);
  if (size > TUPLE_BYTES_MAX) throw new PageError(`items from ${first} on would become one of ${size} bytes`);
  const at = makeItem(page, size, offsetNumber, 0);
  writePosting(page, at, old.bytes, base, keyBytes, count, size);
}

/** Appends the TIDs of an item to `tids`; how many there are then. */
function gatherTids(old: Page, offsetNumber: number, before: number): number {
  const at = indexTupleAt(old, offsetNumber);
  let [start, count] = [at, 1];
  if (isPosting(old.data, at)) {
    checkPosting(old, at, offsetNumber);
    start = at + postingOffset(old.data, at);
    count = postingCount(old.data, at);
  }
  copyBytes(old.bytes, start, tids, before * TID_BYTES, count * TID_BYTES);
  return before + count;
}

/** Writes a tuple with the keys at `from[base]` and `count` TIDs out of `tids` to `page` at `at`: `size` bytes, padded with zeros. */
function writePosting(
  page: Page,
  at: number,
  from: Uint8Array,
  base: number,
  keyBytes: number,
  count: number,
  size: number,
): void {
  copyBytes(from, base, page.bytes, at, keyBytes);
  page.bytes.fill(0, at + keyBytes, at + size);
  const info = (tupleInfo(page.data, at) & ~INDEX_SIZE_MASK) | size;
  if (count > 1) {
    setTupleInfo(page.data, at, info);
    setPosting(page.data, at, count, keyBytes);
    copyBytes(tids, 0, page.bytes, at + keyBytes, count * TID_BYTES);
  } else {
    setTupleInfo(page.data, at, info & ~INDEX_AM_RESERVED_BIT);
    copyBytes(tids, 0, page.bytes, at, TID_BYTES);
  }
}

/**
 * What vacuum and deletion have in common. `counts`, in the record: u16 ndeleted, u16 nupdated. Block data: offset numbers
 * deleted, offset numbers updated, then for each of the latter u16 n and n positions in its posting list to be removed.
 */
export function removeTuples(record: WalRecord, block: BlockReference, page: Page, counts: number): void {
  const { data } = record;
  const deleted = data.getUint16(counts, true);
  const updated = data.getUint16(counts + 2, true);
  needData(block, 2 * (deleted + updated));
  const end = block.dataStart + block.dataLength;
  const offsets = block.dataStart + 2 * deleted;
  let at = offsets + 2 * updated;
  for (let i = 0; i < updated; i++) {
    const positions = at + 2 <= end ? data.getUint16(at, true) : 0xffff;
    at += 2;
    if (at + 2 * positions > end) throw new MalformedRecord('positions in a posting list go past the data');
    thinPosting(page, data.getUint16(offsets + 2 * i, true), data, at, positions);
    at += 2 * positions;
  }
  if (deleted > 0) deleteIndexTuples(page, data, block.dataStart, deleted);
}

/** Removes `removed` TIDs, whose positions rise, from an item's posting list. (_bt_update_posting) */
function thinPosting(
  page: Page,
  offsetNumber: number,
  data: DataView,
  positions: number,
  removed: number,
): void {
  const at = postingTupleAt(page, offsetNumber);
  const before = postingCount(page.data, at);
  const keyBytes = postingOffset(page.data, at);
  const list = at + keyBytes;
  let kept = 0;
  let next = 0;
  for (let i = 0; i < before; i++) {
    if (next < removed && data.getUint16(positions + 2 * next, true) === i) {
      next++;
      continue;
    }
    copyBytes(page.bytes, list + i * TID_BYTES, tids, kept * TID_BYTES, TID_BYTES);
    kept++;
  }
  if (next !== removed || kept === 0) {
    throw new PageError(`item ${offsetNumber}: ${next} of ${removed} TIDs found, ${kept} left`);
  }
  const size = kept > 1 ? alignTo8(keyBytes + kept * TID_BYTES) : keyBytes;
  copyBytes(page.bytes, at, keys, 0, keyBytes);
  const moved = resizeIndexTuple(page, offsetNumber, alignTo8(size));
  writePosting(page, moved, keys, 0, keyBytes, kept, size);
}

/** Keys of the tuple being resized, which moves. */
const keys = new Uint8Array(PAGE_BYTES);
