/**
 * Records of the server as a whole: checkpoints and settings, transactions, what standbys and subscribers need.
 *
 * Source: catalog/pg_control.h (CheckPoint), access/xlog_internal.h, access/xact.h, access/twophase.c,
 * storage/standbydefs.h, replication/origin.h, replication/message.h.
 */
import {
  fullXid,
  onOff,
  position,
  timestamp,
  walLevel,
  type Describe,
  type PayloadFields,
} from './reader.ts';

export const xlog: Describe = (main, info) => {
  switch (info & 0xf0) {
    case 0x00:
    case 0x10:
      return {
        redo: position(main, 0),
        timeline: main.u32(8),
        walLevel: walLevel(main.u32(20)),
        nextXid: fullXid(main, 24),
        nextOid: main.u32(32),
        nextMulti: main.u32(36),
        nextMultiOffset: main.u32(40),
        oldestXid: main.u32(44),
        oldestMulti: main.u32(52),
      };
    case 0x30:
      return { nextOid: main.u32(0) };
    case 0x50:
      return { started: position(main, 0) };
    case 0x60:
      return {
        maxConnections: main.u32(0),
        maxWorkerProcesses: main.u32(4),
        maxWalSenders: main.u32(8),
        maxPreparedTransactions: main.u32(12),
        maxLocksPerTransaction: main.u32(16),
        walLevel: walLevel(main.u32(20)),
        walLogHints: onOff(main.u8(24)),
        trackCommitTimestamp: onOff(main.u8(25)),
      };
    case 0x70:
      return { time: timestamp(main, 0), name: main.text(8) };
    case 0x80:
      return { fullPageWrites: main.u8(0) === 0 ? 'false' : 'true' };
    case 0x90:
      return { time: timestamp(main, 0), timeline: main.u32(8), previousTimeline: main.u32(12) };
    case 0xd0:
      return { overwritten: position(main, 0), time: timestamp(main, 8) };
    case 0xe0:
      return { walLevel: walLevel(main.u32(0)) };
    default:
      return {};
  }
};

const XACT_PREPARE = 0x10;
const XACT_ASSIGNMENT = 0x50;
const XACT_INVALIDATIONS = 0x60;
const XACT_HAS_INFO = 0x80;
/** xact_time, then by the bits of xinfo a database, subtransactions, relations dropped. */
export const transaction: Describe = (main, info) => {
  const type = info & 0x70;
  if (type === XACT_INVALIDATIONS) return { messages: main.u32(0) };
  if (type === XACT_ASSIGNMENT) return { topXid: main.u32(0), subtransactions: main.u32(4) };
  if (type === XACT_PREPARE) {
    return {
      gid: main.text(72),
      xid: main.u32(8),
      database: main.u32(12),
      subtransactions: main.u32(28),
      relationsDroppedOnCommit: main.u32(32),
      relationsDroppedOnAbort: main.u32(36),
    };
  }
  const fields: PayloadFields = { time: timestamp(main, 0) };
  if ((info & XACT_HAS_INFO) === 0) return fields;
  const xinfo = main.u32(8);
  let at = 12;
  if (xinfo & 0x01) {
    fields['database'] = main.u32(at);
    at += 8;
  }
  if (xinfo & 0x02) {
    fields['subtransactions'] = main.u32(at);
    at += 4 + 4 * main.u32(at);
  }
  if (xinfo & 0x04) fields['relationsDropped'] = main.u32(at);
  return fields;
};

export const standby: Describe = (main, info) => {
  switch (info & 0xf0) {
    case 0x00:
      return { locks: main.u32(0), xid: main.u32(4), database: main.u32(8), relation: main.u32(12) };
    case 0x10:
      return {
        running: main.u32(0),
        subtransactions: main.u32(4),
        nextXid: main.u32(12),
        oldestRunningXid: main.u32(16),
        latestCompletedXid: main.u32(20),
      };
    default:
      return { database: main.u32(0), tablespace: main.u32(4), messages: main.u32(12) };
  }
};

export const replicationOrigin: Describe = (main, info) =>
  (info & 0xf0) === 0x00
    ? { origin: main.u16(8), remoteLsn: position(main, 0), force: main.u8(10) }
    : { origin: main.u16(0) };

/** The prefix ends with a zero byte. */
export const logicalMessage: Describe = (main) => ({
  kind: main.u8(4) === 0 ? 'non-transactional' : 'transactional',
  prefix: main.text(24),
  bytes: Number(main.i64(16)),
});
