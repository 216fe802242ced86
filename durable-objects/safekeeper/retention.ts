/**
 * How much WAL a safekeeper keeps, and how much it takes.
 *
 *   localBegin ──────────── polite ─────── safe ───── commit ── written ······ limit
 *        what may go at once ▲        ▲ what may go when there is much   ▲ nothing beyond is taken
 *
 * Politely, WAL stays until it is in object storage, safe at the pageserver and durable on every peer: all of them
 * are then served from here. More than `keptBytes` of it is not kept for their sake: once it is in object storage they
 * read it there (wal-source.ts), so a pageserver or a peer that is away for long fills nobody's object. Only
 * WAL that is not in object storage yet stays in any case, and of that no more is taken than `bytesMax`: the
 * proposer is told (`room`), waits, and Postgres waits with it.
 */
import { lsn, lsnPlus, type Lsn } from '../../lib/postgres/lsn.ts';
import { segmentStart, WAL_SEGMENT_BYTES } from '../../lib/postgres/wal/geometry.ts';
import type { AcceptorLog } from '../../lib/consensus/acceptor.ts';
import { APPEND_BYTES_MAX } from '../../lib/consensus/messages.ts';
import type { SafetyPositions } from './store.ts';

export interface RetentionLimits {
  /** WAL that is taken before some of it must have gone to object storage. */
  bytesMax: number;
  /** WAL that is kept for the pageserver's and the peers' sake. */
  keptBytes: number;
}
/** Variables of the Worker (wrangler.toml); unset, the defaults hold. */
export interface RetentionEnv {
  SAFEKEEPER_WAL_BYTES_MAX?: string;
  SAFEKEEPER_WAL_KEPT_BYTES?: string;
}

/** An object may hold 10 GB. WAL in rows of its own takes up to twice its bytes of SQLite's pages. */
const BYTES_MAX_DEFAULT = 4 * 2 ** 30;
const BYTES_MAX_HIGHEST = 4.5 * 2 ** 30;
/** Less, and what is committed would not reach a segment's end. The largest WAL record must fit besides. */
const BYTES_MAX_LOWEST = 2 * WAL_SEGMENT_BYTES + APPEND_BYTES_MAX;
const KEPT_BYTES_DEFAULT = 256 * 2 ** 20;

/** Throws RangeError. */
export function retentionLimits(env: RetentionEnv): RetentionLimits {
  const bytesMax = Number(env.SAFEKEEPER_WAL_BYTES_MAX ?? BYTES_MAX_DEFAULT);
  if (!(bytesMax >= BYTES_MAX_LOWEST && bytesMax <= BYTES_MAX_HIGHEST)) {
    const range = `${BYTES_MAX_LOWEST} to ${BYTES_MAX_HIGHEST}`;
    throw new RangeError(`SAFEKEEPER_WAL_BYTES_MAX ${env.SAFEKEEPER_WAL_BYTES_MAX}: ${range} expected`);
  }
  const kept = Number(env.SAFEKEEPER_WAL_KEPT_BYTES ?? Math.min(KEPT_BYTES_DEFAULT, bytesMax / 2));
  if (!(kept >= 0 && kept <= bytesMax)) {
    throw new RangeError(
      `SAFEKEEPER_WAL_KEPT_BYTES ${env.SAFEKEEPER_WAL_KEPT_BYTES}: 0 to ${bytesMax} expected`,
    );
  }
  return { bytesMax, keptBytes: kept };
}

/** Local WAL before this position may go: the start of a segment. */
export function trimmableBefore(
  { backupLsn, remoteConsistentLsn }: SafetyPositions,
  { commitLsn, truncateLsn, writtenLsn }: AcceptorLog,
  { keptBytes }: RetentionLimits,
): Lsn {
  const safe = Math.min(backupLsn, commitLsn);
  const polite = Math.min(safe, remoteConsistentLsn, truncateLsn);
  return segmentStart(lsn(Math.max(polite, Math.min(safe, writtenLsn - keptBytes))));
}

/** No WAL beyond it is taken while local WAL begins at `localBeginLsn`. */
export const limitOf = (localBeginLsn: Lsn, { bytesMax }: RetentionLimits): Lsn =>
  lsnPlus(localBeginLsn, bytesMax);
