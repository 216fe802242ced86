/**
 * CheckPoint: the counters that a Postgres starts from. It is the main data of checkpoint records and stands in
 * pg_control; the boot manifest carries one with the values as of an LSN.
 *
 * Source: catalog/pg_control.h.
 */
import { bool, i32, layout, lsnField, reserved, u32, u64, type Field } from './layout.ts';

/** A u64 that never reaches 2^53 in practice: a FullTransactionId as epoch × 2^32 + xid. Throws RangeError above. */
const fullXid: Field<number> = {
  size: 8,
  read: (data, offset) => lsnField.read(data, offset),
  write: (data, offset, value) => {
    data.setUint32(offset, value % 0x1_0000_0000, true);
    data.setUint32(offset + 4, Math.floor(value / 0x1_0000_0000), true);
  },
};

export const CheckPoint = layout('CheckPoint', 88, {
  redo: lsnField,
  timelineId: u32,
  previousTimelineId: u32,
  fullPageWrites: bool,
  padding1: reserved(3),
  /** enum WalLevel: 0 minimal, 1 replica, 2 logical. */
  walLevel: i32,
  nextXid: fullXid,
  nextOid: u32,
  nextMulti: u32,
  nextMultiOffset: u32,
  oldestXid: u32,
  oldestXidDb: u32,
  oldestMulti: u32,
  oldestMultiDb: u32,
  padding2: reserved(4),
  /** pg_time_t: seconds since 1970. */
  time: u64,
  oldestCommitTsXid: u32,
  newestCommitTsXid: u32,
  /** Of online checkpoints only; 0 otherwise. */
  oldestActiveXid: u32,
  padding3: reserved(4),
});
/** CheckPoint's fields by value. */
export type CheckPointFields = ReturnType<typeof CheckPoint.decode>;
