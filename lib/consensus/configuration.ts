/**
 * Configuration: which acceptors hold a timeline's log, and what a quorum of them is.
 *
 *   {generation 1, members 1 2 3} ─► {2, members 1 2 3, newMembers 1 2 4} ─► {3, members 1 2 4}
 *                                          joint: a quorum is a majority of both
 *
 * The control plane alone makes them (membership.ts), each of a higher generation than any before and known to it
 * durably before anyone else hears of it. An acceptor keeps the newest it has met and obeys no proposer of an
 * older one; a proposer takes over a newer one that it meets. Any two quorums of neighbouring generations share an
 * acceptor: that is what joint ones are for.
 */
import { assert } from '../assert.ts';
import type { Lsn } from '../postgres/lsn.ts';

/** One acceptor: the number in the safekeeper's name. A number is never given to a second one. */
export type AcceptorNumber = number;

export interface Configuration {
  /** From 1 on; 0 is what an acceptor has that was never told. */
  readonly generation: number;
  readonly members: readonly AcceptorNumber[];
  /** While joint: the members-to-be, some of them members already. */
  readonly newMembers: readonly AcceptorNumber[] | null;
}

export const MEMBERS_MAX = 7;
export const ACCEPTOR_NUMBER_MAX = 255;
export const GENERATION_MAX = 2 ** 32 - 1;

/** What an acceptor has that was never told: it is a member of nothing, and takes over whatever it meets. */
export const NO_CONFIGURATION: Configuration = { generation: 0, members: [], newMembers: null };

export const firstConfiguration = (members: readonly AcceptorNumber[]): Configuration => ({
  generation: 1,
  members,
  newMembers: null,
});

/** Null, or why this cannot be a configuration: for what comes from outside. */
export function configurationFault({ generation, members, newMembers }: Configuration): string | null {
  if (generation === 0) {
    return members.length === 0 && newMembers === null ? null : 'generation 0 has members';
  }
  return membersFault(members) ?? (newMembers === null ? null : membersFault(newMembers));
}
function membersFault(members: readonly AcceptorNumber[]): string | null {
  if (members.length === 0 || members.length > MEMBERS_MAX) {
    return `${members.length} members: 1 to ${MEMBERS_MAX} expected`;
  }
  for (let i = 0; i < members.length; i++) {
    if (members[i] < 1 || members[i] > ACCEPTOR_NUMBER_MAX) return `member ${members[i]}`;
    if (i > 0 && members[i] <= members[i - 1]) return `member ${members[i]} follows ${members[i - 1]}`;
  }
  return null;
}

/** All that a proposer of `configuration` writes to, in ascending order. */
export function acceptorsOf({ members, newMembers }: Configuration): AcceptorNumber[] {
  if (newMembers === null) return [...members];
  return [...new Set([...members, ...newMembers])].sort((a, b) => a - b);
}

export const sameConfiguration = (a: Configuration, b: Configuration): boolean =>
  a === b ||
  (a.generation === b.generation &&
    sameMembers(a.members, b.members) &&
    (a.newMembers === null || b.newMembers === null
      ? a.newMembers === b.newMembers
      : sameMembers(a.newMembers, b.newMembers)));
const sameMembers = (a: readonly AcceptorNumber[], b: readonly AcceptorNumber[]): boolean =>
  a.length === b.length && a.every((member, i) => member === b[i]);

export const majorityOf = (members: readonly AcceptorNumber[]): number => Math.floor(members.length / 2) + 1;

/** True when those for whom `has` holds are a quorum: a majority of the members, and of the new ones while joint. */
export const isQuorum = (
  { members, newMembers }: Configuration,
  has: (member: AcceptorNumber) => boolean,
): boolean => isMajority(members, has) && (newMembers === null || isMajority(newMembers, has));

export function isMajority(
  members: readonly AcceptorNumber[],
  has: (member: AcceptorNumber) => boolean,
): boolean {
  let count = 0;
  for (const member of members) if (has(member)) count++;
  return count >= majorityOf(members);
}

/** The highest position that a quorum has reached; null while too few have told theirs. */
export function quorumPosition(
  { members, newMembers }: Configuration,
  positionOf: (member: AcceptorNumber) => Lsn | null,
): Lsn | null {
  const position = majorityPosition(members, positionOf);
  if (newMembers === null || position === null) return position;
  const ofNew = majorityPosition(newMembers, positionOf);
  return ofNew !== null && ofNew < position ? ofNew : ofNew === null ? null : position;
}
function majorityPosition(
  members: readonly AcceptorNumber[],
  positionOf: (member: AcceptorNumber) => Lsn | null,
): Lsn | null {
  const known: Lsn[] = [];
  for (const member of members) {
    const position = positionOf(member);
    if (position !== null) known.push(position);
  }
  const needed = majorityOf(members);
  if (known.length < needed) return null;
  known.sort((a, b) => b - a);
  return known[needed - 1];
}

export const describeConfiguration = ({ generation, members, newMembers }: Configuration): string =>
  `${generation} [${members.join(' ')}]${newMembers === null ? '' : ` → [${newMembers.join(' ')}]`}`;

/** The joint configuration in which `newMembers` take over. */
export function jointOf(now: Configuration, newMembers: readonly AcceptorNumber[]): Configuration {
  assert(now.newMembers === null, `configuration ${describeConfiguration(now)} is joint already`);
  const sorted = [...newMembers].sort((a, b) => a - b);
  return { generation: now.generation + 1, members: now.members, newMembers: sorted };
}
