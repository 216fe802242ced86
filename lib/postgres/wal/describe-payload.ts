/**
 * The main data of a record for people: the fields that say what happened, by name. Records that say nothing more than
 * their type and blocks have none; data too short for what it should hold gives none either.
 *
 * Source: backend/access/rmgrdesc/ for what is worth telling, the headers named at each group for layouts.
 */
import { formatLsn, lsn } from '../lsn.ts';
import { RM } from './facts.ts';
import type { WalRecord } from './record.ts';

export type PayloadFields = Record<string, string | number>;
/** Reads at an offset of the main data. */
interface Reader {
  u8(at: number): number;
  u16(at: number): number;
  u32(at: number): number;
  i64(at: number): bigint;
  text(at: number): string;
}
type Describe = (main: Reader, info: number) => PayloadFields;

const POSTGRES_EPOCH_MS = Date.UTC(2000, 0, 1);
/** TimestampTz: microseconds since 2000. */
function timestamp(main: Reader, at: number): string {
  const ms = Number(main.i64(at) / 1000n) + POSTGRES_EPOCH_MS;
  return Math.abs(ms) <= 8.64e15 ? new Date(ms).toISOString() : `${ms}`;
}
const position = (main: Reader, at: number): string => {
  const value = main.i64(at);
  return value >= 0n && value <= BigInt(Number.MAX_SAFE_INTEGER) ? formatLsn(lsn(value)) : String(value);
};
const locator = (main: Reader, at: number): string =>
  `${main.u32(at)}/${main.u32(at + 4)}/${main.u32(at + 8)}`;
const hex = (value: number): string => `0x${value.toString(16).padStart(2, '0')}`;

/** catalog/pg_control.h (CheckPoint), access/xlog_internal.h. */
const xlog: Describe = (main, info) => {
  switch (info & 0xf0) {
    case 0x00:
    case 0x10:
      return {
        redo: position(main, 0),
        nextXid: String(main.i64(24)),
        nextOid: main.u32(32),
        nextMulti: main.u32(36),
        oldestXid: main.u32(44),
      };
    case 0x30:
      return { nextOid: main.u32(0) };
    case 0x70:
      return { time: timestamp(main, 0), name: main.text(8) };
    case 0x90:
      return { time: timestamp(main, 0), timeline: main.u32(8), previousTimeline: main.u32(12) };
    case 0xd0:
      return { overwritten: position(main, 0), time: timestamp(main, 8) };
    default:
      return {};
  }
};

const XACT_ASSIGNMENT = 0x50;
const XACT_INVALIDATIONS = 0x60;
const XACT_HAS_INFO = 0x80;
/** access/xact.h: xact_time, then by the bits of xinfo a database, subtransactions, relations dropped. */
const transaction: Describe = (main, info) => {
  const type = info & 0x70;
  if (type === XACT_INVALIDATIONS) return { messages: main.u32(0) };
  if (type === XACT_ASSIGNMENT) return { topXid: main.u32(0), subtransactions: main.u32(4) };
  if (type === 0x10) return {};
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

/** access/heapam_xlog.h. */
const heap: Describe = (main, info) => {
  switch (info & 0x70) {
    case 0x00:
      return { item: main.u16(0), flags: hex(main.u8(2)) };
    case 0x10:
    case 0x60:
      return { xmax: main.u32(0), item: main.u16(4), infobits: hex(main.u8(6)), flags: hex(main.u8(7)) };
    case 0x20:
    case 0x40:
      return {
        oldItem: main.u16(4),
        oldXmax: main.u32(0),
        newItem: main.u16(12),
        newXmax: main.u32(8),
        flags: hex(main.u8(7)),
      };
    case 0x30:
      return { database: main.u32(0), relations: main.u32(4) };
    default:
      return { item: main.u16(0) };
  }
};
const heap2: Describe = (main, info) => {
  switch (info & 0x70) {
    case 0x10:
    case 0x20:
    case 0x30:
      return { flags: hex(main.u8(1)) };
    case 0x40:
      return { conflictHorizon: main.u32(0), flags: hex(main.u8(4)) };
    case 0x50:
      return { tuples: main.u16(2), flags: hex(main.u8(0)) };
    case 0x60:
      return { xmax: main.u32(0), item: main.u16(4), flags: hex(main.u8(7)) };
    default:
      return {};
  }
};

/** access/nbtxlog.h. */
const btree: Describe = (main, info) => {
  switch (info & 0xf0) {
    case 0x00:
    case 0x10:
    case 0x20:
    case 0x50:
      return { item: main.u16(0) };
    case 0x30:
    case 0x40:
      return { level: main.u32(0), firstRight: main.u16(4), newItem: main.u16(6) };
    case 0x60:
      return { intervals: main.u16(0) };
    case 0x70:
      return { deleted: main.u16(4), updated: main.u16(6) };
    case 0x80:
    case 0x90:
      return { left: main.u32(0), right: main.u32(4), level: main.u32(8) };
    case 0xa0:
      return { root: main.u32(0), level: main.u32(4) };
    case 0xb0:
      return { leaf: main.u32(4), left: main.u32(8), right: main.u32(12) };
    case 0xc0:
      return { deleted: main.u16(0), updated: main.u16(2) };
    default:
      return {};
  }
};

/** catalog/storage_xlog.h. */
const storage: Describe = (main, info) =>
  (info & 0xf0) === 0x10
    ? { relation: locator(main, 0), fork: main.u32(12) }
    : { relation: locator(main, 4), blocks: main.u32(0), flags: hex(main.u32(16)) };
/** commands/dbcommands_xlog.h. */
const database: Describe = (main, info) => {
  switch (info & 0xf0) {
    case 0x00:
      return { database: main.u32(0), tablespace: main.u32(4), from: main.u32(8) };
    case 0x10:
      return { database: main.u32(0), tablespace: main.u32(4) };
    default:
      return { database: main.u32(0) };
  }
};

const DESCRIBE = new Map<number, Describe>([
  [RM.XLOG, xlog],
  [RM.XACT, transaction],
  [RM.SMGR, storage],
  [RM.DBASE, database],
  [
    RM.MULTIXACT,
    (main, info) => ((info & 0xf0) === 0x20 ? { multi: main.u32(0), members: main.u32(8) } : {}),
  ],
  [RM.RELMAP, (main) => ({ database: main.u32(0), tablespace: main.u32(4) })],
  [RM.HEAP, heap],
  [RM.HEAP2, heap2],
  [RM.BTREE, btree],
  [RM.SEQ, (main) => ({ sequence: locator(main, 0) })],
]);

/** The fields of the record's main data. Never throws for what the data holds. */
export function describePayload(record: WalRecord): PayloadFields {
  const describe = DESCRIBE.get(record.resourceManager);
  if (describe === undefined || record.mainLength === 0) return {};
  const start = record.bytes.byteOffset + record.mainStart;
  const view = new DataView(record.bytes.buffer, start, record.mainLength);
  const reader: Reader = {
    u8: (at) => view.getUint8(at),
    u16: (at) => view.getUint16(at, true),
    u32: (at) => view.getUint32(at, true),
    i64: (at) => view.getBigInt64(at, true),
    text: (at) =>
      new TextDecoder()
        .decode(record.bytes.subarray(record.mainStart + at, record.mainStart + record.mainLength))
        .replace(/\0.*$/s, ''),
  };
  try {
    return describe(reader, record.info);
  } catch (error) {
    if (error instanceof RangeError) return {};
    throw error;
  }
}
