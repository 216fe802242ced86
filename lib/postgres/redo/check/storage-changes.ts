/**
 * What records do to pages that they have no block reference to: truncation, relations and databases dropped, visibility
 * bits cleared by a flag. Only as much as a check needs to know which page a later record finds.
 *
 * Source: catalog/storage_xlog.h, commands/dbcommands_xlog.h, access/heapam_xlog.h, access/xact.h.
 */
import {
  clearVisibility,
  mapBlockOf,
  mapBlocksOf,
  truncateVisibility,
  VISIBILITYMAP_ALL_FROZEN,
  VISIBILITYMAP_VALID_BITS,
} from '../../page/visibility-map.ts';
import { RM } from '../../wal/facts.ts';
import type { BlockReference, WalRecord } from '../../wal/record.ts';
import {
  XLH_UPDATE_NEW_ALL_VISIBLE_CLEARED,
  XLH_UPDATE_OLD_ALL_VISIBLE_CLEARED,
  XLOG_HEAP_DELETE,
  XLOG_HEAP_HOT_UPDATE,
  XLOG_HEAP_INSERT,
  XLOG_HEAP_LOCK,
  XLOG_HEAP_OPMASK,
  XLOG_HEAP_UPDATE,
} from '../heap.ts';
import { XLOG_HEAP2_LOCK_UPDATED, XLOG_HEAP2_MULTI_INSERT } from '../heap2.ts';
import { blockOfId, needMain, typeOf } from '../resource-manager.ts';
import type { PageStore } from './page-store.ts';

const MAIN_FORK = 0;
const VISIBILITYMAP_FORK = 2;
const XLOG_SMGR_TRUNCATE = 0x20;
const SMGR_TRUNCATE_HEAP = 1;
const SMGR_TRUNCATE_VM = 2;
const XLOG_DBASE_CREATE_FILE_COPY = 0x00;
const XLOG_DBASE_CREATE_WAL_LOG = 0x10;
const XLOG_DBASE_DROP = 0x20;
const XLOG_XACT_OPMASK = 0x70;
const XLOG_XACT_HAS_INFO = 0x80;
/** Commit and abort, of prepared transactions too. */
const TRANSACTION_ENDS = new Set([0x00, 0x20, 0x30, 0x40]);
const XACT_XINFO_HAS_DBINFO = 1 << 0;
const XACT_XINFO_HAS_SUBXACTS = 1 << 1;
const XACT_XINFO_HAS_RELFILELOCATORS = 1 << 2;

/** Applies to `pages` what `record` changes besides its blocks. Throws MalformedRecord. */
export function applyStorageChanges(record: WalRecord, pages: PageStore): void {
  switch (record.resourceManager) {
    case RM.SMGR:
      if (typeOf(record) === XLOG_SMGR_TRUNCATE) truncate(record, pages);
      return;
    case RM.DBASE:
      changeDatabase(record, pages);
      return;
    case RM.XACT:
      if (TRANSACTION_ENDS.has(record.info & XLOG_XACT_OPMASK)) dropRelations(record, pages);
      return;
    case RM.HEAP:
      clearByHeap(record, pages);
      return;
    case RM.HEAP2:
      clearByHeap2(record, pages);
      return;
    default:
  }
}

/** xl_smgr_truncate: u32 blkno, RelFileLocator, u32 flags. */
function truncate(record: WalRecord, pages: PageStore): void {
  needMain(record, 20);
  const u32 = (at: number) => record.data.getUint32(record.mainStart + at, true);
  const [blocks, spcOid, dbOid, relNumber, flags] = [u32(0), u32(4), u32(8), u32(12), u32(16)];
  if (flags & SMGR_TRUNCATE_HEAP) pages.truncate({ spcOid, dbOid, relNumber, fork: MAIN_FORK }, blocks);
  if ((flags & SMGR_TRUNCATE_VM) === 0) return;
  const map = { spcOid, dbOid, relNumber, fork: VISIBILITYMAP_FORK };
  pages.truncate(map, mapBlocksOf(blocks));
  const tag = { ...map, block: mapBlockOf(blocks) };
  const last = pages.get(tag);
  if (last === undefined || mapBlocksOf(blocks) === tag.block) return;
  truncateVisibility(last, blocks);
  pages.put(tag, last);
}

/** A new database begins with nothing known: its pages are copied without WAL, or follow as images. */
function changeDatabase(record: WalRecord, pages: PageStore): void {
  switch (typeOf(record)) {
    case XLOG_DBASE_CREATE_FILE_COPY:
    case XLOG_DBASE_CREATE_WAL_LOG: {
      needMain(record, 8);
      const { data, mainStart: main } = record;
      pages.dropDatabase(data.getUint32(main + 4, true), data.getUint32(main, true));
      return;
    }
    case XLOG_DBASE_DROP:
      dropDatabase(record, pages);
      return;
    default:
  }
}

