/**
 * The shutdown checkpoint record that a Postgres is started from: XLOG_CHECKPOINT_SHUTDOWN with one CheckPoint.
 *
 *   0   XLogRecord           total length 114, xid 0, xl_prev, info 0x00, resource manager XLOG, CRC
 *   24  block id 255, 88     XLogRecordDataHeaderShort: main data of one byte's length
 *   26  CheckPoint           88 bytes
 *
 * Source: access/xlogrecord.h, access/transam/xloginsert.c (the CRC covers bytes from 24 on, then the header).
 */
import { CheckPoint, type CheckPointFields } from '../checkpoint.ts';
import { crc32c } from '../crc32c.ts';
import { layout, lsnField, reserved, u32, u8 } from '../layout.ts';
import type { Lsn } from '../lsn.ts';
import { RM } from '../wal/facts.ts';

const XLogRecord = layout('XLogRecord', 24, {
  totalLength: u32,
  transactionId: u32,
  previous: lsnField,
  info: u8,
  resourceManager: u8,
  padding: reserved(2),
  crc: u32,
});
/** XLR_BLOCK_ID_DATA_SHORT. */
const BLOCK_ID_DATA_SHORT = 255;
const XLOG_CHECKPOINT_SHUTDOWN = 0x00;
const MAIN_DATA_START = XLogRecord.size + 2;

/** Bytes of the record, before alignment. */
export const CHECKPOINT_RECORD_BYTES = MAIN_DATA_START + CheckPoint.size;

/** `previous` is the start of the record before, 0/0 where there is none. */
export function encodeShutdownCheckpoint(fields: CheckPointFields, previous: Lsn): Uint8Array {
  const record = new Uint8Array(CHECKPOINT_RECORD_BYTES);
  const header = {
    totalLength: record.length,
    transactionId: 0,
    previous,
    info: XLOG_CHECKPOINT_SHUTDOWN,
    resourceManager: RM.XLOG,
  };
  record.set(XLogRecord.encode(header));
  record.set([BLOCK_ID_DATA_SHORT, CheckPoint.size], XLogRecord.size);
  record.set(CheckPoint.encode(fields), MAIN_DATA_START);
  const crc = crc32c(record, crc32c(record, 0, XLogRecord.size), 0, XLogRecord.offsets.crc);
  XLogRecord.over(record).crc = crc;
  return record;
}
