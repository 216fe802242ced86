/**
 * One record's bytes into a `WalRecord`: header, block references, images, main data.
 *
 *   XLogRecord 24 │ block headers … │ main data header │ images and data of the blocks, in order │ main data
 *
 * Every length is checked against the record before it is used. Nothing is allocated but for the DataView when
 * `bytes` is not what `into` already reads.
 *
 * Source: access/xlogrecord.h; the checks are those of DecodeXLogRecord (access/transam/xlogreader.c).
 */
import type { Lsn } from '../lsn.ts';
import { recordCrc } from './checksum.ts';
import { WalError } from './errors.ts';
import { RM_MIN_CUSTOM_ID, type WalFacts } from './facts.ts';
import { newWalRecord, XLR_MAX_BLOCK_ID, type BlockReference, type WalRecord } from './record.ts';

export { newWalRecord };

export const RECORD_HEADER_BYTES = 24;
/** XLogRecordMaxSize. */
export const RECORD_BYTES_MAX = 1020 << 20;
/** xl_info bits that mean the same in every resource manager. */
export const XLR_INFO_MASK = 0x0f;
export const XLR_SPECIAL_REL_UPDATE = 0x01;
export const XLR_CHECK_CONSISTENCY = 0x02;

/** bimg_info. */
export const BKPIMAGE_HAS_HOLE = 0x01;
export const BKPIMAGE_APPLY = 0x02;
export const BKPIMAGE_COMPRESS_PGLZ = 0x04;
export const BKPIMAGE_COMPRESS_LZ4 = 0x08;
export const BKPIMAGE_COMPRESS_ZSTD = 0x10;
const BKPIMAGE_COMPRESSED = 0x1c;

const PAGE_BYTES = 8192;
const XLR_BLOCK_ID_DATA_SHORT = 255;
const XLR_BLOCK_ID_DATA_LONG = 254;
const XLR_BLOCK_ID_ORIGIN = 253;
const XLR_BLOCK_ID_TOPLEVEL_XID = 252;

/** Records up to this size are copied to memory that `into` has a DataView of: cheaper than a new DataView each. */
const COPIED_BYTES_MAX = 16 << 10;
/** Where a record's first byte is in that memory, so that up to as many bytes may stand before it. */
const COPY_START = 16;

/** `bytes[start, …)`, a record, as `into.bytes` from offset 0. */
function takeBytes(bytes: Uint8Array, start: number, into: WalRecord): void {
  if (bytes.length > COPIED_BYTES_MAX || start > COPY_START) {
    into.bytes = start === 0 ? bytes : bytes.subarray(start);
    into.data = new DataView(bytes.buffer, bytes.byteOffset + start, bytes.byteLength - start);
    return;
  }
  if (into.copy === undefined) {
    const memory = new Uint8Array(COPIED_BYTES_MAX + COPY_START);
    into.copy = { memory, bytes: memory.subarray(COPY_START), data: new DataView(memory.buffer, COPY_START) };
  }
  into.copy.memory.set(bytes, COPY_START - start);
  into.bytes = into.copy.bytes;
  into.data = into.copy.data;
}

/**
 * Decodes a whole record that was stored somewhere: `bytes` from offset `start` (0) on, `lsn` and `endLsn` its place in
 * the WAL. The CRC is not looked at: whoever stores records has checksums of its own. `bytes` must stay as they are as
 * long as `into` is used. Throws WalError.
 */
export function decodeRecord(bytes: Uint8Array, lsn: Lsn, endLsn: Lsn, into: WalRecord, start = 0): void {
  const available = bytes.length - start;
  into.lsn = lsn;
  into.endLsn = endLsn;
  if (available < RECORD_HEADER_BYTES) {
    throw new WalError('recordHeader', lsn, `a record of ${available} bytes: at least 24 expected`);
  }
  takeBytes(bytes, start, into);
  const totalLength = into.data.getUint32(0, true);
  if (totalLength < RECORD_HEADER_BYTES || totalLength > available) {
    const text = `record length ${totalLength}: 24 to ${available} expected`;
    throw new WalError('recordHeader', lsn, text);
  }
  decodeHeader(into);
  decodeBody(into);
}

/** CRC of the record at offset 0 of `bytes`, as xl_crc should be. Slower than the decoder's own check. */
export function storedRecordCrc(bytes: Uint8Array, length: number): number {
  const copy = new Uint8Array((length + 3) & ~3);
  copy.set(bytes.subarray(0, length));
  return recordCrc(new Int32Array(copy.buffer), copy, length);
}

/** Reads XLogRecord's fields from `into.data`, whose length was checked. */
export function decodeHeader(into: WalRecord): void {
  const data = into.data;
  into.totalLength = data.getUint32(0, true);
  into.xid = data.getUint32(4, true);
  into.previous = (data.getUint32(12, true) * 0x1_0000_0000 + data.getUint32(8, true)) as Lsn;
  into.info = data.getUint8(16);
  into.resourceManager = data.getUint8(17);
}

/** RmgrIdIsValid: built in, or one that an extension may have registered. */
export const isResourceManager = (id: number, facts: WalFacts): boolean =>
  id < facts.resourceManagers.length || id >= RM_MIN_CUSTOM_ID;

