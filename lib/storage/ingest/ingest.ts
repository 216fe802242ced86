/**
 * Ingest: from a decoded WAL record to modifications of keys.
 *
 * Synchronous and without I/O: everything that a record must be judged against (relation sizes, databases,
 * SLRU segments, checkpoint fields) is in `TimelineState`, which is loaded once (`loadTimelineState`) and then
 * advanced record by record.
 */
import type { WalRecord } from '../../postgres/wal/record.ts';
import type { Emit } from '../value.ts';

/**
 * CREATE DATABASE … STRATEGY file_copy: every page of one database becomes a page of another, at the record's
 * end LSN. The timeline carries it out with `copyDatabase` before it ingests the next record.
 */
export interface DatabaseCopy {
  from: { spcOid: number; dbOid: number };
  to: { spcOid: number; dbOid: number };
}

/** The record's modifications go to `emit`, all at `record.endLsn`. Synchronous; keeps nothing of `record`. */
export type IngestRecord = (record: WalRecord, emit: Emit) => DatabaseCopy | null;
