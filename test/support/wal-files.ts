/** WAL out of a data directory's pg_wal, for tests that decode what a real Postgres wrote. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { lsn, type Lsn } from '../../lib/postgres/lsn.ts';
import { segmentFileName, segmentNumber, WAL_SEGMENT_BYTES } from '../../lib/postgres/wal/geometry.ts';

/** WAL bytes `[from, to)` of timeline 1, segment by segment. Throws where a segment is missing. */
export function* readWal(dataDirectory: string, from: Lsn, to: Lsn): Generator<Uint8Array> {
  let at: number = from;
  while (at < to) {
    const segment = segmentNumber(lsn(at));
    const bytes = readFileSync(join(dataDirectory, 'pg_wal', segmentFileName(1, segment)));
    const start = at - segment * WAL_SEGMENT_BYTES;
    const end = Math.min(WAL_SEGMENT_BYTES, to - segment * WAL_SEGMENT_BYTES);
    yield bytes.subarray(start, end);
    at = segment * WAL_SEGMENT_BYTES + end;
  }
}

/** First byte of the oldest segment from which on every segment up to `to` is there. */
export function oldestWal(dataDirectory: string, to: Lsn): Lsn {
  let segment = segmentNumber(lsn(Math.max(0, to - 1)));
  const exists = (n: number) => existsSync(join(dataDirectory, 'pg_wal', segmentFileName(1, n)));
  while (segment > 1 && exists(segment - 1)) segment--;
  return lsn(segment * WAL_SEGMENT_BYTES);
}
