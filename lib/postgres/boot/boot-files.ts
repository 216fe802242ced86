/**
 * What an unmodified Postgres needs to start at an LSN without recovery: pg_control that says "shut down" with a
 * shutdown checkpoint at that LSN, and the WAL segment that holds this checkpoint's record.
 *
 * Postgres then goes on writing right behind the record, which becomes an ordinary part of the WAL. Settings that
 * pg_control repeats are made to agree with postgresql.conf, and so are the checkpoint's: Postgres would
 * otherwise begin with records about what changed (XLogReportParameters, UpdateFullPageWrites in xlog.c).
 */
import { CheckPoint, type CheckPointFields } from '../checkpoint.ts';
import { DATABASE_STATE, decodeControlFile, encodeControlFile } from '../control-file.ts';
import { INVALID_LSN, lsn, type Lsn } from '../lsn.ts';
import type { WalFacts } from '../wal/facts.ts';
import { recordStart } from '../wal/geometry.ts';
import { encodeShutdownCheckpoint } from './checkpoint-record.ts';
import { placeRecord, type SparseFile } from './wal-segments.ts';

/** enum WalLevel: replica. */
const WAL_LEVEL_REPLICA = 1;
/** A timeline of Ebb's is Postgres's first one throughout: a branch is a new timeline of Ebb's, not a promotion. */
const TIMELINE_ID = 1;
/** FirstNormalUnloggedLSN (access/xlogdefs.h). */
const FIRST_UNLOGGED_LSN = lsn(1000);

/** Settings of postgresql.conf that pg_control repeats. */
export interface ControlSettings {
  maxConnections: number;
  maxWorkerProcesses: number;
  maxWalSenders: number;
  maxPreparedTransactions: number;
  maxLocksPerTransaction: number;
}

export interface BootInput {
  facts: WalFacts;
  /** Where the durable WAL ends: the end of a whole record, or the start of the timeline. */
  lsn: Lsn;
  /** Start of the last durable record; 0/0 where there is none. */
  previousLsn: Lsn;
  systemIdentifier: bigint;
  /** CheckPoint, 88 bytes, with the counters as of `lsn`. */
  checkPoint: Uint8Array;
  /** A pg_control of this cluster, for all that does not change. */
  controlFile: Uint8Array;
  settings: ControlSettings;
  /** Seconds since 1970. */
  timeSeconds: number;
}

export interface BootFiles {
  /** Paths relative to the data directory. */
  files: SparseFile[];
  recordLsn: Lsn;
  /** Where Postgres writes on. */
  endLsn: Lsn;
}

/** Throws ControlFileError when the given pg_control is none. */
export function bootFiles(input: BootInput): BootFiles {
  const time = BigInt(input.timeSeconds);
  const recordLsn = recordStart(input.lsn);
  const checkPoint: CheckPointFields = {
    ...CheckPoint.decode(input.checkPoint),
    redo: recordLsn,
    timelineId: TIMELINE_ID,
    previousTimelineId: TIMELINE_ID,
    fullPageWrites: false,
    walLevel: WAL_LEVEL_REPLICA,
    time,
    oldestActiveXid: 0,
  };
  const record = encodeShutdownCheckpoint(checkPoint, input.previousLsn);
  const placed = placeRecord(record, input.lsn, {
    facts: input.facts,
    timelineId: TIMELINE_ID,
    systemIdentifier: input.systemIdentifier,
  });
  const controlFile = encodeControlFile({
    ...decodeControlFile(input.controlFile),
    ...input.settings,
    systemIdentifier: input.systemIdentifier,
    state: DATABASE_STATE.shutDown,
    time,
    checkPoint: recordLsn,
    checkPointCopy: checkPoint,
    unloggedLsn: FIRST_UNLOGGED_LSN,
    minRecoveryPoint: INVALID_LSN,
    minRecoveryPointTimelineId: 0,
    backupStartPoint: INVALID_LSN,
    backupEndPoint: INVALID_LSN,
    backupEndRequired: false,
    walLevel: WAL_LEVEL_REPLICA,
    walLogHints: false,
    trackCommitTimestamp: false,
  });
  const control = {
    path: 'global/pg_control',
    pieces: [{ offset: 0, bytes: controlFile }],
    size: controlFile.length,
  };
  return { files: [control, ...placed.segments], recordLsn, endLsn: placed.endLsn };
}
