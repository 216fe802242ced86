/**
 * Transactions: their status in pg_xact (and time in pg_commit_ts), the time up to which there are commits, the files that end with them, and the state
 * of prepared ones.
 *
 * Source: access/xact.h, ParseCommitRecord and ParseAbortRecord (access/rmgrdesc/xactdesc.c), xact_redo,
 * access/transam/twophase.c.
 */
import { crc32c } from '../../postgres/crc32c.ts';
import { XID_STATUS, type XidStatus } from '../../postgres/slru/clog.ts';
import { CLOG, COMMIT_TS, idPrecedes } from '../../postgres/slru/pages.ts';
import type { WalRecord } from '../../postgres/wal/record.ts';
import { twoPhaseKey, type Relation } from '../key.ts';
import { epochOf } from '../state/counters.ts';
import { ABSENT, decodeTimestamp, imageValue } from '../value.ts';
import { IngestError, mainData, unknownRecord, type IngestContext } from './context.ts';
import { idsByPage, writeSlruPage } from './slru.ts';
import { dropRelation } from './smgr.ts';

const XLOG_XACT_COMMIT = 0x00;
const XLOG_XACT_PREPARE = 0x10;
const XLOG_XACT_ABORT = 0x20;
const XLOG_XACT_COMMIT_PREPARED = 0x30;
const XLOG_XACT_ABORT_PREPARED = 0x40;
const XLOG_XACT_ASSIGNMENT = 0x50;
const XLOG_XACT_INVALIDATIONS = 0x60;
const XLOG_XACT_OPMASK = 0x70;
const XLOG_XACT_HAS_INFO = 0x80;

const XACT_XINFO_HAS_DBINFO = 1 << 0;
const XACT_XINFO_HAS_SUBXACTS = 1 << 1;
const XACT_XINFO_HAS_RELFILELOCATORS = 1 << 2;
const XACT_XINFO_HAS_INVALS = 1 << 3;
const XACT_XINFO_HAS_TWOPHASE = 1 << 4;
const XACT_XINFO_HAS_ORIGIN = 1 << 5;
const XACT_XINFO_HAS_GID = 1 << 7;
const XACT_XINFO_HAS_DROPPED_STATS = 1 << 8;

const STATS_ITEM_BYTES = 16;
const INVALIDATION_BYTES = 16;
const TWOPHASE_MAGIC = 0x57f9_4534;

/** What a commit or abort record says that matters for storage. */
interface TransactionEnd {
  /** Of the transaction itself; of a prepared one not the record's. */
  xid: number;
  subxids: number[];
  droppedRelations: Relation[];
  /** TimestampTz of the record itself. */
  recordTime: Uint8Array;
  /** TimestampTz: the origin's where it has one. */
  time: Uint8Array;
}

export function ingestXact(context: IngestContext): void {
  const { record, state } = context;
  switch (record.info & XLOG_XACT_OPMASK) {
    case XLOG_XACT_COMMIT:
    case XLOG_XACT_COMMIT_PREPARED:
      endTransaction(context, XID_STATUS.committed);
      return;
    case XLOG_XACT_ABORT:
    case XLOG_XACT_ABORT_PREPARED:
      endTransaction(context, XID_STATUS.aborted);
      return;
    case XLOG_XACT_PREPARE:
      prepare(context);
      return;
    case XLOG_XACT_ASSIGNMENT: {
      const main = mainData(record);
      main.u32(); // xtop
      for (let count = main.u32(); count > 0; count--) state.advancePastXid(main.u32());
      return;
    }
    case XLOG_XACT_INVALIDATIONS:
      return;
    default:
      throw unknownRecord(record);
  }
}

