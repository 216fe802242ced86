/**
 * pglz decompression, in which Postgres writes full-page images with `wal_compression = pglz`.
 *
 * A control byte announces eight things, lowest bit first: 0 a literal byte, 1 a copy of 3 to 273 bytes from up to 4095 back.
 *
 * Source: the format as described in common/pg_lzcompress.c.
 */
import { PageError } from './page.ts';

/**
 * Decompresses `from[start, start + length)` into `to[0, size)`. Throws PageError when the input is not exactly
 * that many bytes in compressed form.
 */
export function pglzDecompress(
  from: Uint8Array,
  start: number,
  length: number,
  to: Uint8Array,
  size: number,
): void {
  const end = start + length;
  let at = start;
  let out = 0;
  while (at < end && out < size) {
    let control = from[at++];
    for (let bit = 0; bit < 8 && at < end && out < size; bit++, control >>>= 1) {
      if ((control & 1) === 0) {
        to[out++] = from[at++];
        continue;
      }
      if (at + 2 > end) throw new PageError('pglz image ends within a copy');
      let count = (from[at] & 0x0f) + 3;
      const back = ((from[at] & 0xf0) << 4) | from[at + 1];
      at += 2;
      if (count === 18) {
        if (at >= end) throw new PageError('pglz image ends within a copy');
        count += from[at++];
      }
      if (back === 0 || back > out) throw new PageError(`pglz image copies from ${back} before byte ${out}`);
      for (const last = Math.min(out + count, size); out < last; out++) to[out] = to[out - back];
    }
  }
  if (at !== end || out !== size) {
    throw new PageError(`pglz image: ${at - start} of ${length} bytes gave ${out} of ${size}`);
  }
}
