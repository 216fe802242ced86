/** Places in pages and segments where a WAL can end that are special to the record written behind it. */
import { formatLsn, lsn, type Lsn } from '../../lib/postgres/lsn.ts';
import { WAL_PAGE_BYTES, WAL_SEGMENT_BYTES } from '../../lib/postgres/wal/geometry.ts';

export interface BootCorner {
  name: string;
  position: Lsn;
  text: string;
}

/** The record is 114 bytes, 120 aligned. Each corner lies in segments of its own, in rising order from `from` on. */
export function bootCorners(from: Lsn): BootCorner[] {
  const page = 5 * WAL_PAGE_BYTES;
  const corners: [name: string, offset: number][] = [
    ['a segment start', 0],
    ['the middle of a first page', 4000],
    ['the middle of a page', page + 1000],
    ['an unaligned position', page + 1003],
    ['a page start', page],
    ['120 bytes before a page end: it just fits', page + WAL_PAGE_BYTES - 120],
    ['112 bytes before a page end: two bytes are left over', page + WAL_PAGE_BYTES - 112],
    ['24 bytes before a page end: only its header fits', page + WAL_PAGE_BYTES - 24],
    ['16 bytes before a page end: its header is cut', page + WAL_PAGE_BYTES - 16],
    ['8 bytes before a page end', page + WAL_PAGE_BYTES - 8],
    ['the middle of a last page', WAL_SEGMENT_BYTES - 4000],
    ['120 bytes before a segment end: it just fits', WAL_SEGMENT_BYTES - 120],
    ['24 bytes before a segment end: only its header fits', WAL_SEGMENT_BYTES - 24],
    ['8 bytes before a segment end', WAL_SEGMENT_BYTES - 8],
  ];
  return corners.map(([name, offset], i) => {
    const position = lsn(from + 3 * i * WAL_SEGMENT_BYTES + offset);
    return { name, position, text: formatLsn(position) };
  });
}
