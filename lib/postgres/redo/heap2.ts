/**
 * Heap2: pruning and freezing, visibility, multi-insert, locks on updated versions.
 *
 * Source: heap2_redo in access/heap/heapam_xlog.c, heap_xlog_deserialize_prune_and_freeze in
 * access/rmgrdesc/heapdesc.c, heap_page_prune_execute in access/heap/pruneheap.c.
 */
import { repairFragmentation, truncateLinePointers } from '../page/compact.ts';
import {
  clearPageFlag,
  existingItem,
  initPage,
  isNewPage,
  LP_DEAD,
  LP_REDIRECT,
  LP_UNUSED,
  PD_ALL_VISIBLE,
  setItemId,
  setPageFlag,
  type Page,
} from '../page/page.ts';
import { setVisibility, VISIBILITYMAP_ALL_FROZEN, VISIBILITYMAP_VALID_BITS } from '../page/visibility-map.ts';
import type { BlockReference, WalRecord } from '../wal/record.ts';
import { MalformedRecord, UnsupportedRecord } from './errors.ts';
import {
  clearMap,
  putTuple,
  XLH_INSERT_ALL_VISIBLE_CLEARED,
  XLOG_HEAP_INIT_PAGE,
  XLOG_HEAP_OPMASK,
} from './heap.ts';
import { heapMasks } from './heap-mask.ts';
import { setInfobits, setInfomask, setInfomask2, setXmax, setXvac, tupleAt } from './heap-tuple.ts';
import { needMain, requiredBlock, type ResourceManager } from './resource-manager.ts';

export const XLOG_HEAP2_REWRITE = 0x00;
export const XLOG_HEAP2_PRUNE_ON_ACCESS = 0x10;
export const XLOG_HEAP2_PRUNE_VACUUM_SCAN = 0x20;
export const XLOG_HEAP2_PRUNE_VACUUM_CLEANUP = 0x30;
export const XLOG_HEAP2_VISIBLE = 0x40;
export const XLOG_HEAP2_MULTI_INSERT = 0x50;
export const XLOG_HEAP2_LOCK_UPDATED = 0x60;
export const XLOG_HEAP2_NEW_CID = 0x70;

const XLH_INSERT_ALL_FROZEN_SET = 0x20;
const XLHP_CLEANUP_LOCK = 0x04;
const XLHP_HAS_FREEZE_PLANS = 0x10;
const XLHP_HAS_REDIRECTIONS = 0x20;
const XLHP_HAS_DEAD_ITEMS = 0x40;
const XLHP_HAS_NOW_UNUSED_ITEMS = 0x80;
const XLH_FREEZE_XVAC = 0x02;
const XLH_INVALID_XVAC = 0x04;
const FROZEN_TRANSACTION_ID = 2;

export const heap2: ResourceManager = {
  redo(record: WalRecord, block: BlockReference, page: Page): boolean {
    switch (record.info & XLOG_HEAP_OPMASK) {
      case XLOG_HEAP2_PRUNE_ON_ACCESS:
      case XLOG_HEAP2_PRUNE_VACUUM_SCAN:
      case XLOG_HEAP2_PRUNE_VACUUM_CLEANUP:
        return pruneAndFreeze(record, block, page);
      case XLOG_HEAP2_VISIBLE:
        return block.id === 0 ? setMap(record, page) : markVisible(page);
      case XLOG_HEAP2_MULTI_INSERT:
        if (block.id !== 0) return clearMap(record, page, VISIBILITYMAP_VALID_BITS);
        return multiInsert(record, block, page);
      case XLOG_HEAP2_LOCK_UPDATED:
        if (block.id !== 0) return clearMap(record, page, VISIBILITYMAP_ALL_FROZEN);
        return lockUpdated(record, page);
      default:
        throw new UnsupportedRecord('this type has no block references');
    }
  },
  masks: heapMasks,
};

/**
 * Block data, each part only if its flag is set: u16 nplans, 2 bytes padding, plans of 12 bytes; u16 n, 2n offset
 * numbers redirected; u16 n, n dead; u16 n, n unused; then the offset numbers that the plans freeze.
 */
