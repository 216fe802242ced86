/**
 * The WAL files around one record: what of them must be there for Postgres to read that record and write on.
 *
 *   segment   ┌ long header ┬ 0 … 0 ┐ … ┌ header ┬ 0 … 0 ┬ record ┐┌ contrecord header ┬ rest of record ┬ 0 …
 *             └─ first page ────────┘   └─ page of the record ────┘└─ next page ───────────────
 *
 * Postgres checks the headers of the segment's first page and of each page that it reads. The bytes of the
 * record's page before the record belong to WAL that is durable elsewhere and are never read, so they stay zero.
 */
import { lsn, type Lsn } from '../lsn.ts';
import type { WalFacts } from '../wal/facts.ts';
import {
  pageHeaderBytes,
  recordStart,
  segmentFileName,
  segmentNumber,
  segmentStart,
  WAL_PAGE_BYTES,
  WAL_SEGMENT_BYTES,
} from '../wal/geometry.ts';
import {
  XLogLongPageHeader,
  XLogPageHeader,
  XLP_FIRST_IS_CONTRECORD,
  XLP_LONG_HEADER,
} from '../wal/page-header.ts';

/** Bytes at their offsets in a file of `size` bytes that is zero elsewhere. */
export interface SparseFile {
  path: string;
  pieces: { offset: number; bytes: Uint8Array }[];
  size: number;
}

export interface WalIdentity {
  facts: WalFacts;
  /** TimeLineID. */
  timelineId: number;
  systemIdentifier: bigint;
}

export interface PlacedRecord {
  recordLsn: Lsn;
  /** Where the next record begins to be inserted: aligned, before any page header. */
  endLsn: Lsn;
  /** `pg_wal/…`, one or two of them. */
  segments: SparseFile[];
}

/** Places `record` where a record goes that follows the end position `end`. */
export function placeRecord(record: Uint8Array, end: Lsn, identity: WalIdentity): PlacedRecord {
  const segments = new Map<number, SparseFile>();
  const put = (at: Lsn, bytes: Uint8Array): void => {
    const number = segmentNumber(at);
    let segment = segments.get(number);
    if (segment === undefined) {
      const path = `pg_wal/${segmentFileName(identity.timelineId, number)}`;
      segments.set(number, (segment = { path, pieces: [], size: WAL_SEGMENT_BYTES }));
    }
    segment.pieces.push({ offset: at - segmentStart(at), bytes });
  };

  const recordLsn = recordStart(end);
  const page = lsn(recordLsn - (recordLsn % WAL_PAGE_BYTES));
  const segment = segmentStart(recordLsn);
  if (segment !== page) put(segment, pageHeader(segment, 0, identity));
  put(page, pageHeader(page, 0, identity));

  let position = recordLsn;
  for (let written = 0; written < record.length;) {
    if (position % WAL_PAGE_BYTES === 0) {
      put(position, pageHeader(position, record.length - written, identity));
      position = lsn(position + pageHeaderBytes(position));
    }
    const count = Math.min(record.length - written, WAL_PAGE_BYTES - (position % WAL_PAGE_BYTES));
    put(position, record.subarray(written, written + count));
    written += count;
    position = lsn(position + count);
  }
  const endLsn = lsn(Math.ceil(position / 8) * 8);
  return { recordLsn, endLsn, segments: [...segments.values()] };
}

/** `remainingLength` bytes of a record that began on an earlier page stand behind the header. */
function pageHeader(page: Lsn, remainingLength: number, identity: WalIdentity): Uint8Array {
  const continues = remainingLength > 0 ? XLP_FIRST_IS_CONTRECORD : 0;
  const header = {
    magic: identity.facts.pageMagic,
    info: continues,
    timelineId: identity.timelineId,
    pageAddress: page,
    remainingLength,
  };
  if (page % WAL_SEGMENT_BYTES !== 0) return XLogPageHeader.encode(header);
  return XLogLongPageHeader.encode({
    ...header,
    info: continues | XLP_LONG_HEADER,
    systemIdentifier: identity.systemIdentifier,
    segmentBytes: WAL_SEGMENT_BYTES,
    pageBytes: WAL_PAGE_BYTES,
  });
}
