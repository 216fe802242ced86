/**
 * Hash index pages: the special space, the metapage, bitmaps of overflow pages.
 *
 * Source: access/hash.h; _hash_init_metabuffer and _hash_initbuf in access/hash/hashpage.c, _hash_initbitmapbuffer in
 * hashovfl.c, _hash_spareindex and _hash_get_totalbuckets in hashutil.c.
 */
import {
  initPage,
  PAGE_BYTES,
  PAGE_HEADER_BYTES,
  PageError,
  pageSpecial,
  setPageLower,
  type Page,
} from '../page/page.ts';
import { layout, f64, u16, u32 } from '../layout.ts';
import { MalformedRecord } from './errors.ts';

/** hasho_flag. */
export const LH_OVERFLOW_PAGE = 0x01;
export const LH_BUCKET_PAGE = 0x02;
export const LH_BITMAP_PAGE = 0x04;
export const LH_META_PAGE = 0x08;
export const LH_BUCKET_NEEDS_SPLIT_CLEANUP = 0x40;
export const LH_PAGE_HAS_DEAD_TUPLES = 0x80;
export const LH_PAGE_TYPE = 0x0f;

export const NO_BLOCK = 0xffff_ffff;
const NO_BUCKET = 0xffff_ffff;
const HASHO_PAGE_ID = 0xff80;
/** HashPageOpaqueData: u32 hasho_prevblkno, u32 hasho_nextblkno, u32 hasho_bucket, u16 hasho_flag, u16 hasho_page_id. */
const OPAQUE_BYTES = 16;
const OPAQUE = PAGE_BYTES - OPAQUE_BYTES;

export function checkHashPage(page: Page): void {
  if (pageSpecial(page) !== OPAQUE)
    throw new PageError(`pd_special ${pageSpecial(page)}: no hash index page`);
}
export const setHashPrevious = ({ data }: Page, block: number): void => data.setUint32(OPAQUE, block, true);
export const setHashNext = ({ data }: Page, block: number): void => data.setUint32(OPAQUE + 4, block, true);
export const hashFlags = ({ data }: Page): number => data.getUint16(OPAQUE + 12, true);
export const setHashFlags = ({ data }: Page, flags: number): void => data.setUint16(OPAQUE + 12, flags, true);

/** _hash_pageinit, with the fields of the special space. */
export function initHashPage(page: Page, fields: { previous: number; bucket: number; flags: number }): void {
  initPage(page, OPAQUE_BYTES);
  setHashPrevious(page, fields.previous);
  setHashNext(page, NO_BLOCK);
  page.data.setUint32(OPAQUE + 8, fields.bucket, true);
  setHashFlags(page, fields.flags);
  page.data.setUint16(OPAQUE + 14, HASHO_PAGE_ID, true);
}
/** A freed overflow page. */
export const initUnusedPage = (page: Page): void =>
  initHashPage(page, { previous: NO_BLOCK, bucket: NO_BUCKET, flags: 0 });

/** A bitmap of overflow pages, all of them in use. */
export function initBitmapPage(page: Page, bytes: number): void {
  if (PAGE_HEADER_BYTES + bytes > OPAQUE) throw new MalformedRecord(`a bitmap of ${bytes} bytes`);
  initHashPage(page, { previous: NO_BLOCK, bucket: NO_BUCKET, flags: LH_BITMAP_PAGE });
  page.bytes.fill(0xff, PAGE_HEADER_BYTES, PAGE_HEADER_BYTES + bytes);
  setPageLower(page, PAGE_HEADER_BYTES + bytes);
}
/** Marks overflow page number `bit` of this bitmap as used or free. */
export function setBitmapBit(page: Page, bit: number, used: boolean): void {
  const at = PAGE_HEADER_BYTES + (bit >>> 3);
  if (at >= OPAQUE) throw new MalformedRecord(`bit ${bit} of a bitmap page`);
  const mask = 1 << (bit & 7);
  page.bytes[at] = used ? page.bytes[at] | mask : page.bytes[at] & ~mask;
}

