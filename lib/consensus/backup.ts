/**
 * Backup election: which acceptor copies committed WAL to object storage.
 *
 * While a proposer runs it names one in every append: the one it named before, while that is connected, not far behind,
 * and gets something done; else the next one in turn. Without a proposer each acceptor knows its turn: who was named
 * last copies the tail at once, the others after a patience each, unless they hear that it is done. That two of them
 * might copy at once does no harm: a segment of committed WAL has one content, and a put of it can be repeated.
 */
import { acceptorsOf, type AcceptorNumber, type Configuration } from './configuration.ts';
import type { AcceptorProgress, ProposerState } from './proposer-state.ts';

/** A named acceptor this far behind `commitLsn` is replaced. */
export const BACKUP_LAG_BYTES_MAX = 64 << 20;
/** How long each in turn waits for the one before, when no proposer is there to name another. */
export const BACKUP_PATIENCE_MS = 60_000;

/** The acceptor to be named; 0 while none will do. */
export function chooseBackup(
  state: Pick<
    ProposerState,
    'acceptors' | 'backupBy' | 'backupLsn' | 'backupSinceLsn' | 'commitLsn' | 'config'
  >,
): AcceptorNumber {
  const { backupBy, backupLsn, backupSinceLsn, commitLsn } = state;
  const fit = ({ at, flushLsn }: AcceptorProgress) =>
    at.phase === 'streaming' && flushLsn !== null && commitLsn - flushLsn <= BACKUP_LAG_BYTES_MAX;
  let first: AcceptorNumber = 0;
  let next: AcceptorNumber = 0;
  const stuck = commitLsn - Math.max(backupLsn, backupSinceLsn) > state.config.limits.backupStuckBytesMax;
  for (const acceptor of state.acceptors) {
    if (!fit(acceptor)) continue;
    const { number } = acceptor;
    if (number === backupBy && !stuck) return number;
    if (first === 0) first = number;
    if (next === 0 && number > backupBy) next = number;
  }
  return next === 0 ? first : next;
}

/**
 * After how many milliseconds acceptor `number` is to copy what is committed and not yet copied, unless it hears before
 * that it is; null: not its task.
 */
export function backupDuty({
  number,
  configuration,
  backupBy,
  proposerWrites,
}: {
  number: AcceptorNumber;
  configuration: Configuration;
  /** Named last; 0 where nobody was. */
  backupBy: AcceptorNumber;
  /** A proposer is connected and has not left. */
  proposerWrites: boolean;
}): number | null {
  if (proposerWrites) return number === backupBy ? 0 : null;
  const all = acceptorsOf(configuration);
  const own = all.indexOf(number);
  if (own < 0) return null;
  const first = Math.max(all.indexOf(backupBy), 0);
  return ((own - first + all.length) % all.length) * BACKUP_PATIENCE_MS;
}
