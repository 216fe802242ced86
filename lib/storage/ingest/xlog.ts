/**
 * XLOG records: counters, checkpoints and parameters. (Their page images are block references like any others.)
 *
 * Source: catalog/pg_control.h, access/xlog_internal.h, xlog_redo (access/transam/xlog.c), CommitTsParameterChange.
 */
import { CheckPoint } from '../../postgres/checkpoint.ts';
import { COMMIT_TS, slruPageOf } from '../../postgres/slru/pages.ts';
import { applyCheckPoint } from '../state/counters.ts';
import { IngestError, mainData, unknownRecord, type IngestContext } from './context.ts';
import { slruPageExists, writeSlruPage } from './slru.ts';

const XLOG_CHECKPOINT_SHUTDOWN = 0x00;
const XLOG_CHECKPOINT_ONLINE = 0x10;
const XLOG_NOOP = 0x20;
const XLOG_NEXTOID = 0x30;
const XLOG_SWITCH = 0x40;
const XLOG_BACKUP_END = 0x50;
const XLOG_PARAMETER_CHANGE = 0x60;
const XLOG_RESTORE_POINT = 0x70;
const XLOG_FPW_CHANGE = 0x80;
const XLOG_END_OF_RECOVERY = 0x90;
const XLOG_FPI_FOR_HINT = 0xa0;
const XLOG_FPI = 0xb0;
const XLOG_OVERWRITE_CONTRECORD = 0xd0;
const XLOG_CHECKPOINT_REDO = 0xe0;

export function ingestXlog(context: IngestContext): void {
  const { record, state } = context;
  const operation = record.info & 0xf0;
  switch (operation) {
    case XLOG_CHECKPOINT_SHUTDOWN:
    case XLOG_CHECKPOINT_ONLINE: {
      if (record.mainLength !== CheckPoint.size) {
        throw new IngestError('malformed', record, `a checkpoint of ${record.mainLength} bytes: 88 expected`);
      }
      const read = CheckPoint.decode(record.bytes, record.mainStart);
      applyCheckPoint(state.checkPoint, read, operation === XLOG_CHECKPOINT_SHUTDOWN);
      state.countersChanged();
      return;
    }
    case XLOG_NEXTOID:
      state.checkPoint.nextOid = mainData(record).u32();
      state.countersChanged();
      return;
    case XLOG_FPW_CHANGE:
      state.checkPoint.fullPageWrites = mainData(record).u8() !== 0;
      state.countersChanged();
      return;
    case XLOG_PARAMETER_CHANGE:
      changeParameters(context);
      return;
    case XLOG_NOOP:
    case XLOG_SWITCH:
    case XLOG_BACKUP_END:
    case XLOG_RESTORE_POINT:
    case XLOG_END_OF_RECOVERY:
    case XLOG_FPI_FOR_HINT:
    case XLOG_FPI:
    case XLOG_OVERWRITE_CONTRECORD:
    case XLOG_CHECKPOINT_REDO:
      return;
    default:
      throw unknownRecord(record);
  }
}

function changeParameters(context: IngestContext): void {
  const { record, state } = context;
  const { controlFile, checkPoint } = state;
  const main = mainData(record);
  controlFile.maxConnections = main.u32();
  controlFile.maxWorkerProcesses = main.u32();
  controlFile.maxWalSenders = main.u32();
  controlFile.maxPreparedTransactions = main.u32();
  controlFile.maxLocksPerTransaction = main.u32();
  controlFile.walLevel = main.u32();
  checkPoint.walLevel = controlFile.walLevel;
  controlFile.walLogHints = main.u8() !== 0;
  const trackCommitTimestamp = main.u8() !== 0;
  if (trackCommitTimestamp) activateCommitTs(context);
  else deactivateCommitTs(context);
  controlFile.trackCommitTimestamp = trackCommitTimestamp;
  state.controlFileChanged();
  state.countersChanged();
}

function activateCommitTs(context: IngestContext): void {
  const { checkPoint } = context.state;
  const nextXid = checkPoint.nextXid % 0x1_0000_0000;
  if (checkPoint.oldestCommitTsXid === 0) {
    checkPoint.oldestCommitTsXid = nextXid;
    checkPoint.newestCommitTsXid = nextXid;
  }
  const page = slruPageOf(COMMIT_TS, nextXid);
  if (!slruPageExists(context, 'pg_commit_ts', page)) {
    writeSlruPage(context, 'pg_commit_ts', page, { kind: 'zero' });
  }
}

function deactivateCommitTs({ state }: IngestContext): void {
  state.checkPoint.oldestCommitTsXid = 0;
  state.checkPoint.newestCommitTsXid = 0;
  for (const { file } of state.files.segments('pg_commit_ts')) state.files.drop(file);
}
