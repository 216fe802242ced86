/**
 * Which acceptor trails: the one that a quorum is complete without.
 *
 * A commit needs two of three. Feeding the third at the same pace makes nothing safer sooner and costs a message and
 * a sync for each commit, on one machine even ahead of the two that count. So it gets what has gathered in larger
 * pieces. It is no less a member: what it has durably counts, and the moment that it is ahead of one of the others,
 * which then has become slow, it takes that one's place; so a slow or dying acceptor holds commits up no longer
 * than until the next `announce`. While two sets of members have to agree, nobody trails.
 */
import { majorityOf, type AcceptorNumber } from './configuration.ts';
import type { ProposerState, Streaming } from './proposer-state.ts';

/** The acceptor to be fed in larger pieces; 0 while all that stream are needed. */
export function chooseTrailing(
  state: Pick<ProposerState, 'acceptors' | 'configuration' | 'phase' | 'trailing'>,
): AcceptorNumber {
  const { members, newMembers } = state.configuration;
  if (state.phase !== 'leading' || newMembers !== null) return 0;
  const streaming: { number: AcceptorNumber; at: Streaming }[] = [];
  for (const { number, at } of state.acceptors) if (at.phase === 'streaming') streaming.push({ number, at });
  if (streaming.length <= majorityOf(members)) return 0;
  const last = streaming.reduce((a, b) => (b.at.writtenLsn <= a.at.writtenLsn ? b : a));
  const now = streaming.find(({ number }) => number === state.trailing);
  return now !== undefined && now.at.writtenLsn <= last.at.writtenLsn ? now.number : last.number;
}
