/**
 * The layer codec on Node: zstd of node:zlib, a native CRC-32C.
 *
 * Both ways on the calling thread. For a block of 64 KiB the hand-over to node:zlib's thread pool and back takes the calling
 * thread nearly as long as the work itself (decompression: longer) and doubles the whole (bench/codec.ts).
 */
import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { crc32c } from '@node-rs/crc32';
import type { LayerCodec } from '../../../lib/storage/layers/format.ts';

/** Level 3 packs WAL records 10 % smaller at half the speed. */
const params = { [constants.ZSTD_c_compressionLevel]: 1 };

/** The smallest chunk that node:zlib takes. */
const CHUNK_BYTES_MIN = 64;

export const layerCodec: LayerCodec = {
  compress: (bytes) =>
    zstdCompressSync(bytes, { params, chunkSize: Math.max(bytes.length >> 1, CHUNK_BYTES_MIN) }),
  decompress: (frame, rawLength) => {
    const size = Math.max(rawLength, CHUNK_BYTES_MIN); // one buffer of the right size, not several to be joined
    const raw = zstdDecompressSync(frame, { chunkSize: size, maxOutputLength: size });
    return new Uint8Array(raw.buffer, raw.byteOffset, raw.byteLength);
  },
  crc32c: (bytes) => crc32c(bytes),
};