/** xl_xact_commit and xl_xact_abort: i64 xact_time, then what u32 xinfo announces; the files that end come third. */
function dropRelations(record: WalRecord, pages: PageStore): void {
  if ((record.info & XLOG_XACT_HAS_INFO) === 0) return;
  let at = 12;
  needMain(record, at);
  const u32 = () => {
    needMain(record, at + 4);
    at += 4;
    return record.data.getUint32(record.mainStart + at - 4, true);
  };
  const xinfo = record.data.getUint32(record.mainStart + 8, true);
  if ((xinfo & XACT_XINFO_HAS_RELFILELOCATORS) === 0) return;
  if (xinfo & XACT_XINFO_HAS_DBINFO) at += 8;
  if (xinfo & XACT_XINFO_HAS_SUBXACTS) {
    const subtransactions = u32();
    at += 4 * subtransactions;
  }
  for (let count = u32(); count > 0; count--) {
    pages.dropRelation({ spcOid: u32(), dbOid: u32(), relNumber: u32() });
  }
}

/** xl_dbase_drop_rec: u32 db_id, i32 ntablespaces, tablespaces. */
function dropDatabase(record: WalRecord, pages: PageStore): void {
  needMain(record, 8);
  const { data, mainStart: main } = record;
  const count = data.getUint32(main + 4, true);
  needMain(record, 8 + 4 * count);
  for (let i = 0; i < count; i++) {
    pages.dropDatabase(data.getUint32(main + 8 + 4 * i, true), data.getUint32(main, true));
  }
}

function clearByHeap(record: WalRecord, pages: PageStore): void {
  switch (record.info & XLOG_HEAP_OPMASK) {
    case XLOG_HEAP_INSERT:
      clearIfFlagged(record, 2, VISIBILITYMAP_VALID_BITS, pages);
      return;
    case XLOG_HEAP_DELETE:
      clearIfFlagged(record, 7, VISIBILITYMAP_VALID_BITS, pages);
      return;
    case XLOG_HEAP_LOCK:
      clearIfFlagged(record, 7, VISIBILITYMAP_ALL_FROZEN, pages);
      return;
    case XLOG_HEAP_UPDATE:
    case XLOG_HEAP_HOT_UPDATE: {
      needMain(record, 8);
      const flags = record.data.getUint8(record.mainStart + 7);
      const newBlock = blockOfId(record, 0);
      const oldBlock = blockOfId(record, 1) ?? newBlock;
      if (namesMap(record)) return;
      if (flags & XLH_UPDATE_OLD_ALL_VISIBLE_CLEARED) clear(oldBlock, VISIBILITYMAP_VALID_BITS, pages);
      if (flags & XLH_UPDATE_NEW_ALL_VISIBLE_CLEARED) clear(newBlock, VISIBILITYMAP_VALID_BITS, pages);
      return;
    }
    default:
  }
}

function clearByHeap2(record: WalRecord, pages: PageStore): void {
  const type = record.info & XLOG_HEAP_OPMASK;
  if (type === XLOG_HEAP2_MULTI_INSERT) clearIfFlagged(record, 0, VISIBILITYMAP_VALID_BITS, pages);
  if (type === XLOG_HEAP2_LOCK_UPDATED) clearIfFlagged(record, 7, VISIBILITYMAP_ALL_FROZEN, pages);
}

function namesMap(record: WalRecord): boolean {
  for (let i = 0; i < record.blockCount; i++) if (record.blocks[i].fork === VISIBILITYMAP_FORK) return true;
  return false;
}

function clearIfFlagged(record: WalRecord, flagsAt: number, bits: number, pages: PageStore): void {
  needMain(record, flagsAt + 1);
  if ((record.data.getUint8(record.mainStart + flagsAt) & 1) === 0 || namesMap(record)) return;
  clear(blockOfId(record, 0), bits, pages);
}

function clear(heap: BlockReference | undefined, bits: number, pages: PageStore): void {
  if (heap === undefined) return;
  const { spcOid, dbOid, relNumber } = heap;
  const tag = { spcOid, dbOid, relNumber, fork: VISIBILITYMAP_FORK, block: mapBlockOf(heap.block) };
  const page = pages.get(tag);
  if (page !== undefined && clearVisibility(page, heap.block, bits)) pages.put(tag, page);
}
