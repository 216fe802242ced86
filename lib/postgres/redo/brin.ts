/**
 * BRIN: summaries of block ranges, and the map from ranges to them.
 *
 * Source: brin_redo in access/brin/brin_xlog.c, layouts in access/brin_xlog.h and brin_page.h, brinSetHeapBlockItemptr in
 * brin_revmap.c.
 */
import { addItem, PAI_OVERWRITE } from '../page/add-item.ts';
import { deleteIndexTupleKeepingPointers, resizeIndexTuple } from '../page/compact.ts';
import { LSN_AND_CHECKSUM, maskUnusedSpace } from '../page/mask.ts';
import {
  copyBytes,
  initPage,
  PAGE_BYTES,
  PAGE_HEADER_BYTES,
  PageError,
  pageLower,
  pageSpecial,
  setPageLower,
  type Page,
} from '../page/page.ts';
import type { BlockReference, WalRecord } from '../wal/record.ts';
import { MalformedRecord, UnsupportedRecord } from './errors.ts';
import { checkOffsetNumber } from './heap.ts';
import { setTidBlock, setTidOffset, TID_BYTES } from './index-tuple.ts';
import { needMain, requiredBlock, type ResourceManager } from './resource-manager.ts';

export const XLOG_BRIN_CREATE_INDEX = 0x00;
export const XLOG_BRIN_INSERT = 0x10;
export const XLOG_BRIN_UPDATE = 0x20;
export const XLOG_BRIN_SAMEPAGE_UPDATE = 0x30;
export const XLOG_BRIN_REVMAP_EXTEND = 0x40;
export const XLOG_BRIN_DESUMMARIZE = 0x50;
export const XLOG_BRIN_OPMASK = 0x70;
export const XLOG_BRIN_INIT_PAGE = 0x80;

const PAGE_TYPE_META = 0xf091;
const PAGE_TYPE_REVMAP = 0xf092;
const PAGE_TYPE_REGULAR = 0xf093;
const BRIN_EVACUATE_PAGE = 0x01;
const BRIN_META_MAGIC = 0xa8109cfa;
const NO_BLOCK = 0xffff_ffff;
/** BrinMetaPageData: u32 magic, u32 version, u32 pagesPerRange, u32 lastRevmapPage. */
const META_BYTES = 16;
/** BrinSpecialSpace: four u16, of which the last is the page's type and the one before it its flags. */
const SPECIAL_BYTES = 8;
const SPECIAL = PAGE_BYTES - SPECIAL_BYTES;
/** REVMAP_PAGE_MAXITEMS. */
const REVMAP_ITEMS = Math.floor((SPECIAL - PAGE_HEADER_BYTES) / TID_BYTES);

const pageType = ({ data }: Page): number => data.getUint16(PAGE_BYTES - 2, true);
function initBrinPage(page: Page, type: number): void {
  initPage(page, SPECIAL_BYTES);
  page.data.setUint16(PAGE_BYTES - 2, type, true);
}

export const brin: ResourceManager = {
  redo(record: WalRecord, block: BlockReference, page: Page): boolean {
    if (!block.willInit && pageSpecial(page) !== SPECIAL) {
      throw new PageError(`pd_special ${pageSpecial(page)}: no BRIN page`);
    }
    apply(record, block, page);
    return true;
  },
  masks: [
    LSN_AND_CHECKSUM,
    {
      what: 'unused space of summaries and of the metapage',
      apply: (page) => {
        const type = pageType(page);
        const hasHole = type === PAGE_TYPE_META && pageLower(page) > PAGE_HEADER_BYTES;
        if (type === PAGE_TYPE_REGULAR || hasHole) maskUnusedSpace(page);
      },
    },
    {
      what: 'BRIN_EVACUATE_PAGE',
      apply: ({ data }) =>
        data.setUint16(PAGE_BYTES - 4, data.getUint16(PAGE_BYTES - 4, true) & ~BRIN_EVACUATE_PAGE, true),
    },
  ],
};

