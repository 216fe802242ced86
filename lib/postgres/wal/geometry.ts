/**
 * How WAL lies in pages and segments.
 *
 *   segment (16 MiB)  ┌ long header 40 ┬ records … ┐┌ header 24 ┬ records … ┐┌ header 24 ┬ …
 *                     └──────── page 8192 ─────────┘└────────── page ───────┘
 *
 * Records begin at multiples of eight and run over page headers. Source: access/xlog_internal.h.
 */
import { alignUp, lsn, type Lsn } from '../lsn.ts';

/** XLOG_BLCKSZ. */
export const WAL_PAGE_BYTES = 8192;
/** DEFAULT_XLOG_SEG_SIZE, in bytes. */
export const WAL_SEGMENT_BYTES = 16 << 20;
/** SizeOfXLogShortPHD and SizeOfXLogLongPHD. */
export const PAGE_HEADER_BYTES = 24;
export const LONG_PAGE_HEADER_BYTES = 40;

/** Header bytes of the page that begins at `page` (a multiple of the page size). */
export const pageHeaderBytes = (page: Lsn, segmentBytes = WAL_SEGMENT_BYTES): number =>
  page % segmentBytes === 0 ? LONG_PAGE_HEADER_BYTES : PAGE_HEADER_BYTES;

export const segmentNumber = (position: Lsn, segmentBytes = WAL_SEGMENT_BYTES): number =>
  Math.floor(position / segmentBytes);
export const segmentStart = (position: Lsn, segmentBytes = WAL_SEGMENT_BYTES): Lsn =>
  lsn(position - (position % segmentBytes));

/**
 * Where a record begins that follows an end position: aligned, and behind the page header if `end` is a page's
 * first byte.
 */
export function recordStart(end: Lsn, segmentBytes = WAL_SEGMENT_BYTES): Lsn {
  const aligned = lsn(alignUp(end, 8));
  if (aligned % WAL_PAGE_BYTES !== 0) return aligned;
  return lsn(aligned + pageHeaderBytes(aligned, segmentBytes));
}

/** The same as an end position where `position` is just behind a page's header, as pg_current_wal_insert_lsn() gives it. */
export function beforePageHeader(position: Lsn, segmentBytes = WAL_SEGMENT_BYTES): Lsn {
  const page = lsn(position - (position % WAL_PAGE_BYTES));
  return position - page <= pageHeaderBytes(page, segmentBytes) ? page : position;
}

/** The end position of a record of `length` bytes that begins at `start`: aligned, over the page headers within. */
export function recordEnd(start: Lsn, length: number, segmentBytes = WAL_SEGMENT_BYTES): Lsn {
  let position = start as number;
  let rest = alignUp(length, 8);
  for (;;) {
    if (position % WAL_PAGE_BYTES === 0 && rest > 0) position += pageHeaderBytes(lsn(position), segmentBytes);
    const room = WAL_PAGE_BYTES - (position % WAL_PAGE_BYTES);
    if (rest <= room) return lsn(position + rest);
    position += room;
    rest -= room;
  }
}

const hex8 = (value: number): string => value.toString(16).toUpperCase().padStart(8, '0');

/** XLogFileName: timeline, then the segment number in two parts, 24 hexadecimal digits. */
export function segmentFileName(
  timelineId: number,
  segment: number,
  segmentBytes = WAL_SEGMENT_BYTES,
): string {
  const perId = 0x1_0000_0000 / segmentBytes;
  return hex8(timelineId) + hex8(Math.floor(segment / perId)) + hex8(segment % perId);
}

/** XLogFromFileName; null when `name` is not a segment's. */
export function parseSegmentFileName(
  name: string,
  segmentBytes = WAL_SEGMENT_BYTES,
): { timelineId: number; segment: number; start: Lsn } | null {
  const match = /^([0-9A-F]{8})([0-9A-F]{8})([0-9A-F]{8})$/.exec(name);
  if (!match) return null;
  const [timelineId, high, low] = match.slice(1).map((part) => Number.parseInt(part, 16));
  const perId = 0x1_0000_0000 / segmentBytes;
  if (low >= perId) return null;
  const segment = high * perId + low;
  return { timelineId, segment, start: lsn(segment * segmentBytes) };
}