function pruneAndFreeze(record: WalRecord, block: BlockReference, page: Page): boolean {
  needMain(record, 2);
  const { data } = record;
  const flags = data.getUint8(record.mainStart + 1);
  const end = block.dataStart + block.dataLength;
  let at = block.dataStart;
  /** Steps over a part that begins with its u16 count; where its entries start. */
  const part = (flag: number, headerBytes: number, entryBytes: number): { count: number; start: number } => {
    if ((flags & flag) === 0) return { count: 0, start: at };
    if (at + headerBytes > end) throw new MalformedRecord('the prune data ends within a count');
    const count = data.getUint16(at, true);
    const start = at + headerBytes;
    at = start + count * entryBytes;
    if (at > end) throw new MalformedRecord(`the prune data ends before ${count} entries`);
    return { count, start };
  };
  const plans = part(XLHP_HAS_FREEZE_PLANS, 4, 12);
  const redirected = part(XLHP_HAS_REDIRECTIONS, 2, 4);
  const dead = part(XLHP_HAS_DEAD_ITEMS, 2, 2);
  const unused = part(XLHP_HAS_NOW_UNUSED_ITEMS, 2, 2);

  if (redirected.count > 0 || dead.count > 0 || unused.count > 0) {
    for (let i = 0; i < redirected.count; i++) {
      const from = data.getUint16(redirected.start + 4 * i, true);
      setPointer(page, from, data.getUint16(redirected.start + 4 * i + 2, true), LP_REDIRECT);
    }
    for (let i = 0; i < dead.count; i++)
      setPointer(page, data.getUint16(dead.start + 2 * i, true), 0, LP_DEAD);
    for (let i = 0; i < unused.count; i++) {
      setPointer(page, data.getUint16(unused.start + 2 * i, true), 0, LP_UNUSED);
    }
    if (flags & XLHP_CLEANUP_LOCK) repairFragmentation(page);
    else truncateLinePointers(page);
  }
  for (let i = 0; i < plans.count; i++) at = freeze(record, plans.start + 12 * i, at, end, page);
  if (at !== end) throw new MalformedRecord(`${end - at} bytes follow the prune data`);
  return true;
}

function setPointer(page: Page, offsetNumber: number, offset: number, flags: number): void {
  existingItem(page, offsetNumber);
  setItemId(page, offsetNumber, offset, flags, 0);
}

/** xlhp_freeze_plan: u32 xmax, u16 t_infomask2, u16 t_infomask, u8 frzflags, 1 padding, u16 ntuples. */
function freeze(record: WalRecord, plan: number, offsets: number, end: number, page: Page): number {
  const { data } = record;
  const flags = data.getUint8(plan + 8);
  const count = data.getUint16(plan + 10, true);
  if (offsets + 2 * count > end)
    throw new MalformedRecord(`a freeze plan of ${count} tuples goes past the data`);
  for (let i = 0; i < count; i++) {
    const tuple = tupleAt(page, data.getUint16(offsets + 2 * i, true));
    setXmax(page, tuple, data.getUint32(plan, true));
    if (flags & XLH_FREEZE_XVAC) setXvac(page, tuple, FROZEN_TRANSACTION_ID);
    if (flags & XLH_INVALID_XVAC) setXvac(page, tuple, 0);
    setInfomask(page, tuple, data.getUint16(plan + 6, true));
    setInfomask2(page, tuple, data.getUint16(plan + 4, true));
  }
  return offsets + 2 * count;
}

/** xl_heap_visible: u32 snapshotConflictHorizon, u8 flags. Block 0 is the map's page, block 1 the heap's. */
function setMap(record: WalRecord, page: Page): boolean {
  needMain(record, 5);
  if (isNewPage(page)) initPage(page, 0);
  const bits = record.data.getUint8(record.mainStart + 4) & VISIBILITYMAP_VALID_BITS;
  return setVisibility(page.bytes, requiredBlock(record, 1).block, bits);
}

/** The heap page's LSN stays: without checksums and wal_log_hints the flag alone is a hint. */
function markVisible(page: Page): boolean {
  setPageFlag(page, PD_ALL_VISIBLE);
  return false;
}

/**
 * xl_heap_multi_insert: u8 flags, 1 padding, u16 ntuples, then the offset numbers unless the page is made anew. Block data: for
 * each tuple, at an even distance from the start, u16 datalen, u16 t_infomask2, u16 t_infomask, u8 t_hoff, data.
 */
function multiInsert(record: WalRecord, block: BlockReference, page: Page): boolean {
  needMain(record, 4);
  const { data, mainStart: main } = record;
  const flags = data.getUint8(main);
  const count = data.getUint16(main + 2, true);
  const isInit = (record.info & XLOG_HEAP_INIT_PAGE) !== 0;
  if (isInit) initPage(page, 0);
  else needMain(record, 4 + 2 * count);
  const end = block.dataStart + block.dataLength;
  let at = block.dataStart;
  for (let i = 0; i < count; i++) {
    at += (at - block.dataStart) & 1;
    if (at + 7 > end) throw new MalformedRecord(`tuple ${i} of ${count} starts past the data`);
    const length = data.getUint16(at, true);
    const offsetNumber = isInit ? i + 1 : data.getUint16(main + 4 + 2 * i, true);
    putTuple(record, block, page, offsetNumber, at + 2, at + 7, length);
    at += 7 + length;
  }
  if (at !== end) throw new MalformedRecord(`${end - at} bytes follow the last of ${count} tuples`);
  if (flags & XLH_INSERT_ALL_VISIBLE_CLEARED) clearPageFlag(page, PD_ALL_VISIBLE);
  if (flags & XLH_INSERT_ALL_FROZEN_SET) setPageFlag(page, PD_ALL_VISIBLE);
  return true;
}

/** xl_heap_lock_updated: u32 xmax, u16 offnum, u8 infobits_set, u8 flags. */
function lockUpdated(record: WalRecord, page: Page): boolean {
  needMain(record, 8);
  const { data, mainStart: main } = record;
  const tuple = tupleAt(page, data.getUint16(main + 4, true));
  setInfobits(page, tuple, data.getUint8(main + 6));
  setXmax(page, tuple, data.getUint32(main, true));
  return true;
}
