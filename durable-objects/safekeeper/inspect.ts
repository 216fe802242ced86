/** What a person sees of a safekeeper: `ebb inspect safekeepers`, `ebb inspect wal`. */
import { formatLsn, lsn, parseLsn, type Lsn } from '../../lib/postgres/lsn.ts';
import type { AcceptorState } from '../../lib/consensus/acceptor.ts';
import { acceptorsOf, type AcceptorNumber, type Configuration } from '../../lib/consensus/configuration.ts';
import { PLACES } from '../../lib/protocol/safekeepers.ts';
import type { RetentionLimits } from './retention.ts';
import type { Parts } from './safekeeper.ts';
import type { SafekeeperStore } from './store.ts';

/** Bytes of one answer of /inspect/wal. */
export const INSPECT_WAL_BYTES_MAX = 32 << 20;

/** The other members, as far as `own` knows. */
export const peersOf = (own: AcceptorNumber, configuration: Configuration): AcceptorNumber[] => {
  const known = acceptorsOf(configuration);
  return (known.length === 0 ? [...PLACES] : known).filter((n) => n !== own);
};

export function statusOf(
  { store, acceptor, readers, backup }: Parts,
  { bytesMax, keptBytes }: RetentionLimits,
) {
  const { state } = acceptor;
  const { log } = state;
  const localBeginLsn = store.localBeginLsn();
  const { projectId, timelineId, startLsn } = store.timeline;
  return {
    projectId,
    timelineId,
    startLsn,
    safekeeper: store.number,
    term: log.term,
    votedFor: log.votedFor,
    history: log.history.map((entry) => ({ term: entry.term, lsn: formatLsn(entry.lsn) })),
    flushLsn: formatLsn(log.flushLsn),
    writtenLsn: formatLsn(log.writtenLsn),
    commitLsn: formatLsn(log.commitLsn),
    truncateLsn: formatLsn(log.truncateLsn),
    localBeginLsn: formatLsn(localBeginLsn),
    backupLsn: formatLsn(store.positions.backupLsn),
    partialBackupLsn: formatLsn(store.positions.partialLsn),
    remoteConsistentLsn: formatLsn(store.positions.remoteConsistentLsn),
    backupBy: state.backupBy,
    backupFailure: backup.failure,
    walBytes: log.writtenLsn - localBeginLsn,
    walBytesMax: bytesMax,
    walKeptBytes: keptBytes,
    databaseBytes: store.databaseBytes,
    full: log.writtenLsn >= state.limitLsn,
    proposers: state.connections.size,
    proposerWrites: state.writing !== null && !state.left,
    readers: readers.list(),
    configuration: log.configuration,
    peers: peersOf(store.number, log.configuration),
  };
}

const refused = (message: string, status: number): Response =>
  Response.json({ code: 'badRequest', message }, { status });

/** Raw bytes of `[from, to)` as they are in local storage; up to `commitLsn`, or with `uncommitted=1` all. */
export function inspectWal(url: URL, store: SafekeeperStore, state: AcceptorState): Response {
  const { log } = state;
  const endLsn = url.searchParams.get('uncommitted') === '1' ? log.writtenLsn : log.commitLsn;
  let from: Lsn;
  let to: Lsn;
  try {
    from = parseLsn(url.searchParams.get('from') ?? '');
    to = url.searchParams.has('to') ? parseLsn(url.searchParams.get('to') ?? '') : endLsn;
  } catch (error) {
    return refused(error instanceof RangeError ? error.message : String(error), 400);
  }
  const begin = store.localBeginLsn();
  if (from < begin || to < from || to > endLsn) {
    const range = `${formatLsn(begin)} to ${formatLsn(endLsn)}`;
    return refused(`WAL from ${formatLsn(from)} to ${formatLsn(to)}: ${range} is here`, 416);
  }
  if (to - from > INSPECT_WAL_BYTES_MAX)
    return refused(`${to - from} bytes: at most ${INSPECT_WAL_BYTES_MAX}`, 400);
  const bytes = new Uint8Array(to - from);
  for (let at = 0; at < bytes.length;) {
    const found = store.readWal({ fromLsn: lsn(from + at), endLsn: to, bytesMax: bytes.length - at });
    if (found === null) return refused(`WAL at ${formatLsn(lsn(from + at))} is not here`, 416);
    for (const part of found.parts) {
      bytes.set(part, at);
      at += part.length;
    }
  }
  return new Response(bytes, { headers: { 'content-type': 'application/octet-stream' } });
}
