/**
 * The CRC of a WAL record, over 32-bit words: records are aligned in the decoder's buffer, and words cost a
 * quarter of what bytes cost. Needs a little-endian machine, as every runtime of JavaScript here is.
 *
 * Source: access/xlogrecord.h (bytes from 24 on first, then the header up to xl_crc).
 */
import { CRC32C_SLICES as T } from '../crc32c.ts';

/** CRC of the record of `length` bytes (≥ 24) at offset 0 of `bytes`; `words` views the same memory. */
export function recordCrc(words: Int32Array, bytes: Uint8Array, length: number): number {
  const wordsEnd = length >>> 2;
  let c = crcOfWords(words, 6, wordsEnd, -1);
  for (let at = wordsEnd << 2; at < length; at++) c = (c >>> 8) ^ T[(c ^ bytes[at]) & 0xff];
  return ~crcOfWords(words, 0, 5, c) >>> 0;
}

/** Continues the inverted CRC `c` over `words[start, end)`: two words at a time, then the odd one. */
function crcOfWords(words: Int32Array, start: number, end: number, before: number): number {
  let c = before;
  let i = start;
  for (const lastPair = end - 1; i < lastPair; i += 2) {
    const a = words[i] ^ c;
    const b = words[i + 1];
    c =
      T[1792 + (a & 0xff)] ^
      T[1536 + ((a >>> 8) & 0xff)] ^
      T[1280 + ((a >>> 16) & 0xff)] ^
      T[1024 + (a >>> 24)] ^
      T[768 + (b & 0xff)] ^
      T[512 + ((b >>> 8) & 0xff)] ^
      T[256 + ((b >>> 16) & 0xff)] ^
      T[b >>> 24];
  }
  if (i < end) {
    const a = words[i] ^ c;
    c = T[768 + (a & 0xff)] ^ T[512 + ((a >>> 8) & 0xff)] ^ T[256 + ((a >>> 16) & 0xff)] ^ T[a >>> 24];
  }
  return c;
}
