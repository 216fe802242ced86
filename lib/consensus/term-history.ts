/**
 * Term history: which term wrote which stretch of a log.
 *
 *   [(0, 0/3000000), (4, 0/3000000), (7, 0/30151A8)]
 *       term 4 wrote from 0/3000000 up to 0/30151A8, term 7 from there on
 *
 * Terms ascend, positions never descend; the first entry (term 0 at the timeline's start) stands for "nothing yet".
 * A term's entry is made once, by the one proposer elected in it, and everything before it comes with it. So two
 * histories that share a term agree on everything before the start of that term (Raft's log matching), and
 * old entries may be pruned once every acceptor's log has passed them.
 */
import type { Lsn } from '../postgres/lsn.ts';

export interface TermStart {
  term: number;
  /** Where this term's proposer began to write. */
  lsn: Lsn;
}
export type TermHistory = readonly TermStart[];

/** History of a log that nobody has written to. */
export const emptyHistory = (startLsn: Lsn): TermHistory => [{ term: 0, lsn: startLsn }];

export const lastTermOf = (history: TermHistory): number => history.at(-1)!.term;

/** What of `history` a log that ends at `endLsn` has: entries that start at or before it. */
export function upTo(history: TermHistory, endLsn: Lsn): TermHistory {
  let count = history.length;
  while (count > 0 && history[count - 1].lsn > endLsn) count--;
  return count === history.length ? history : history.slice(0, count);
}

/** Null, or why this cannot be a history: for what comes from outside. */
export function historyFault(history: TermHistory): string | null {
  if (history.length === 0) return 'term history is empty';
  for (let i = 1; i < history.length; i++) {
    const [before, entry] = [history[i - 1], history[i]];
    if (entry.term <= before.term) return `term ${entry.term} follows term ${before.term} in the history`;
    if (entry.lsn < before.lsn) return `term ${entry.term} starts before term ${before.term}`;
  }
  return null;
}

/** True when a term starts at `lsn`, which is therefore the end of a record. */
export const startsTermAt = (history: TermHistory, lsn: Lsn): boolean =>
  history.some((entry) => entry.lsn === lsn);

/** A position in a log's history, ordered by last term, then length: the more advanced log wins an election. */
export interface LogPosition {
  history: TermHistory;
  flushLsn: Lsn;
}
export function isMoreAdvanced(a: LogPosition, b: LogPosition): boolean {
  const [termA, termB] = [lastTermOf(a.history), lastTermOf(b.history)];
  return termA !== termB ? termA > termB : a.flushLsn > b.flushLsn;
}

/**
 * False for a newcomer that has not got as far as what was pruned. Its log must go on behind that: else its history would
 * say of WAL before the pruned history's beginning that an older term wrote it.
 */
export const sharesTerm = (proposer: TermHistory, acceptor: TermHistory): boolean =>
  acceptor.some(({ term }) => proposer.some((entry) => entry.term === term));

/**
 * End of what a proposer's log (which has no end) and an acceptor's log have in common. Where no term is common, the
 * acceptor is a newcomer (`sharesTerm`): then it is what the acceptor knows to be committed.
 * Null where they contradict each other (one term with two starts), which no run of the protocol brings about.
 */
export function commonEnd(proposer: TermHistory, acceptor: LogPosition & { commitLsn: Lsn }): Lsn | null {
  for (let i = acceptor.history.length - 1; i >= 0; i--) {
    const { term, lsn } = acceptor.history[i];
    const at = proposer.findIndex((entry) => entry.term === term);
    if (at < 0) continue;
    if (proposer[at].lsn !== lsn) return null;
    const acceptorEnd = i + 1 < acceptor.history.length ? acceptor.history[i + 1].lsn : acceptor.flushLsn;
    const proposerEnd = at + 1 < proposer.length ? proposer[at + 1].lsn : acceptorEnd;
    return acceptorEnd < proposerEnd ? acceptorEnd : proposerEnd;
  }
  const startLsn = acceptor.history[0].lsn;
  return acceptor.commitLsn > startLsn ? acceptor.commitLsn : startLsn;
}

/**
 * Leaves out terms that ended before `lsn`, which every acceptor has durably, and which is in object storage, where a
 * newcomer begins behind it: no log will ever diverge there. A
 * term that starts at `lsn` itself may be newer than what some acceptor knows, so the one before it stays too.
 */
export function pruneBefore(history: TermHistory, lsn: Lsn): TermHistory {
  let first = 0;
  while (first + 1 < history.length && history[first + 1].lsn < lsn) first++;
  return first === 0 ? history : history.slice(first);
}

/**
 * The history of a log that was cut at `atLsn` (its common end with the proposer's) and now follows the
 * proposer's `elected` history. Of what the proposer's pruned history no longer knows, the log keeps its own.
 */
export function adopt(own: TermHistory, elected: TermHistory, atLsn: Lsn): TermHistory {
  const older = upTo(own, atLsn).filter((entry) => entry.term < elected[0].term);
  return older.length === 0 ? elected : [...older, ...elected];
}
