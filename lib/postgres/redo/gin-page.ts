/**
 * GIN pages: the special space, the metapage, inner pages of posting trees.
 *
 * Source: access/ginblock.h; GinInitPage and GinInitMetabuffer in access/gin/ginutil.c, GinDataPageAddPostingItem in
 * gindatapage.c.
 */
import {
  copyBytes,
  initPage,
  PAGE_BYTES,
  PAGE_HEADER_BYTES,
  PageError,
  pageSpecial,
  setPageLower,
  type Page,
} from '../page/page.ts';
import { TID_BYTES } from './index-tuple.ts';

/** Flags of the special space. */
export const GIN_DATA = 0x0001;
export const GIN_LEAF = 0x0002;
export const GIN_DELETED = 0x0004;
export const GIN_META = 0x0008;
export const GIN_LIST = 0x0010;
export const GIN_LIST_FULLROW = 0x0020;
export const GIN_INCOMPLETE_SPLIT = 0x0040;
export const GIN_COMPRESSED = 0x0080;

export const NO_BLOCK = 0xffff_ffff;
/** GinPageOpaqueData: u32 rightlink, u16 maxoff, u16 flags. */
const OPAQUE_BYTES = 8;
const OPAQUE = PAGE_BYTES - OPAQUE_BYTES;
/** Where the special space begins. */
export const GIN_PAGE_END = OPAQUE;
/** Where posting items or posting lists begin: behind the right bound. */
export const GIN_DATA_START = PAGE_HEADER_BYTES + 8;
/** sizeof(GinMetaPageData). */
export const GIN_META_BYTES = 56;
/** PostingItem: a block number and a TID. */
const POSTING_ITEM_BYTES = 4 + TID_BYTES;

export function checkGinPage(page: Page): void {
  if (pageSpecial(page) !== OPAQUE) throw new PageError(`pd_special ${pageSpecial(page)}: no GIN page`);
}
export const setRightLink = ({ data }: Page, block: number): void => data.setUint32(OPAQUE, block, true);
export const ginCount = ({ data }: Page): number => data.getUint16(OPAQUE + 4, true);
export const setGinCount = ({ data }: Page, count: number): void => data.setUint16(OPAQUE + 4, count, true);
export const ginFlags = ({ data }: Page): number => data.getUint16(OPAQUE + 6, true);
export const setGinFlags = ({ data }: Page, flags: number): void => data.setUint16(OPAQUE + 6, flags, true);

/** GinInitPage. */
export function initGinPage(page: Page, flags: number): void {
  initPage(page, OPAQUE_BYTES);
  setRightLink(page, NO_BLOCK);
  setGinFlags(page, flags);
}

/** The metapage with the GinMetaPageData at `from[at]`. */
export function initGinMeta(page: Page, from: Uint8Array, at: number): void {
  initGinPage(page, GIN_META);
  copyBytes(from, at, page.bytes, PAGE_HEADER_BYTES, GIN_META_BYTES);
  setPageLower(page, PAGE_HEADER_BYTES + GIN_META_BYTES);
}

/** GinDataPageSetDataSize. Throws PageError when so much does not fit. */
export function setDataSize(page: Page, bytes: number): void {
  if (GIN_DATA_START + bytes > OPAQUE) throw new PageError(`${bytes} bytes of posting data do not fit`);
  setPageLower(page, GIN_DATA_START + bytes);
}

function postingItemAt(page: Page, offset: number, count: number): number {
  const at = GIN_DATA_START + (offset - 1) * POSTING_ITEM_BYTES;
  const end = GIN_DATA_START + count * POSTING_ITEM_BYTES;
  if (offset < 1 || offset > count || end > OPAQUE || ginFlags(page) & GIN_LEAF) {
    throw new PageError(
      `posting item ${offset} of ${count}, GIN page flags 0x${ginFlags(page).toString(16)}`,
    );
  }
  return at;
}

/** Gives the child of item `offset` another block, and inserts the posting item at `from[at]` before it. */
export function insertPostingItem(
  page: Page,
  offset: number,
  child: number,
  from: Uint8Array,
  at: number,
): void {
  const count = ginCount(page);
  const old = postingItemAt(page, offset, count);
  page.data.setUint16(old, child >>> 16, true);
  page.data.setUint16(old + 2, child & 0xffff, true);
  const place = postingItemAt(page, offset, count + 1);
  const end = GIN_DATA_START + count * POSTING_ITEM_BYTES;
  page.bytes.copyWithin(place + POSTING_ITEM_BYTES, place, end);
  copyBytes(from, at, page.bytes, place, POSTING_ITEM_BYTES);
  setGinCount(page, count + 1);
  setDataSize(page, (count + 1) * POSTING_ITEM_BYTES);
}

/** GinPageDeletePostingItem. */
export function deletePostingItem(page: Page, offset: number): void {
  const count = ginCount(page);
  const at = postingItemAt(page, offset, count);
  const end = GIN_DATA_START + count * POSTING_ITEM_BYTES;
  page.bytes.copyWithin(at, at + POSTING_ITEM_BYTES, end);
  setGinCount(page, count - 1);
  setDataSize(page, (count - 1) * POSTING_ITEM_BYTES);
}
