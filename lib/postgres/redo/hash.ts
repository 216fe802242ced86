/**
 * Hash: insertion, overflow pages, bucket splits, squeezing and vacuum.
 *
 * Several records name the primary bucket's page only to lock it: redo leaves such a block, and its LSN, alone.
 *
 * Source: hash_redo in access/hash/hash_xlog.c, layouts in access/hash_xlog.h.
 */
import { addItem } from '../page/add-item.ts';
import { deleteIndexTuples } from '../page/compact.ts';
import { LSN_AND_CHECKSUM, maskLinePointerFlags, UNUSED_SPACE } from '../page/mask.ts';
import type { Page } from '../page/page.ts';
import type { BlockReference, WalRecord } from '../wal/record.ts';
import { MalformedRecord, UnsupportedRecord } from './errors.ts';
import {
  addBitmap,
  checkHashPage,
  hashFlags,
  hashMeta,
  initBitmapPage,
  initHashMeta,
  initHashPage,
  initUnusedPage,
  LH_BUCKET_NEEDS_SPLIT_CLEANUP,
  LH_BUCKET_PAGE,
  LH_OVERFLOW_PAGE,
  LH_PAGE_HAS_DEAD_TUPLES,
  LH_PAGE_TYPE,
  setBitmapBit,
  setHashFlags,
  setHashNext,
  setHashPrevious,
  setSpares,
} from './hash-page.ts';
import { loggedTupleSize } from './index-tuple.ts';
import {
  blockOfId,
  needData,
  needMain,
  requiredBlock,
  typeOf,
  type ResourceManager,
} from './resource-manager.ts';

export const XLOG_HASH_INIT_META_PAGE = 0x00;
export const XLOG_HASH_INIT_BITMAP_PAGE = 0x10;
export const XLOG_HASH_INSERT = 0x20;
export const XLOG_HASH_ADD_OVFL_PAGE = 0x30;
export const XLOG_HASH_SPLIT_ALLOCATE_PAGE = 0x40;
export const XLOG_HASH_SPLIT_PAGE = 0x50;
export const XLOG_HASH_SPLIT_COMPLETE = 0x60;
export const XLOG_HASH_MOVE_PAGE_CONTENTS = 0x70;
export const XLOG_HASH_SQUEEZE_PAGE = 0x80;
export const XLOG_HASH_DELETE = 0x90;
export const XLOG_HASH_SPLIT_CLEANUP = 0xa0;
export const XLOG_HASH_UPDATE_META_PAGE = 0xb0;
export const XLOG_HASH_VACUUM_ONE_PAGE = 0xc0;

const XLH_SPLIT_META_UPDATE_MASKS = 0x01;
const XLH_SPLIT_META_UPDATE_SPLITPOINT = 0x02;

export const hash: ResourceManager = {
  redo(record: WalRecord, block: BlockReference, page: Page): boolean {
    if (!block.willInit) checkHashPage(page);
    return apply(record, block, page);
  },
  afterImage(record: WalRecord, block: BlockReference, page: Page): void {
    // Both change bucket flags even where the page came from an image.
    if (typeOf(record) === XLOG_HASH_SPLIT_ALLOCATE_PAGE && block.id === 0)
      splitAllocate(record, block, page);
    if (typeOf(record) === XLOG_HASH_SPLIT_COMPLETE) splitComplete(record, block, page);
  },
  masks: [
    LSN_AND_CHECKSUM,
    UNUSED_SPACE,
    {
      what: 'line pointer flags of buckets',
      apply: (page) => {
        checkHashPage(page);
        const type = hashFlags(page) & LH_PAGE_TYPE;
        if (type === LH_BUCKET_PAGE || type === LH_OVERFLOW_PAGE) maskLinePointerFlags(page);
      },
    },
    {
      what: 'LH_PAGE_HAS_DEAD_TUPLES',
      apply: (page) => setHashFlags(page, hashFlags(page) & ~LH_PAGE_HAS_DEAD_TUPLES),
    },
  ],
};

