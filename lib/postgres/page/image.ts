/**
 * Full-page images: the page as it was, without its hole, possibly compressed.
 *
 * The Postgres that Ebb ships is built with neither LZ4 nor Zstandard, so it cannot write those; such an image is refused.
 *
 * Source: RestoreBlockImage in access/transam/xlogreader.c.
 */
import {
  BKPIMAGE_COMPRESS_LZ4,
  BKPIMAGE_COMPRESS_PGLZ,
  BKPIMAGE_COMPRESS_ZSTD,
} from '../wal/decode-record.ts';
import type { BlockReference, WalRecord } from '../wal/record.ts';
import { PAGE_BYTES, PageError } from './page.ts';
import { pglzDecompress } from './pglz.ts';

const scratch = new Uint8Array(PAGE_BYTES);

/** Writes the image of `block` over `page` (8192 bytes). Its LSN is the one of before the record. Throws PageError. */
export function restoreImage(record: WalRecord, block: BlockReference, page: Uint8Array): void {
  const { imageInfo, imageStart, imageLength, holeOffset, holeLength } = block;
  let from = record.bytes;
  let start = imageStart;
  const size = PAGE_BYTES - holeLength;
  if (imageInfo & BKPIMAGE_COMPRESS_PGLZ) {
    pglzDecompress(record.bytes, imageStart, imageLength, scratch, size);
    from = scratch;
    start = 0;
  } else if (imageInfo & (BKPIMAGE_COMPRESS_LZ4 | BKPIMAGE_COMPRESS_ZSTD)) {
    const name = imageInfo & BKPIMAGE_COMPRESS_LZ4 ? 'lz4' : 'zstd';
    throw new PageError(`an image compressed with ${name}: only pglz and none are supported`);
  }
  if (holeLength === 0) {
    page.set(from.subarray(start, start + PAGE_BYTES));
    return;
  }
  page.set(from.subarray(start, start + holeOffset));
  page.fill(0, holeOffset, holeOffset + holeLength);
  page.set(from.subarray(start + holeOffset, start + size), holeOffset + holeLength);
}
