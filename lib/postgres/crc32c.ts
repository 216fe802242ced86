/**
 * CRC-32C (Castagnoli, reflected 0x82F63B78), the checksum of WAL records, pg_control and two-phase files.
 *
 * Slicing-by-8 in plain TypeScript, so that it runs in a Worker too. Node containers that checksum large
 * blocks can hand a native implementation to what they build; the values are the same.
 */
const TABLES: Uint32Array[] = Array.from({ length: 8 }, () => new Uint32Array(256));
for (let i = 0; i < 256; i++) {
  let crc = i;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  TABLES[0][i] = crc >>> 0;
}
for (let slice = 1; slice < 8; slice++) {
  for (let i = 0; i < 256; i++) {
    const previous = TABLES[slice - 1][i];
    TABLES[slice][i] = ((previous >>> 8) ^ TABLES[0][previous & 0xff]) >>> 0;
  }
}
const [T0, T1, T2, T3, T4, T5, T6, T7] = TABLES as [
  Uint32Array,
  Uint32Array,
  Uint32Array,
  Uint32Array,
  Uint32Array,
  Uint32Array,
  Uint32Array,
  Uint32Array,
];

/** Continues `crc` (the value a previous call returned, 0 at the start) over `bytes[start, end)`. */
export function crc32c(bytes: Uint8Array, crc = 0, start = 0, end = bytes.length): number {
  let c = ~crc;
  let i = start;
  for (const last = end - 7; i < last; i += 8) {
    c ^= bytes[i] | (bytes[i + 1] << 8) | (bytes[i + 2] << 16) | (bytes[i + 3] << 24);
    c =
      T7[c & 0xff] ^
      T6[(c >>> 8) & 0xff] ^
      T5[(c >>> 16) & 0xff] ^
      T4[c >>> 24] ^
      T3[bytes[i + 4]] ^
      T2[bytes[i + 5]] ^
      T1[bytes[i + 6]] ^
      T0[bytes[i + 7]];
  }
  for (; i < end; i++) c = (c >>> 8) ^ T0[(c ^ bytes[i]) & 0xff];
  return ~c >>> 0;
}

/**
 * The eight slices one after another (slice n at 256 n), for callers that run over aligned 32-bit words of
 * bytes they know to be little-endian.
 */
export const CRC32C_SLICES: Int32Array = Int32Array.from(TABLES.flatMap((table) => [...table]));