function apply(record: WalRecord, block: BlockReference, page: Page): boolean {
  const { data, mainStart: main } = record;
  switch (typeOf(record)) {
    case XLOG_HASH_INIT_META_PAGE:
      needMain(record, 14);
      initHashMeta(
        page,
        data.getFloat64(main, true),
        data.getUint32(main + 8, true),
        data.getUint16(main + 12, true),
      );
      return true;
    case XLOG_HASH_INIT_BITMAP_PAGE:
      needMain(record, 2);
      if (block.id === 0) initBitmapPage(page, data.getUint16(main, true));
      else addBitmap(page, hashMeta(page).maxBucket + 2);
      return true;
    case XLOG_HASH_INSERT:
      needMain(record, 2);
      if (block.id === 0)
        addItem(page, record.bytes, block.dataStart, block.dataLength, data.getUint16(main, true));
      else hashMeta(page).tuples++;
      return true;
    case XLOG_HASH_ADD_OVFL_PAGE:
      return addOverflowPage(record, block, page);
    case XLOG_HASH_SPLIT_ALLOCATE_PAGE:
      return splitAllocate(record, block, page);
    case XLOG_HASH_SPLIT_PAGE:
      throw new MalformedRecord(`block ${block.id} has no full-page image`);
    case XLOG_HASH_SPLIT_COMPLETE:
      return splitComplete(record, block, page);
    case XLOG_HASH_MOVE_PAGE_CONTENTS:
      return movePageContents(record, block, page);
    case XLOG_HASH_SQUEEZE_PAGE:
      return squeezePage(record, block, page);
    case XLOG_HASH_DELETE:
      return deleteTuples(record, block, page);
    case XLOG_HASH_SPLIT_CLEANUP:
      setHashFlags(page, hashFlags(page) & ~LH_BUCKET_NEEDS_SPLIT_CLEANUP);
      return true;
    case XLOG_HASH_UPDATE_META_PAGE:
      needMain(record, 8);
      hashMeta(page).tuples = data.getFloat64(main, true);
      return true;
    case XLOG_HASH_VACUUM_ONE_PAGE:
      return vacuumOnePage(record, block, page);
    default:
      throw new UnsupportedRecord('no such type');
  }
}

/** The block's data, which is one u32. */
function u32Of(record: WalRecord, block: BlockReference): number {
  needData(block, 4);
  return record.data.getUint32(block.dataStart, true);
}

/** xl_hash_add_ovfl_page: u16 bmsize, bool bmpage_found. Blocks: new page, page before, bitmap, new bitmap, metapage. */
function addOverflowPage(record: WalRecord, block: BlockReference, page: Page): boolean {
  needMain(record, 3);
  const { data, mainStart: main } = record;
  switch (block.id) {
    case 0:
      initHashPage(page, {
        previous: requiredBlock(record, 1).block,
        bucket: u32Of(record, block),
        flags: LH_OVERFLOW_PAGE,
      });
      return true;
    case 1:
      setHashNext(page, requiredBlock(record, 0).block);
      return true;
    case 2:
      setBitmapBit(page, u32Of(record, block), true);
      return true;
    case 3:
      initBitmapPage(page, data.getUint16(main, true));
      return true;
    default: {
      const meta = hashMeta(page);
      meta.firstFree = u32Of(record, block);
      if (data.getUint8(main + 2) !== 0) return true; // a freed page was taken again
      const newBitmap = blockOfId(record, 3);
      if (newBitmap !== undefined) addBitmap(page, newBitmap.block);
      setSpares(page, meta.overflowPoint, (spares) => spares + (newBitmap === undefined ? 1 : 2));
      return true;
    }
  }
}

/**
 * xl_hash_split_allocate_page: u32 new_bucket, u16 old_bucket_flag, u16 new_bucket_flag, u8 flags. The metapage's data: u32
 * lowmask, highmask if one flag is set; u32 ovflpoint, spares if the other is.
 */
function splitAllocate(record: WalRecord, block: BlockReference, page: Page): boolean {
  needMain(record, 9);
  const { data, mainStart: main } = record;
  const newBucket = data.getUint32(main, true);
  const flags = data.getUint8(main + 8);
  if (block.id === 0) {
    setHashFlags(page, data.getUint16(main + 4, true));
    setHashPrevious(page, newBucket);
    return true;
  }
  if (block.id === 1) {
    initHashPage(page, { previous: newBucket, bucket: newBucket, flags: data.getUint16(main + 6, true) });
    return true;
  }
  const meta = hashMeta(page);
  meta.maxBucket = newBucket;
  let at = block.dataStart;
  const end = at + block.dataLength;
  const next = () => {
    if (at + 4 > end) throw new MalformedRecord('the data of the metapage is too short');
    at += 4;
    return data.getUint32(at - 4, true);
  };
  if (flags & XLH_SPLIT_META_UPDATE_MASKS) {
    meta.lowMask = next();
    meta.highMask = next();
  }
  if (flags & XLH_SPLIT_META_UPDATE_SPLITPOINT) {
    const point = next();
    const spares = next();
    setSpares(page, point, () => spares);
    meta.overflowPoint = point;
  }
  return true;
}