function endTransaction(context: IngestContext, status: XidStatus): void {
  const { record, state, emit } = context;
  const end = parseTransactionEnd(record);
  const xids = [end.xid, ...end.subxids];
  for (const xid of xids) state.advancePastXid(xid);
  for (const [page, indexes] of idsByPage(CLOG.idsPerPage, xids)) {
    writeSlruPage(context, 'pg_xact', page, { kind: 'xidStatus', status, indexes });
  }
  if (status === XID_STATUS.committed) state.committedAt(decodeTimestamp(end.recordTime), emit);
  if (status === XID_STATUS.committed && state.controlFile.trackCommitTimestamp) {
    writeCommitTimestamps(context, xids, end.time);
  }
  const operation = record.info & XLOG_XACT_OPMASK;
  if (operation === XLOG_XACT_COMMIT_PREPARED || operation === XLOG_XACT_ABORT_PREPARED) {
    const key = state.twoPhase.get(end.xid);
    if (key !== undefined) emit(key, ABSENT);
    state.twoPhase.delete(end.xid);
  }
  for (const relation of end.droppedRelations) dropRelation(state, relation);
}

function parseTransactionEnd(record: WalRecord): TransactionEnd {
  const main = mainData(record);
  const recordTime = main.take(8);
  const end: TransactionEnd = {
    xid: record.xid,
    subxids: [],
    droppedRelations: [],
    recordTime,
    time: recordTime,
  };
  const xinfo = record.info & XLOG_XACT_HAS_INFO ? main.u32() : 0;
  if (xinfo & XACT_XINFO_HAS_DBINFO) main.take(8);
  if (xinfo & XACT_XINFO_HAS_SUBXACTS) {
    for (let count = main.u32(); count > 0; count--) end.subxids.push(main.u32());
  }
  if (xinfo & XACT_XINFO_HAS_RELFILELOCATORS) {
    for (let count = main.u32(); count > 0; count--) {
      end.droppedRelations.push({ spcOid: main.u32(), dbOid: main.u32(), relNumber: main.u32() });
    }
  }
  if (xinfo & XACT_XINFO_HAS_DROPPED_STATS) main.take(main.u32() * STATS_ITEM_BYTES);
  if (xinfo & XACT_XINFO_HAS_INVALS) main.take(main.u32() * INVALIDATION_BYTES);
  if (xinfo & XACT_XINFO_HAS_TWOPHASE) {
    end.xid = main.u32();
    if (xinfo & XACT_XINFO_HAS_GID) while (main.u8() !== 0);
  }
  if (xinfo & XACT_XINFO_HAS_ORIGIN) {
    main.take(8); // origin_lsn
    end.time = main.take(8);
  }
  return end;
}

function writeCommitTimestamps(context: IngestContext, xids: readonly number[], time: Uint8Array): void {
  const { record, state } = context;
  const origin = record.originId;
  for (const [page, indexes] of idsByPage(COMMIT_TS.idsPerPage, xids)) {
    writeSlruPage(context, 'pg_commit_ts', page, { kind: 'commitTimestamp', time, origin, indexes });
  }
  const newest = xids[xids.length - 1];
  if (idPrecedes(state.checkPoint.newestCommitTsXid, newest)) {
    state.checkPoint.newestCommitTsXid = newest;
    state.countersChanged();
  }
}

/** A pg_twophase file is the record's main data (xl_xact_prepare and what follows it) and a CRC-32C. */
function prepare({ record, state, emit }: IngestContext): void {
  const main = mainData(record);
  const [magic, totalLength, xid] = [main.u32(), main.u32(), main.u32()];
  if (magic !== TWOPHASE_MAGIC || totalLength !== record.mainLength + 4) {
    const found = `magic ${magic.toString(16)}, length ${totalLength}`;
    throw new IngestError('malformed', record, `${found}: not the state of a prepared transaction`);
  }
  main.take(4 + 8 + 4); // database, prepared_at, owner
  const subxidCount = main.u32();
  main.take(4 * 5 + 1 + 1); // counts of relations, statistics and invalidations, initfileinval, padding
  const gidLength = main.u16();
  main.take(8 + 8); // origin_lsn, origin_timestamp
  main.take((gidLength + 7) & ~7);
  for (let i = 0; i < subxidCount; i++) state.advancePastXid(main.u32());

  const file = new Uint8Array(totalLength);
  const content = record.bytes.subarray(record.mainStart, record.mainStart + record.mainLength);
  file.set(content);
  new DataView(file.buffer).setUint32(record.mainLength, crc32c(content), true);
  const key = twoPhaseKey(epochOf(state.checkPoint, xid), xid);
  state.twoPhase.set(xid, key);
  emit(key, imageValue(file));
}
