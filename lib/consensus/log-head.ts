/**
 * Where a timeline's log ends: what is committed, as its three safekeepers say, whether its compute runs, sleeps or has
 * crashed. A commit that was acknowledged to anyone is in it.
 *
 *   safekeeper 1   ─────────────────●  flush         two of them hold the log of the newest term up to here:
 *   safekeeper 2   ──────────────●                   that is committed, known to them already or not
 *   safekeeper 3   ──────────●
 *
 * With one of them out of reach the other two may hold different lengths, and the longer one's end may or may not be
 * committed: then only asking again tells (`settled: false`). Likewise while a new proposer recovers the log.
 */
import { lsn, type Lsn } from '../postgres/lsn.ts';
import { SAFEKEEPER_COUNT } from '../protocol/specs.ts';
import type { AcceptorLog } from './acceptor.ts';
import { lastTermOf, upTo } from './term-history.ts';

/** How far one safekeeper's log reaches. LSNs as numbers. */
export interface LogReach {
  /** The term that wrote the end of the log. */
  lastTerm: number;
  /** End of the last whole record, durable. */
  flushLsn: number;
  /** What it knows to be committed, which may be a little less than is. */
  commitLsn: number;
}

/** Terms whose part of the history this log does not reach yet do not count: it may lack what was committed in them. */
export const reachOf = ({ history, flushLsn, commitLsn }: AcceptorLog): LogReach => ({
  lastTerm: lastTermOf(upTo(history, flushLsn)),
  flushLsn,
  commitLsn,
});

export interface LogHead {
  committedLsn: Lsn;
  /** The term in which that is committed, for `learnCommit`. */
  term: number;
  /** No acknowledged commit can be beyond `committedLsn`. */
  settled: boolean;
  /** The end of the most advanced log that answered: once it is committed, everything acknowledged before is. */
  advancedLsn: Lsn;
  /** What the safekeepers themselves know to be committed. */
  knownLsn: Lsn;
}

const QUORUM = Math.floor(SAFEKEEPER_COUNT / 2) + 1;

/** `reaches`: of those that answered; a quorum of them. Null when fewer than a quorum have a log at all. */
export function logHead(reaches: readonly LogReach[]): LogHead | null {
  if (reaches.length < QUORUM) return null;
  const term = Math.max(...reaches.map(({ lastTerm }) => lastTerm));
  const flushes = reaches
    .filter(({ lastTerm }) => lastTerm === term)
    .map(({ flushLsn }) => flushLsn)
    .sort((a, b) => b - a);
  const known = Math.max(...reaches.map(({ commitLsn }) => commitLsn));
  const held = flushes[QUORUM - 1];
  const committed = Math.max(known, held ?? 0);
  const advanced = flushes[0];
  const isSettled = committed >= advanced || (held !== undefined && reaches.length === SAFEKEEPER_COUNT);
  return {
    committedLsn: lsn(committed),
    term,
    settled: isSettled,
    advancedLsn: lsn(advanced),
    knownLsn: lsn(known),
  };
}
