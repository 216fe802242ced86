/**
 * pg_commit_ts: time and replication origin of each commit, ten bytes a transaction, 819 transactions a page.
 *
 * Source: access/transam/commit_ts.c.
 */
/** `index`: xid modulo 819. `timestamp`: the eight bytes of a TimestampTz. */
export function setCommitTimestamp(
  page: Uint8Array,
  index: number,
  timestamp: Uint8Array,
  origin: number,
): void {
  page.set(timestamp, index * 10);
  page[index * 10 + 8] = origin & 0xff;
  page[index * 10 + 9] = origin >>> 8;
}