/** Reads what follows the header; throws WalError when a length or flag contradicts another. */
export function decodeBody(into: WalRecord): void {
  const data = into.data;
  const end = into.totalLength;
  into.blockCount = 0;
  into.mainStart = end;
  into.mainLength = 0;
  into.toplevelXid = 0;
  into.originId = 0;

  let at = RECORD_HEADER_BYTES;
  let dataTotal = 0;
  while (end - at > dataTotal) {
    const id = data.getUint8(at);
    if (id <= XLR_MAX_BLOCK_ID) {
      at = decodeBlockHeader(into, at, id);
      const block = into.blocks[into.blockCount++];
      dataTotal += block.imageLength + block.dataLength;
    } else if (id === XLR_BLOCK_ID_DATA_SHORT) {
      if (at + 2 > end) throw truncated(into);
      into.mainLength = data.getUint8(at + 1);
      dataTotal += into.mainLength;
      at += 2;
      break; // the main data header is always the last
    } else if (id === XLR_BLOCK_ID_DATA_LONG) {
      if (at + 5 > end) throw truncated(into);
      into.mainLength = data.getUint32(at + 1, true);
      dataTotal += into.mainLength;
      at += 5;
      break;
    } else if (id === XLR_BLOCK_ID_ORIGIN) {
      if (at + 3 > end) throw truncated(into);
      into.originId = data.getUint16(at + 1, true);
      at += 3;
    } else if (id === XLR_BLOCK_ID_TOPLEVEL_XID) {
      if (at + 5 > end) throw truncated(into);
      into.toplevelXid = data.getUint32(at + 1, true);
      at += 5;
    } else {
      throw new WalError('blocks', into.lsn, `block id ${id} at offset ${at}`);
    }
  }
  if (end - at !== dataTotal) {
    throw new WalError('blocks', into.lsn, `headers name ${dataTotal} bytes of data: ${end - at} are there`);
  }
  for (let i = 0; i < into.blockCount; i++) {
    const block = into.blocks[i];
    block.imageStart = at;
    at += block.imageLength;
    block.dataStart = at;
    at += block.dataLength;
  }
  into.mainStart = at;
}

function decodeBlockHeader(into: WalRecord, start: number, id: number): number {
  const { data, blocks, blockCount, totalLength: end } = into;
  let at = start;
  const before = blockCount === 0 ? null : blocks[blockCount - 1];
  if (before !== null && id <= before.id) {
    throw new WalError('blocks', into.lsn, `block id ${id} after ${before.id}`);
  }
  const block = blocks[blockCount];
  if (at + 4 > end) throw truncated(into);
  const flags = data.getUint8(at + 1);
  block.id = id;
  block.fork = flags & 0x0f;
  block.willInit = (flags & 0x40) !== 0;
  block.hasImage = (flags & 0x10) !== 0;
  block.dataLength = data.getUint16(at + 2, true);
  if (((flags & 0x20) !== 0) !== block.dataLength > 0) {
    throw new WalError(
      'blocks',
      into.lsn,
      `block ${id}: flags 0x${flags.toString(16)} with ${block.dataLength} bytes of data`,
    );
  }
  at += 4;
  if (block.hasImage) {
    at = decodeImageHeader(into, block, at);
  } else {
    block.applyImage = false;
    block.imageInfo = 0;
    block.imageLength = 0;
    block.holeOffset = 0;
    block.holeLength = 0;
  }
  if ((flags & 0x80) === 0) {
    if (at + 12 > end) throw truncated(into);
    block.spcOid = data.getUint32(at, true);
    block.dbOid = data.getUint32(at + 4, true);
    block.relNumber = data.getUint32(at + 8, true);
    at += 12;
  } else {
    if (before === null) {
      throw new WalError(
        'blocks',
        into.lsn,
        `block ${id} has the relation of the block before it: there is none`,
      );
    }
    block.spcOid = before.spcOid;
    block.dbOid = before.dbOid;
    block.relNumber = before.relNumber;
  }
  if (at + 4 > end) throw truncated(into);
  block.block = data.getUint32(at, true);
  return at + 4;
}

function decodeImageHeader(into: WalRecord, block: BlockReference, start: number): number {
  const { data, totalLength: end } = into;
  let at = start;
  if (at + 5 > end) throw truncated(into);
  const length = data.getUint16(at, true);
  const holeOffset = data.getUint16(at + 2, true);
  const info = data.getUint8(at + 4);
  at += 5;
  const compressed = (info & BKPIMAGE_COMPRESSED) !== 0;
  const hasHole = (info & BKPIMAGE_HAS_HOLE) !== 0;
  let holeLength = 0;
  if (!compressed) {
    holeLength = PAGE_BYTES - length;
  } else if (hasHole) {
    if (at + 2 > end) throw truncated(into);
    holeLength = data.getUint16(at, true);
    at += 2;
  }
  const holeFits = hasHole
    ? holeOffset > 0 && holeLength > 0 && holeOffset + holeLength <= PAGE_BYTES
    : holeOffset === 0 && holeLength === 0;
  if (!holeFits || (compressed && length >= PAGE_BYTES)) {
    const text = `block ${block.id}: image of ${length} bytes, flags 0x${info.toString(16)}, hole of ${holeLength} at ${holeOffset}`;
    throw new WalError('blocks', into.lsn, text);
  }
  block.applyImage = (info & BKPIMAGE_APPLY) !== 0;
  block.imageInfo = info;
  block.imageLength = length;
  block.holeOffset = holeOffset;
  block.holeLength = holeLength;
  return at;
}

const truncated = (record: WalRecord): WalError =>
  new WalError('blocks', record.lsn, `a header goes past the record's ${record.totalLength} bytes`);
