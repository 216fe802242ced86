/**
 * Membership: how the acceptors of a timeline are replaced, as a pure step of the control plane (the Project).
 *
 *   stable ── replace ──► joining ── the new members have all ──► settling ── a majority has heard ──► stable
 *                            └────────────── cancel ─────────────────┘
 *   configuration  {n}      {n+1, joint}                          {n+2}
 *
 * While joint, a quorum is a majority of both sets, so nothing is committed, and nobody elected, without either.
 * The second bump is safe once whatever was committed or elected before the first one can neither be lost nor
 * repeated by a majority of the new members alone. That is known so:
 *
 *   1. A majority of the old members is in n+1. Nothing can be committed or elected in n any more, and all that
 *      ever was is covered by what these told then: `sync`, the highest log and the highest term among them.
 *   2. A majority of the new members, and each newcomer, follows a leader of at least that term, with a log at
 *      least as advanced. (To follow a leader seals the vote of its term: `elected` in acceptor.ts.)
 *
 * Who brings them there is a proposer: the compute's, which hears of n+1 from the acceptors, or, where none runs,
 * one that the shell runs for this (`needsProposer`), with a term of its own, until it leads. `persist` is
 * durable before anything is told. All of `statuses` is asked again after a crash.
 */
import { assert, assertNever } from '../assert.ts';
import type { Lsn } from '../postgres/lsn.ts';
import type { AcceptorStatus } from './acceptor-state.ts';
import {
  acceptorsOf,
  isMajority,
  jointOf,
  type AcceptorNumber,
  type Configuration,
} from './configuration.ts';

/** How far the log and the terms of the old members reached when a majority of them was in the joint configuration. */
export interface SyncPoint {
  term: number;
  lastLogTerm: number;
  flushLsn: Lsn;
}

export type MembershipState =
  | { readonly phase: 'stable'; readonly configuration: Configuration }
  | {
      readonly phase: 'joining';
      readonly configuration: Configuration;
      /** Of each acceptor that is in this configuration: what it told first and last. */
      readonly first: ReadonlyMap<AcceptorNumber, AcceptorStatus>;
      readonly last: ReadonlyMap<AcceptorNumber, AcceptorStatus>;
      /** From the first statuses of a majority of the old members. */
      readonly sync: SyncPoint | null;
    }
  | {
      readonly phase: 'settling';
      readonly configuration: Configuration;
      /** Who was in the joint configuration: they are told, and those who are members no more retired. */
      readonly before: readonly AcceptorNumber[];
      readonly heard: ReadonlySet<AcceptorNumber>;
    };

export type MembershipInput =
  /** Only while stable. `to` has never been a member. */
  | { type: 'replace'; from: AcceptorNumber; to: AcceptorNumber }
  /** Back to the old members; only while joining. */
  | { type: 'cancel' }
  /** What an acceptor answered when it was told `state.configuration`, or when it was asked again. */
  | { type: 'status'; acceptor: AcceptorNumber; status: AcceptorStatus };

export interface MembershipOutput {
  state: MembershipState;
  /** To be durable before anyone is told. */
  persist: boolean;
  /** Whom to tell `state.configuration`, and to ask for a status. Repeated until it has answered or is dead. */
  tell: readonly AcceptorNumber[];
  /** Members no more: once told, their storage may be deleted. */
  retire: readonly AcceptorNumber[];
}

/**
 * What is known of a persisted configuration after a start. Where it is not joint, `before` are those who may not
 * have heard of it.
 */
export function startMembership(
  configuration: Configuration,
  before: readonly AcceptorNumber[] = [],
): MembershipState {
  if (configuration.newMembers !== null) return joining(configuration);
  return before.length === 0 ? { phase: 'stable', configuration } : settling(configuration, before);
}

/** Whom to tell `state.configuration` now: all that it concerns and that have not answered. */
export function membershipTells(state: MembershipState): AcceptorNumber[] {
  switch (state.phase) {
    case 'stable':
      return [];
    case 'joining':
      return acceptorsOf(state.configuration);
    case 'settling':
      return state.before.filter((acceptor) => !state.heard.has(acceptor));
    default:
      return assertNever(state, 'membership phase');
  }
}

/** True while newcomers wait for a proposer that brings them up to the `sync` point. */
export const needsProposer = (state: MembershipState): boolean =>
  state.phase === 'joining' && state.sync !== null && !isCaughtUp(state);

export function stepMembership(state: MembershipState, input: MembershipInput): MembershipOutput {
  switch (input.type) {
    case 'replace':
      return replace(state, input.from, input.to);
    case 'cancel':
      assert(state.phase === 'joining', `cancel while ${state.phase}`);
      return settle(state, state.configuration.members);
    case 'status':
      return onStatus(state, input.acceptor, input.status);
    default:
      return assertNever(input, 'membership input');
  }
}

