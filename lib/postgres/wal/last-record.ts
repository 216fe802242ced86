/**
 * The last record that ends at or before a position: where a log may be cut, or a branch may begin.
 *
 * WAL cannot be read backwards, so decoding begins some pages before the position, and further back when no record
 * ends in between (a record may be large, and an XLOG_SWITCH ends with its segment).
 */
import { lsn as asLsn, type Lsn } from '../lsn.ts';
import { newWalRecord } from './record.ts';
import { WalDecoder } from './decoder.ts';
import type { WalFacts } from './facts.ts';
import { WAL_PAGE_BYTES } from './geometry.ts';

const WINDOW_BYTES = 2 * WAL_PAGE_BYTES;
const WINDOW_FACTOR = 8;

export interface LastRecord {
  recordLsn: Lsn;
  endLsn: Lsn;
}

export interface LastRecordOptions {
  /** All bytes of `[from, to)`. */
  read: (from: Lsn, to: Lsn) => Promise<Uint8Array>;
  facts: WalFacts;
  /** Where the log begins: the end of a record, or the start of a segment. */
  startLsn: Lsn;
  at: Lsn;
}

/** Null when no record of the log ends at or before `at`. Throws WalError, and what `read` throws. */
export async function lastRecordBefore({
  read,
  facts,
  startLsn,
  at,
}: LastRecordOptions): Promise<LastRecord | null> {
  for (let window = WINDOW_BYTES; ; window *= WINDOW_FACTOR) {
    const wanted = at - Math.min(window, at);
    const from = asLsn(Math.max(startLsn, wanted - (wanted % WAL_PAGE_BYTES)));
    if (from >= at) return null;
    const decoder = new WalDecoder({ startLsn: from, facts });
    decoder.push(await read(from, at));
    const record = newWalRecord();
    let last: LastRecord | null = null;
    while (decoder.next(record)) last = { recordLsn: record.lsn, endLsn: record.endLsn };
    if (last !== null || from === startLsn) return last;
  }
}