/** xl_hash_split_complete: u16 old_bucket_flag, u16 new_bucket_flag. */
function splitComplete(record: WalRecord, block: BlockReference, page: Page): boolean {
  needMain(record, 4);
  setHashFlags(page, record.data.getUint16(record.mainStart + (block.id === 0 ? 0 : 2), true));
  return true;
}

/** Adds the tuples in the block's data: `count` offset numbers, then as many tuples. */
function addTuples(record: WalRecord, block: BlockReference, page: Page, count: number): void {
  needData(block, 2 * count);
  const end = block.dataStart + block.dataLength;
  let at = block.dataStart + 2 * count;
  for (let i = 0; i < count; i++) {
    const size = loggedTupleSize(record.data, at, end);
    const offsetNumber = record.data.getUint16(block.dataStart + 2 * i, true);
    if (offsetNumber === 0) throw new MalformedRecord('offset number 0');
    addItem(page, record.bytes, at, size, offsetNumber);
    at += size;
  }
  if (at !== end) throw new MalformedRecord(`${end - at} bytes follow ${count} tuples`);
}

/** Removes the tuples whose offset numbers are the block's data. */
function removeLogged(record: WalRecord, block: BlockReference, page: Page): void {
  deleteIndexTuples(page, record.data, block.dataStart, block.dataLength >>> 1);
}

/** xl_hash_move_page_contents: u16 ntups, bool is_prim_bucket_same_wrt. Blocks: bucket, to, from. */
function movePageContents(record: WalRecord, block: BlockReference, page: Page): boolean {
  needMain(record, 3);
  if (block.id === 0) return false;
  if (block.id === 1) {
    const count = record.data.getUint16(record.mainStart, true);
    if (count > 0) addTuples(record, block, page, count);
  } else {
    removeLogged(record, block, page);
  }
  return true;
}

/**
 * xl_hash_squeeze_page: u32 prevblkno, nextblkno, u16 ntups, bool is_prim_bucket_same_wrt, is_prev_bucket_same_wrt.
 * Blocks: bucket, to, freed, before, after, bitmap, metapage.
 */
function squeezePage(record: WalRecord, block: BlockReference, page: Page): boolean {
  needMain(record, 12);
  const { data, mainStart: main } = record;
  const next = data.getUint32(main + 4, true);
  switch (block.id) {
    case 0:
      return false;
    case 1: {
      const count = data.getUint16(main + 8, true);
      const isBefore = data.getUint8(main + 11) !== 0;
      if (count > 0) addTuples(record, block, page, count);
      if (isBefore) setHashNext(page, next);
      return count > 0 || isBefore;
    }
    case 2:
      initUnusedPage(page);
      return true;
    case 3:
      setHashNext(page, next);
      return true;
    case 4:
      setHashPrevious(page, data.getUint32(main, true));
      return true;
    case 5:
      setBitmapBit(page, u32Of(record, block), false);
      return true;
    default:
      hashMeta(page).firstFree = u32Of(record, block);
      return true;
  }
}

/** xl_hash_delete: bool clear_dead_marking, bool is_primary_bucket_page. */
function deleteTuples(record: WalRecord, block: BlockReference, page: Page): boolean {
  needMain(record, 2);
  if (block.id === 0) return false;
  removeLogged(record, block, page);
  if (record.data.getUint8(record.mainStart) !== 0) {
    setHashFlags(page, hashFlags(page) & ~LH_PAGE_HAS_DEAD_TUPLES);
  }
  return true;
}

/** xl_hash_vacuum_one_page: u32 snapshotConflictHorizon, u16 ntuples, bool isCatalogRel, padding, offset numbers. */
function vacuumOnePage(record: WalRecord, block: BlockReference, page: Page): boolean {
  needMain(record, 8);
  const count = record.data.getUint16(record.mainStart + 4, true);
  needMain(record, 8 + 2 * count);
  if (block.id === 0) {
    deleteIndexTuples(page, record.data, record.mainStart + 8, count);
    setHashFlags(page, hashFlags(page) & ~LH_PAGE_HAS_DEAD_TUPLES);
  } else {
    hashMeta(page).tuples -= count;
  }
  return true;
}
