/** What the ingest of one record works with, and the error of a record that cannot be ingested. */
import { formatLsn } from '../../postgres/lsn.ts';
import type { WalRecord } from '../../postgres/wal/record.ts';
import { ByteReader } from '../../protocol/bytes.ts';
import { FORK } from '../key.ts';
import type { TimelineState } from '../state/timeline-state.ts';
import type { Emit } from '../value.ts';

export interface IngestContext {
  readonly record: WalRecord;
  readonly state: TimelineState;
  readonly emit: Emit;
}

export type IngestErrorCode =
  /** A record type that its resource manager did not have when this was written. */
  | 'unknownRecord'
  /** Main data that does not have the form its type promises. */
  | 'malformed';

/**
 * A record that cannot be ingested. The state may have taken in half of it: reload it before going on. Nothing is
 * gained by skipping the record, since pages would silently lack it.
 */
export class IngestError extends Error {
  override readonly name = 'IngestError';
  readonly code: IngestErrorCode;
  constructor(code: IngestErrorCode, record: WalRecord, message: string, cause?: unknown) {
    const type = `resource manager ${record.resourceManager}, info 0x${record.info.toString(16)}`;
    super(`record at ${formatLsn(record.lsn)} (${type}): ${message}`, cause === undefined ? {} : { cause });
    this.code = code;
  }
}

/** Reads the record's main data. */
export const mainData = (record: WalRecord): ByteReader =>
  new ByteReader(record.bytes.subarray(record.mainStart, record.mainStart + record.mainLength));

export const unknownRecord = (record: WalRecord): IngestError =>
  new IngestError('unknownRecord', record, 'not a record type of Postgres 18');

/** A fork number of WAL, checked. Throws IngestError. */
export function knownFork(record: WalRecord, fork: number): number {
  if (fork <= FORK.init) return fork;
  throw new IngestError('malformed', record, `fork ${fork}: 0 to ${FORK.init} expected`);
}
