/**
 * The counters of a checkpoint, advanced by WAL the way recovery advances them: xids by what a record names,
 * OIDs by NEXTOID, multixacts by CREATE_ID, horizons by checkpoints and truncations.
 *
 * Source: AdvanceNextFullTransactionIdPastXid (access/transam/varsup.c), xlog_redo, multixact_redo.
 */
import type { CheckPointFields } from '../../postgres/checkpoint.ts';
import { FIRST_NORMAL_XID, idPrecedes, xidFollowsOrEquals } from '../../postgres/slru/pages.ts';

const EPOCH = 0x1_0000_0000;

/** Makes `nextXid` larger than `xid`. True when it was not. */
export function advancePastXid(fields: CheckPointFields, xid: number): boolean {
  const next = fields.nextXid % EPOCH;
  if (!xidFollowsOrEquals(xid, next)) return false;
  let advanced = (xid + 1) % EPOCH;
  if (advanced < FIRST_NORMAL_XID) advanced = FIRST_NORMAL_XID;
  const epoch = Math.floor(fields.nextXid / EPOCH) + (advanced < next ? 1 : 0);
  fields.nextXid = epoch * EPOCH + advanced;
  return true;
}

/** The epoch of an xid that was assigned before `nextXid` (AdjustToFullTransactionId). */
export function epochOf(fields: CheckPointFields, xid: number): number {
  const epoch = Math.floor(fields.nextXid / EPOCH);
  return xid >= fields.nextXid % EPOCH && epoch > 0 ? epoch - 1 : epoch;
}

/** MultiXactAdvanceNextMXact. */
export function advanceMulti(fields: CheckPointFields, multi: number, offset: number): void {
  const [minMulti, minOffset] = [multi >>> 0, offset >>> 0];
  if (idPrecedes(fields.nextMulti, minMulti)) fields.nextMulti = minMulti;
  if (idPrecedes(fields.nextMultiOffset, minOffset)) fields.nextMultiOffset = minOffset;
}

/** What a checkpoint record says; of a shutdown checkpoint every counter is believed exactly. */
export function applyCheckPoint(fields: CheckPointFields, read: CheckPointFields, shutdown: boolean): void {
  fields.redo = read.redo;
  fields.timelineId = read.timelineId;
  fields.previousTimelineId = read.previousTimelineId;
  fields.fullPageWrites = read.fullPageWrites;
  fields.walLevel = read.walLevel;
  fields.time = read.time;
  fields.oldestActiveXid = read.oldestActiveXid;
  if (shutdown) {
    fields.nextXid = read.nextXid;
    fields.nextOid = read.nextOid;
    fields.nextMulti = read.nextMulti;
    fields.nextMultiOffset = read.nextMultiOffset;
  } else {
    // nextOid of an online checkpoint is from its beginning: NEXTOID records know better.
    if (read.nextXid > fields.nextXid) fields.nextXid = read.nextXid;
    advanceMulti(fields, read.nextMulti, read.nextMultiOffset);
  }
  if (shutdown || idPrecedes(fields.oldestXid, read.oldestXid)) {
    fields.oldestXid = read.oldestXid;
    fields.oldestXidDb = read.oldestXidDb;
  }
  if (idPrecedes(fields.oldestMulti, read.oldestMulti)) {
    fields.oldestMulti = read.oldestMulti;
    fields.oldestMultiDb = read.oldestMultiDb;
  }
}