const SPLIT_POINTS_MAX = 98;
const BITMAPS_MAX = 1024;
/** HashMetaPageData up to its arrays; hashm_spares and hashm_mapp follow. */
const Meta = layout('HashMetaPageData', 52 + 4, {
  magic: u32,
  version: u32,
  tuples: f64,
  fillFactor: u16,
  pageBytes: u16,
  bitmapBytes: u16,
  bitmapShift: u16,
  maxBucket: u32,
  highMask: u32,
  lowMask: u32,
  overflowPoint: u32,
  firstFree: u32,
  bitmaps: u32,
  procedure: u32,
  firstSpare: u32,
});
const SPARES = PAGE_HEADER_BYTES + 52;
const MAPS = SPARES + 4 * SPLIT_POINTS_MAX;
const META_BYTES = 4544;
const HASH_MAGIC = 0x6440640;
const HASH_VERSION = 4;

/** The fields of the metapage, read and written in place. */
export const hashMeta = (page: Page) => Meta.over(page.bytes, PAGE_HEADER_BYTES);

/** hashm_spares[splitPoint]. Throws PageError beyond its end. */
export function setSpares({ data }: Page, splitPoint: number, change: (spares: number) => number): void {
  if (splitPoint >= SPLIT_POINTS_MAX) throw new PageError(`hash split point ${splitPoint}`);
  const at = SPARES + 4 * splitPoint;
  data.setUint32(at, change(data.getUint32(at, true)), true);
}
/** Appends to hashm_mapp, the blocks of the bitmaps. */
export function addBitmap(page: Page, block: number): void {
  const meta = hashMeta(page);
  if (meta.bitmaps >= BITMAPS_MAX) throw new PageError(`a hash index with ${meta.bitmaps} bitmaps`);
  page.data.setUint32(MAPS + 4 * meta.bitmaps, block, true);
  meta.bitmaps++;
}

const SINGLE_PHASE_GROUPS = 10;
const PHASE_BITS = 2;
const PHASE_MASK = 3;
const ceilLog2 = (value: number): number => (value < 2 ? 0 : 32 - Math.clz32(value - 1));

/** _hash_spareindex: the split point phase of a bucket. */
function spareIndex(buckets: number): number {
  const group = ceilLog2(buckets);
  if (group < SINGLE_PHASE_GROUPS) return group;
  const before = SINGLE_PHASE_GROUPS + ((group - SINGLE_PHASE_GROUPS) << PHASE_BITS);
  return before + (((buckets - 1) >>> (group - (PHASE_BITS + 1))) & PHASE_MASK);
}
/** _hash_get_totalbuckets. */
function totalBuckets(phase: number): number {
  if (phase < SINGLE_PHASE_GROUPS) return 1 << phase;
  const group = SINGLE_PHASE_GROUPS + ((phase - SINGLE_PHASE_GROUPS) >>> PHASE_BITS);
  const within = ((phase - SINGLE_PHASE_GROUPS) & PHASE_MASK) + 1;
  return 2 ** (group - 1) + (2 ** (group - 1) / 4) * within;
}

/** The metapage of a new index for about `tuples` tuples. */
export function initHashMeta(page: Page, tuples: number, procedure: number, fillFactor: number): void {
  if (!(tuples >= 0) || fillFactor === 0) {
    throw new MalformedRecord(`a hash index for ${tuples} tuples, fill factor ${fillFactor}`);
  }
  const wanted = tuples / fillFactor;
  const buckets =
    wanted <= 2 ? 2 : wanted >= 0x4000_0000 ? 0x4000_0000 : totalBuckets(spareIndex(Math.trunc(wanted)));
  const spare = spareIndex(buckets);
  initHashPage(page, { previous: NO_BLOCK, bucket: NO_BUCKET, flags: LH_META_PAGE });
  const meta = hashMeta(page);
  meta.magic = HASH_MAGIC;
  meta.version = HASH_VERSION;
  meta.fillFactor = fillFactor;
  meta.pageBytes = PAGE_BYTES - PAGE_HEADER_BYTES - OPAQUE_BYTES;
  const shift = 31 - Math.clz32(meta.pageBytes);
  meta.bitmapBytes = 1 << shift;
  meta.bitmapShift = shift + 3;
  meta.procedure = procedure;
  meta.maxBucket = buckets - 1;
  meta.highMask = 2 ** ceilLog2(buckets + 1) - 1;
  meta.lowMask = meta.highMask >>> 1;
  meta.overflowPoint = spare;
  setSpares(page, spare, () => 1);
  setPageLower(page, PAGE_HEADER_BYTES + META_BYTES);
}
