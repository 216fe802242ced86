/**
 * Which acceptor copies WAL to object storage.
 *
 * The proposer names one in every append. It keeps the one it named while that one is connected and not far behind,
 * else takes the lowest number that is. That two of them might copy at once (around a change) does no harm: a
 * segment of committed WAL has one content, and a put of it can be repeated.
 */
import type { AcceptorNumber } from './messages.ts';
import type { AcceptorProgress, ProposerState } from './proposer-state.ts';

/** A named acceptor this far behind `commitLsn` is replaced. */
export const BACKUP_LAG_BYTES_MAX = 64 << 20;

/** The acceptor to be named; 0 while none will do. */
export function chooseBackup(
  state: Pick<ProposerState, 'acceptors' | 'backupBy' | 'commitLsn'>,
): AcceptorNumber {
  const fit = ({ at, flushLsn }: AcceptorProgress) =>
    at.phase === 'streaming' && flushLsn !== null && state.commitLsn - flushLsn <= BACKUP_LAG_BYTES_MAX;
  const fitting = state.acceptors.filter(fit).map((acceptor) => acceptor.number);
  if (fitting.includes(state.backupBy)) return state.backupBy;
  return fitting.length === 0 ? 0 : Math.min(...fitting);
}
