/**
 * Which LSN a time stands for: the state at a time holds every commit at or before it, and none after it.
 *
 *   LSN   ──┬────────┬─────────────┬──────────►      the newest commit time up to an LSN never goes back,
 *          12:00    12:05         12:09              so the first commit after a time is found by halving
 *                     ▲ 12:07: up to here
 *
 * A commit counts as of the newest time up to it (TimelineState.committedAt): clocks of two computes, and of backends that
 * commit at once, need not agree.
 */
import { lsn as asLsn, type Lsn } from '../../../lib/postgres/lsn.ts';
import { COMMIT_TIME_KEY } from '../../../lib/storage/key.ts';
import { decodeTimestamp } from '../../../lib/storage/value.ts';
import type { TimelineReader } from '../read/timeline-reader.ts';

/** Records end at multiples of this. */
const ALIGNMENT = 8;

/** The newest commit time up to `at`: microseconds since 2000; null before the first commit. */
export async function commitTimeAt(reader: TimelineReader, at: Lsn): Promise<number | null> {
  const content = await reader.get(COMMIT_TIME_KEY, at, false);
  return content === null ? null : decodeTimestamp(content);
}

/**
 * The end of the first commit record in (`from`, `to`] after `time`; null when there is none. Nothing up to `from` is
 * after `time`.
 */
export async function firstCommitAfter(
  reader: TimelineReader,
  time: number,
  range: { from: Lsn; to: Lsn },
): Promise<Lsn | null> {
  const isAfter = async (at: Lsn): Promise<boolean> => {
    const newest = await commitTimeAt(reader, at);
    return newest !== null && newest > time;
  };
  let { from, to } = range;
  if (from >= to || !(await isAfter(to))) return null;
  while (to - from > ALIGNMENT) {
    const middle = asLsn(from + Math.floor((to - from) / ALIGNMENT / 2) * ALIGNMENT);
    if (await isAfter(middle)) to = middle;
    else from = middle;
  }
  return to;
}