const unchanged = (state: MembershipState): MembershipOutput => ({
  state,
  persist: false,
  tell: [],
  retire: [],
});

const joining = (configuration: Configuration): MembershipState => ({
  phase: 'joining',
  configuration,
  first: new Map(),
  last: new Map(),
  sync: null,
});
const settling = (configuration: Configuration, before: readonly AcceptorNumber[]): MembershipState => ({
  phase: 'settling',
  configuration,
  before: [...new Set([...before, ...configuration.members])].sort((a, b) => a - b),
  heard: new Set(),
});

function replace(state: MembershipState, from: AcceptorNumber, to: AcceptorNumber): MembershipOutput {
  assert(state.phase === 'stable', `replace while ${state.phase}`);
  const { configuration } = state;
  assert(configuration.members.includes(from), `${from} is no member`);
  assert(!configuration.members.includes(to), `${to} is a member already`);
  const members = configuration.members.map((member) => (member === from ? to : member));
  const next = joining(jointOf(configuration, members));
  return { state: next, persist: true, tell: membershipTells(next), retire: [] };
}

function onStatus(
  state: MembershipState,
  acceptor: AcceptorNumber,
  status: AcceptorStatus,
): MembershipOutput {
  if (status.generation < state.configuration.generation) return unchanged(state);
  switch (state.phase) {
    case 'stable':
      return unchanged(state);
    case 'joining':
      return onJoiningStatus(state, acceptor, status);
    case 'settling':
      return onSettlingStatus(state, acceptor);
    default:
      return assertNever(state, 'membership phase');
  }
}

type Joining = Extract<MembershipState, { phase: 'joining' }>;
type Settling = Extract<MembershipState, { phase: 'settling' }>;

function onJoiningStatus(state: Joining, acceptor: AcceptorNumber, status: AcceptorStatus): MembershipOutput {
  const first = state.first.has(acceptor) ? state.first : new Map(state.first).set(acceptor, status);
  const last = new Map(state.last).set(acceptor, status);
  const { members } = state.configuration;
  const sync =
    state.sync ?? (isMajority(members, (member) => first.has(member)) ? syncOf(members, first) : null);
  const next: Joining = { ...state, first, last, sync };
  if (!isCaughtUp(next)) return unchanged(next);
  return settle(next, next.configuration.newMembers!);
}

function syncOf(
  members: readonly AcceptorNumber[],
  statuses: ReadonlyMap<AcceptorNumber, AcceptorStatus>,
): SyncPoint {
  const sync: SyncPoint = { term: 0, lastLogTerm: -1, flushLsn: 0 as Lsn };
  for (const member of members) {
    const status = statuses.get(member);
    if (status === undefined) continue;
    if (status.term > sync.term) sync.term = status.term;
    if (!isBehind(status, sync)) {
      sync.lastLogTerm = status.lastLogTerm;
      sync.flushLsn = status.flushLsn;
    }
  }
  return sync;
}
const isBehind = (status: AcceptorStatus, sync: SyncPoint): boolean =>
  status.lastLogTerm < sync.lastLogTerm ||
  (status.lastLogTerm === sync.lastLogTerm && status.flushLsn < sync.flushLsn);

function isCaughtUp({ configuration, last, sync }: Joining): boolean {
  if (sync === null) return false;
  const { members, newMembers } = configuration;
  const has = (member: AcceptorNumber): boolean => {
    const status = last.get(member);
    return status !== undefined && status.lastLogTerm >= sync.term && !isBehind(status, sync);
  };
  return (
    isMajority(newMembers!, has) && newMembers!.every((member) => members.includes(member) || has(member))
  );
}

function settle(state: Joining, members: readonly AcceptorNumber[]): MembershipOutput {
  const generation = state.configuration.generation + 1;
  const next = settling({ generation, members, newMembers: null }, acceptorsOf(state.configuration));
  return { state: next, persist: true, tell: membershipTells(next), retire: [] };
}

function onSettlingStatus(state: Settling, acceptor: AcceptorNumber): MembershipOutput {
  const { configuration, before } = state;
  const heard = new Set(state.heard).add(acceptor);
  if (!isMajority(configuration.members, (member) => heard.has(member))) {
    return unchanged({ ...state, heard });
  }
  // No quorum of an older configuration can come together any more.
  const retire = before.filter((member) => !configuration.members.includes(member));
  return { state: { phase: 'stable', configuration }, persist: true, tell: [], retire };
}
