/**
 * The checksum of a data page (storage/checksum_impl.h): FNV-1a over 32 lanes of the page's words with pd_checksum taken as
 * zero, folded, mixed with the block number, and never 0.
 *
 * Ebb's own clusters have none: layers carry checksums of their own. It is computed where pages come from a cluster that has.
 */
const LANES = 32;
const PRIME = 16777619;
const CHECKSUM_OFFSET = 8;
/** Words 0 to 31 seed the lanes. */
const BASES = Int32Array.from([
  0x5b1f36e9, 0xb8525960, 0x02ab50aa, 0x1de66d2a, 0x79ff467a, 0x9bb9f8a3, 0x217e7cd2, 0x83e13d2c, 0xf8d4474f,
  0xe39eb970, 0x42c6ae16, 0x993216fa, 0x7b093b5d, 0x98daff3c, 0xf718902a, 0x0b1c9cdb, 0xe58f764b, 0x187636bc,
  0x5d7b3bb1, 0xe73de7de, 0x92bec979, 0xcca6c0b2, 0x304a0979, 0x85aa43d4, 0x783125bb, 0x6ca8eaa2, 0xe407eac6,
  0x4b5cfc3e, 0x9fbf8c76, 0x15ca20be, 0xf2ca9fd3, 0x959bd756,
]);
const sums = new Int32Array(LANES);

/** pd_checksum of `page` as block `block` of its fork (counted over segments). */
export function pageChecksum(page: Uint8Array, block: number): number {
  const view = new DataView(page.buffer, page.byteOffset, page.byteLength);
  sums.set(BASES);
  for (let at = 0; at < page.length; at += 4) {
    let word = view.getInt32(at, true);
    if (at === CHECKSUM_OFFSET) word &= 0xffff0000;
    mix((at >> 2) % LANES, word);
  }
  for (let round = 0; round < 2; round++) for (let lane = 0; lane < LANES; lane++) mix(lane, 0);
  let checksum = 0;
  for (const sum of sums) checksum ^= sum;
  return (((checksum ^ block) >>> 0) % 65535) + 1;
}
function mix(lane: number, word: number): void {
  const mixed = sums[lane] ^ word;
  sums[lane] = Math.imul(mixed, PRIME) ^ (mixed >>> 17);
}

/** A page that was never written is all zeroes and has no checksum. */
export const isNewPage = (page: Uint8Array): boolean => page[14] === 0 && page[15] === 0;
export const storedChecksum = (page: Uint8Array): number =>
  page[CHECKSUM_OFFSET] | (page[CHECKSUM_OFFSET + 1] << 8);
export function clearChecksum(page: Uint8Array): void {
  page[CHECKSUM_OFFSET] = 0;
  page[CHECKSUM_OFFSET + 1] = 0;
}
