/**
 * A decoded WAL record, as every consumer sees it: ingest, redo, the proposer, `ebb inspect wal`.
 *
 * One `WalRecord` is reused for record after record: nothing is allocated per record on the hot path. All
 * `…Start` fields are offsets into `bytes`, which holds the whole record contiguously (page headers of the
 * WAL taken out). Whoever keeps something of a record past the next `next()` copies it.
 *
 * Source: access/xlogrecord.h (XLogRecord, XLogRecordBlockHeader, XLogRecordBlockImageHeader).
 */
import type { Lsn } from '../lsn.ts';

/** One block that a record touches. */
export interface BlockReference {
  /** The block id in the record, 0 to XLR_MAX_BLOCK_ID (32). */
  id: number;
  spcOid: number;
  dbOid: number;
  relNumber: number;
  /** ForkNumber: 0 main, 1 fsm, 2 vm, 3 init. */
  fork: number;
  block: number;
  /** BKPBLOCK_WILL_INIT: redo makes the page from nothing. */
  willInit: boolean;
  hasImage: boolean;
  /** BKPIMAGE_APPLY: the image is to be restored, not just compared with. */
  applyImage: boolean;
  /** bimg_info: BKPIMAGE_* flags, of which compression. */
  imageInfo: number;
  imageStart: number;
  imageLength: number;
  holeOffset: number;
  holeLength: number;
  dataStart: number;
  dataLength: number;
}

export interface WalRecord {
  /** Where the record starts (its XLogRecord header). */
  lsn: Lsn;
  /** Where the next record may start: MAXALIGNed; the end of the segment after XLOG_SWITCH. */
  endLsn: Lsn;
  /** The record with its header, `totalLength` bytes from offset 0. */
  bytes: Uint8Array;
  /** Reads `bytes`; same buffer, same bounds. */
  data: DataView;
  totalLength: number;
  xid: number;
  previous: Lsn;
  /** xl_info, all 8 bits: the high four name the record type within its resource manager. */
  info: number;
  /** RmgrId. */
  resourceManager: number;
  /** Main data: `bytes[mainStart, mainStart + mainLength)`. */
  mainStart: number;
  mainLength: number;
  /** The first `blockCount` entries are valid, in the record's own order. */
  blocks: BlockReference[];
  blockCount: number;
  /** XLR_BLOCK_ID_TOPLEVEL_XID, 0 when absent. */
  toplevelXid: number;
  /** XLR_BLOCK_ID_ORIGIN, 0 when absent. */
  originId: number;
  /** Memory that decodeRecord copies stored records to; nobody else's business. */
  copy?: { memory: Uint8Array; bytes: Uint8Array; data: DataView } | undefined;
}

/** The largest block id; a record has one more references at most. */
export const XLR_MAX_BLOCK_ID = 32;

const newBlock = (): BlockReference => ({
  id: 0,
  spcOid: 0,
  dbOid: 0,
  relNumber: 0,
  fork: 0,
  block: 0,
  willInit: false,
  hasImage: false,
  applyImage: false,
  imageInfo: 0,
  imageStart: 0,
  imageLength: 0,
  holeOffset: 0,
  holeLength: 0,
  dataStart: 0,
  dataLength: 0,
});

const NO_BYTES = new Uint8Array(0);
const NO_DATA = new DataView(NO_BYTES.buffer);

/** An empty record with room for every block reference a record can have, to be decoded into. */
export const newWalRecord = (): WalRecord => ({
  lsn: 0 as Lsn,
  endLsn: 0 as Lsn,
  bytes: NO_BYTES,
  data: NO_DATA,
  totalLength: 0,
  xid: 0,
  previous: 0 as Lsn,
  info: 0,
  resourceManager: 0,
  mainStart: 0,
  mainLength: 0,
  blocks: Array.from({ length: XLR_MAX_BLOCK_ID + 1 }, newBlock),
  blockCount: 0,
  toplevelXid: 0,
  originId: 0,
  copy: undefined,
});
