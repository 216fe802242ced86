/**
 * The key filter of a delta layer: which keys it surely does not hold. A read goes through many deltas of which few know
 * its key; the filter saves it a block from each of the others.
 *
 * A Bloom filter of FILTER_BITS_PER_KEY bits for each key, FILTER_PROBES of them set: h is the CRC-32C of the key's bytes,
 * step is h rotated right by 17; probe i is bit (h + i × step, in 32 bits) modulo the number of bits, bit 0 being the
 * lowest of the first byte. About one key in a hundred that is not there passes.
 */
import { crc32c } from '../../postgres/crc32c.ts';
import { KEY_BYTES, keyBytes, type Key } from '../key.ts';

export const FILTER_BITS_PER_KEY = 10;
export const FILTER_PROBES = 7;

const scratch = new Uint8Array(KEY_BYTES);
let lastKey: Key | null = null;
let lastHash = 0;

/** A read asks every layer about one key: its hash is computed once. */
export function keyHash(key: Key): number {
  if (key !== lastKey) {
    lastHash = crc32c(keyBytes(key, scratch));
    lastKey = key;
  }
  return lastHash;
}

/** `%` of 32-bit numbers, by a division that is not exact but rounds to the right quotient: five times as quick. */
const modulo = (value: number, by: number): number => value - Math.floor(value / by) * by;

/** The filter of keys with these hashes. */
export function buildFilter(hashes: Iterable<number> & { readonly length: number }): Uint8Array {
  const filter = new Uint8Array(Math.ceil((hashes.length * FILTER_BITS_PER_KEY) / 8));
  const bits = filter.length * 8;
  for (const hash of hashes) {
    const step = ((hash >>> 17) | (hash << 15)) >>> 0;
    for (let probe = 0, at = hash; probe < FILTER_PROBES; probe++, at = (at + step) >>> 0) {
      const bit = modulo(at, bits);
      filter[bit >>> 3] |= 1 << (bit & 7);
    }
  }
  return filter;
}

/** False: the key is not among those of the filter. An empty filter knows nothing. */
export function mayHold(filter: Uint8Array, hash: number): boolean {
  const bits = filter.length * 8;
  if (bits === 0) return true;
  const step = ((hash >>> 17) | (hash << 15)) >>> 0;
  for (let probe = 0, at = hash; probe < FILTER_PROBES; probe++, at = (at + step) >>> 0) {
    const bit = modulo(at, bits);
    if ((filter[bit >>> 3] & (1 << (bit & 7))) === 0) return false;
  }
  return true;
}