function apply(record: WalRecord, block: BlockReference, page: Page): void {
  const { data, mainStart: main } = record;
  switch (record.info & XLOG_BRIN_OPMASK) {
    case XLOG_BRIN_CREATE_INDEX:
      needMain(record, 6);
      initMeta(page, data.getUint32(main, true), data.getUint16(main + 4, true));
      return;
    case XLOG_BRIN_INSERT:
      insert(record, block, page, main);
      return;
    case XLOG_BRIN_UPDATE:
      needMain(record, 14);
      if (block.id === 2) deleteIndexTupleKeepingPointers(page, data.getUint16(main, true));
      else insert(record, block, page, main + 4);
      return;
    case XLOG_BRIN_SAMEPAGE_UPDATE: {
      needMain(record, 2);
      const at = resizeIndexTuple(page, data.getUint16(main, true), block.dataLength);
      copyBytes(record.bytes, block.dataStart, page.bytes, at, block.dataLength);
      return;
    }
    case XLOG_BRIN_REVMAP_EXTEND:
      if (block.id === 1) initBrinPage(page, PAGE_TYPE_REVMAP);
      else extendRevmap(page, requiredBlock(record, 1).block);
      return;
    case XLOG_BRIN_DESUMMARIZE:
      needMain(record, 10);
      if (block.id === 1) deleteIndexTupleKeepingPointers(page, data.getUint16(main + 8, true));
      else setRangeTid(page, data.getUint32(main, true), data.getUint32(main + 4, true), NO_BLOCK, 0);
      return;
    default:
      throw new UnsupportedRecord('no such type');
  }
}

function initMeta(page: Page, pagesPerRange: number, version: number): void {
  initBrinPage(page, PAGE_TYPE_META);
  page.data.setUint32(PAGE_HEADER_BYTES, BRIN_META_MAGIC, true);
  page.data.setUint32(PAGE_HEADER_BYTES + 4, version, true);
  page.data.setUint32(PAGE_HEADER_BYTES + 8, pagesPerRange, true);
  setPageLower(page, PAGE_HEADER_BYTES + META_BYTES);
}

function extendRevmap(page: Page, block: number): void {
  page.data.setUint32(PAGE_HEADER_BYTES + 12, block, true);
  setPageLower(page, PAGE_HEADER_BYTES + META_BYTES);
}

/** xl_brin_insert: u32 heapBlk, u32 pagesPerRange, u16 offnum. Blocks: page of the summary, page of the map. */
function insert(record: WalRecord, block: BlockReference, page: Page, main: number): void {
  needMain(record, main - record.mainStart + 10);
  const { data } = record;
  const offsetNumber = data.getUint16(main + 8, true);
  if (block.id === 1) {
    const summary = requiredBlock(record, 0).block;
    setRangeTid(page, data.getUint32(main + 4, true), data.getUint32(main, true), summary, offsetNumber);
    return;
  }
  if (record.info & XLOG_BRIN_INIT_PAGE) initBrinPage(page, PAGE_TYPE_REGULAR);
  checkOffsetNumber(page, offsetNumber);
  addItem(page, record.bytes, block.dataStart, block.dataLength, offsetNumber, PAI_OVERWRITE);
}

/** Where the summary of the range of `heapBlock` is. */
function setRangeTid(
  page: Page,
  pagesPerRange: number,
  heapBlock: number,
  block: number,
  offsetNumber: number,
): void {
  if (pagesPerRange === 0) throw new MalformedRecord('ranges of 0 pages');
  const index = Math.floor(heapBlock / pagesPerRange) % REVMAP_ITEMS;
  const at = PAGE_HEADER_BYTES + index * TID_BYTES;
  setTidBlock(page.data, at, block);
  setTidOffset(page.data, at, offsetNumber);
}
