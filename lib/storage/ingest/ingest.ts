/**
 * Ingest: from a decoded WAL record to modifications of keys.
 *
 *   record ──► block references ──► relation page keys: the record, or its image
 *          └─► what it does beside: sizes, SLRUs, maps, databases, counters (a file for each resource manager)
 *
 * Synchronous and without I/O: everything that a record must be judged against is in `TimelineState`, which is
 * loaded once and then advanced record by record. Everything is emitted at the record's end LSN, at most one
 * value for each key. A resource manager that is not known here has only block references.
 *
 * Tablespaces other than the two built-in ones are stored like them; the boot manifest refuses them by name.
 */
import { RM } from '../../postgres/wal/facts.ts';
import type { WalRecord } from '../../postgres/wal/record.ts';
import { MalformedMessage } from '../../protocol/bytes.ts';
import type { TimelineState } from '../state/timeline-state.ts';
import type { Emit } from '../value.ts';
import { ingestBlocks } from './blocks.ts';
import { IngestError, type IngestContext } from './context.ts';
import { ingestDbase, ingestRelmap, type DatabaseCopy } from './dbase.ts';
import { ingestClog, ingestCommitTs, ingestMultixact } from './slru.ts';
import { ingestSmgr } from './smgr.ts';
import { ingestVisibility } from './visibility.ts';
import { ingestXact } from './xact.ts';
import { ingestXlog } from './xlog.ts';

export { IngestError, type IngestErrorCode } from './context.ts';
export { copyDatabase, type DatabaseCopy } from './dbase.ts';

/**
 * Advances `state` by `record` and gives its modifications to `emit`, all at `record.endLsn`. Keeps nothing of
 * `record`. Where it returns a copy, the caller carries that out (`copyDatabase`) before the next record.
 *
 * Throws IngestError; `state` is then not to be used any more.
 */
export function ingestRecord(state: TimelineState, record: WalRecord, emit: Emit): DatabaseCopy | null {
  const context: IngestContext = { record, state, emit };
  state.lastRecordLsn = record.lsn;
  if (record.xid !== 0) state.advancePastXid(record.xid);
  try {
    ingestBlocks(context);
    const copy = ingestBeside(context);
    state.emitChanged(emit);
    return copy;
  } catch (error) {
    if (error instanceof MalformedMessage) {
      throw new IngestError('malformed', record, error.message, error);
    }
    throw error;
  }
}

function ingestBeside(context: IngestContext): DatabaseCopy | null {
  switch (context.record.resourceManager) {
    case RM.HEAP:
    case RM.HEAP2:
      ingestVisibility(context);
      return null;
    case RM.XLOG:
      ingestXlog(context);
      return null;
    case RM.XACT:
      ingestXact(context);
      return null;
    case RM.SMGR:
      ingestSmgr(context);
      return null;
    case RM.CLOG:
      ingestClog(context);
      return null;
    case RM.MULTIXACT:
      ingestMultixact(context);
      return null;
    case RM.COMMIT_TS:
      ingestCommitTs(context);
      return null;
    case RM.RELMAP:
      ingestRelmap(context);
      return null;
    case RM.DBASE:
      return ingestDbase(context);
    default:
      return null;
  }
}
