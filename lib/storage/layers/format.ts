/**
 * The layer file: blocks, index, footer. One format for delta and image layers (docs/formats/layers.md).
 *
 *   block 0 … block n-1     each one zstd frame of about BLOCK_BYTES before compression (block.ts)
 *   index                   one zstd frame: LayerHeader, n × BlockEntry, the key filter (key-filter.ts)
 *   footer                  40 bytes, last in the file
 *
 * Entries are sorted by key, then LSN, ascending. A reader needs the name and size of the file: it reads the footer,
 * the index, and then for a page one block. Checksums are CRC-32C: the footer's own, the index's in the footer, each
 * block's in the index, always of the bytes as they stand in the file, so that a flipped bit is found before
 * anything is decompressed.
 */
import { layout, lsnField, reserved, u16, u32, u8, type Field } from '../../postgres/layout.ts';
import { KEY_BYTES, keyBytes, keyFromBytes, type Key } from '../key.ts';

export const LAYER_VERSION = 1;
/** Bytes of a block before compression, at which it is closed; a larger value has a block of its own. */
export const BLOCK_BYTES = 64 << 10;
/** No block and no index is larger before compression: the largest WAL record there can be, and some. */
export const RAW_BYTES_MAX = 1100 << 20;
/** 'EBBLAYER', little-endian halves. */
export const MAGIC = [0x4c424245, 0x52455941] as const;
export const LAYER_KIND = { delta: 1, image: 2 } as const;

/**
 * `corrupt`: not the bytes that were written. `version`: written by another version of Ebb.
 * `mismatch`: a good file, but of another timeline or range than its name says.
 */
export type LayerErrorCode = 'corrupt' | 'version' | 'mismatch';

/** A layer file that cannot be read. The bytes are never guessed at. */
export class LayerError extends Error {
  override readonly name = 'LayerError';
  readonly code: LayerErrorCode;
  constructor(code: LayerErrorCode, message: string, cause?: unknown) {
    super(message, cause === undefined ? {} : { cause });
    this.code = code;
  }
}

/** Compression and checksum, which the shell provides (node:zlib, a native CRC). */
export interface LayerCodec {
  /** One zstd frame. `bytes` are the caller's again when it returns, also where it returns a promise. */
  compress(bytes: Uint8Array): Uint8Array | Promise<Uint8Array>;
  /** Throws when `frame` is not a zstd frame or gives more than `rawLength` bytes. */
  decompress(frame: Uint8Array, rawLength: number): Uint8Array;
  crc32c(bytes: Uint8Array): number;
}

const bytesAt = (data: DataView, offset: number) =>
  new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset + offset, KEY_BYTES);
/** A key within a layout. */
export const keyField: Field<Key> = {
  size: KEY_BYTES,
  read: (data, offset) => keyFromBytes(bytesAt(data, offset)),
  write: (data, offset, value) => void keyBytes(value, bytesAt(data, offset)),
};
/** Sixteen bytes as 32 hexadecimal digits. */
const timelineField: Field<string> = {
  size: 16,
  read: (data, offset) =>
    Array.from({ length: 16 }, (_, i) =>
      data
        .getUint8(offset + i)
        .toString(16)
        .padStart(2, '0'),
    ).join(''),
  write: (data, offset, value) => {
    for (let i = 0; i < 16; i++)
      data.setUint8(offset + i, Number.parseInt(value.slice(i * 2, i * 2 + 2), 16));
  },
};

export const LayerFooter = layout('LayerFooter', 40, {
  indexOffset: lsnField,
  indexLength: u32,
  indexRawLength: u32,
  indexCrc: u32,
  blockCount: u32,
  version: u16,
  padding: reserved(2),
  /** Of the 28 bytes before it. */
  crc: u32,
  magicLow: u32,
  magicHigh: u32,
});

export const LayerHeader = layout('LayerHeader', 96, {
  kind: u8,
  padding: reserved(3),
  generation: u32,
  timelineId: timelineField,
  firstKey: keyField,
  lastKey: keyField,
  /** Image: both are its LSN. */
  startLsn: lsnField,
  endLsn: lsnField,
  entryCount: lsnField,
  /** Bytes of all blocks before compression. */
  rawBytes: lsnField,
  /** Of the key filter; 0 in image layers. */
  filterBytes: u32,
});

/** Where block i lies is the sum of the lengths before it. */
export const BlockEntry = layout('BlockEntry', 38, {
  /** Of the first entry in the block. */
  key: keyField,
  lsn: lsnField,
  length: u32,
  rawLength: u32,
  /** Of the block as it stands in the file. */
  crc: u32,
});
