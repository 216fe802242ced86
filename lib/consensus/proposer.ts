/**
 * The proposer: the compute's part of the consensus, as a pure step.
 *
 *   stepProposer(state, input) → {state, messages, disconnects}
 *
 * It keeps nothing on disk. Its term comes from the control plane; an acceptor that is in a higher one makes it
 * superseded at once and for good, and from then on it sends nothing and commits nothing. This file holds the
 * election; what an elected proposer does is in replication.ts.
 */
import { formatLsn, type Lsn } from '../postgres/lsn.ts';
import { assert, assertNever } from '../assert.ts';
import {
  acceptorsOf,
  describeConfiguration,
  isQuorum,
  sameConfiguration,
  type Configuration,
} from './configuration.ts';
import {
  CONSENSUS_VERSION,
  NO_LIMIT,
  type AcceptorGreeting,
  type AcceptorMessage,
  type AcceptorNumber,
  type Vote,
} from './messages.ts';
import {
  draftOf,
  newProgress,
  progressOf,
  setLimit,
  setPhase,
  type Draft,
  type ProposerInput,
  type ProposerOutput,
  type ProposerState,
} from './proposer-state.ts';
import { announce, forgetReadsFrom, onPosition, onReadResponse, onRoom, onWal } from './replication.ts';
import { commonEnd, isMoreAdvanced, pruneBefore, sharesTerm, startsTermAt } from './term-history.ts';
import { emptyBuffer } from './wal-buffer.ts';

/** Throws only where this proposer itself, or the consensus, is broken: the process must then not go on. */
export function stepProposer(state: ProposerState, input: ProposerInput): ProposerOutput {
  if (state.phase === 'superseded') return { state, messages: [], disconnects: [] };
  const draft = draftOf(state);
  // An acceptor that was a member when its connection was made, and is none any more.
  if ('acceptor' in input && !draft.state.acceptors.some(({ number }) => number === input.acceptor))
    return draft;
  switch (input.type) {
    case 'connected':
      greet(draft, input.acceptor);
      break;
    case 'disconnected':
      setPhase(draft, input.acceptor, { phase: 'disconnected' });
      forgetReadsFrom(draft, input.acceptor);
      break;
    case 'message':
      onMessage(draft, input.acceptor, input.message);
      break;
    case 'wal':
      onWal(draft, input);
      break;
    case 'announce':
      announce(draft);
      break;
    case 'configure':
      reconfigure(draft, input.configuration);
      break;
    case 'leave':
      leave(draft);
      break;
    default:
      assertNever(input, 'proposer input');
  }
  return draft;
}

function greet(draft: Draft, acceptor: AcceptorNumber): void {
  const { configuration, config } = draft.state;
  const { timeline, term, proposerId } = config;
  const message = {
    type: 'greeting',
    version: CONSENSUS_VERSION,
    ...timeline,
    term,
    proposerId,
    configuration,
  } as const;
  draft.messages.push({ acceptor, message });
  setPhase(draft, acceptor, { phase: 'greeting' });
  setLimit(draft, acceptor, NO_LIMIT);
}

function onMessage(draft: Draft, acceptor: AcceptorNumber, message: AcceptorMessage): void {
  if (message.term > draft.state.config.term) {
    supersede(draft, message.term);
    return;
  }
  switch (message.type) {
    case 'greeting':
      return onGreeting(draft, acceptor, message);
    case 'vote':
      return onVote(draft, acceptor, message);
    case 'position':
      return onPosition(draft, acceptor, message);
    case 'wal':
      return onReadResponse(draft, acceptor, message);
    case 'room':
      return onRoom(draft, acceptor, message);
    case 'configuration':
      return reconfigure(draft, message.configuration);
    default:
      return assertNever(message, 'acceptor message');
  }
}

/** From here on nothing is sent, committed or acknowledged, whatever arrives. */
function supersede(draft: Draft, term: number): void {
  draft.state.phase = 'superseded';
  draft.state.supersededBy = term;
  draft.messages = [];
}

/**
 * A newer configuration holds from now on. Every connection belongs to the one it was greeted with, so all of them are
 * made anew. An elected proposer stays elected: no quorum of the newer configuration can have forgotten it without its
 * hearing of a higher term (membership.ts). What was voted or counted is counted again, by the newer rule.
 */
function reconfigure(draft: Draft, configuration: Configuration): void {
  const { state } = draft;
  if (configuration.generation <= state.configuration.generation) return;
  const detail = `configuration ${describeConfiguration(configuration)} holds now`;
  for (const { number, at } of state.acceptors) {
    if (at.phase === 'disconnected') continue;
    draft.disconnects.push({ acceptor: number, reason: 'reconfigured', detail });
  }
  draft.messages = [];
  const known = state.acceptors;
  state.configuration = configuration;
  state.votes = new Map();
  state.acceptors = acceptorsOf(configuration).map((number) => {
    const before = known.find((acceptor) => acceptor.number === number);
    return before === undefined ? newProgress(number) : { ...before, at: { phase: 'disconnected' } };
  });
  state.trailing = 0;
}

function unexpected(draft: Draft, acceptor: AcceptorNumber, what: string): void {
  const { at } = progressOf(draft, acceptor);
  draft.disconnects.push({ acceptor, reason: 'fault', detail: `${what} while ${at.phase}` });
}

function onGreeting(draft: Draft, acceptor: AcceptorNumber, message: AcceptorGreeting): void {
  if (progressOf(draft, acceptor).at.phase !== 'greeting') return unexpected(draft, acceptor, 'greeting');
  if (message.version !== CONSENSUS_VERSION || message.acceptor !== acceptor) {
    const detail = `acceptor ${message.acceptor} of version ${message.version}: ${acceptor}, ${CONSENSUS_VERSION} expected`;
    draft.disconnects.push({ acceptor, reason: 'fault', detail });
    return;
  }
  const { configuration } = draft.state;
  if (message.configuration.generation > configuration.generation) {
    return reconfigure(draft, message.configuration);
  }
  if (!sameConfiguration(message.configuration, configuration)) {
    const detail =
      `configuration ${describeConfiguration(message.configuration)} of acceptor ${acceptor}: ` +
      `${describeConfiguration(configuration)} expected`;
    draft.disconnects.push({ acceptor, reason: 'fault', detail });
    return;
  }
  draft.messages.push({ acceptor, message: { type: 'voteRequest', term: draft.state.config.term } });
  setPhase(draft, acceptor, { phase: 'voting' });
}

function onVote(draft: Draft, acceptor: AcceptorNumber, vote: Vote): void {
  const { state } = draft;
  if (progressOf(draft, acceptor).at.phase !== 'voting') return unexpected(draft, acceptor, 'vote');
  // Not lower either: the acceptor has adopted the term that it was asked to vote in.
  if (vote.term !== state.config.term) return unexpected(draft, acceptor, `vote of term ${vote.term}`);
  if (state.phase !== 'campaign') return sendElected(draft, acceptor, vote);
  if (!vote.given) return supersede(draft, vote.term); // another process has this very term
  state.votes = new Map(state.votes).set(acceptor, vote);
  setPhase(draft, acceptor, { phase: 'voted', vote });
  if (!isQuorum(state.configuration, (member) => state.votes.has(member))) return;
  becomeElected(draft);
  for (const { number, at } of state.acceptors) {
    if (at.phase === 'voted') sendElected(draft, number, at.vote);
  }
}

/**
 * Takes over the most advanced log of the quorum. Anything committed is in it: a quorum had it durable, one of
 * that quorum voted here, and a log of a later last term or the same term and greater length contains it.
 */
function becomeElected(draft: Draft): void {
  const { state } = draft;
  const votes = [...state.votes.values()];
  const donor = votes.reduce((best, vote) => (isMoreAdvanced(vote, best) ? vote : best));
  for (const vote of votes) {
    if (vote.commitLsn > state.commitLsn) state.commitLsn = vote.commitLsn;
    if (vote.truncateLsn > state.truncateLsn) state.truncateLsn = vote.truncateLsn;
    if (vote.backupLsn > state.backupLsn) state.backupLsn = vote.backupLsn;
  }
  const { term } = state.config;
  state.termStartLsn = donor.flushLsn;
  assert(
    state.commitLsn <= state.termStartLsn,
    `term ${term} starts at ${state.termStartLsn}, committed is ${state.commitLsn}`,
  );
  const own = { term, lsn: state.termStartLsn };
  const { truncateLsn, backupLsn } = state;
  const everywhere = truncateLsn < backupLsn ? truncateLsn : backupLsn;
  state.history = [...pruneBefore(donor.history, everywhere), own];
  state.buffer = emptyBuffer(state.termStartLsn);
  state.backupSinceLsn = state.commitLsn;
  state.phase = 'recovering';
}

function sendElected(draft: Draft, acceptor: AcceptorNumber, vote: Vote): void {
  const { history, config } = draft.state;
  const cutLsn = commonEnd(history, vote);
  assert(cutLsn !== null, `acceptor ${acceptor} has a history that contradicts that of term ${config.term}`);
  assert(cutLsn >= vote.commitLsn, `acceptor ${acceptor}: cut at ${cutLsn}, committed ${vote.commitLsn}`);
  const beginLsn = beginOf(draft, cutLsn, vote);
  if (beginLsn === null) {
    const detail = `acceptor ${acceptor} would have to begin behind ${formatLsn(history[0].lsn)}, which no backup reaches`;
    draft.disconnects.push({ acceptor, reason: 'fault', detail });
    return;
  }
  const message = {
    type: 'elected',
    term: config.term,
    truncateAtLsn: cutLsn,
    beginLsn,
    history,
  } as const;
  draft.messages.push({ acceptor, message });
  const flushLsn = startsTermAt(history, beginLsn) ? beginLsn : cutLsn;
  setPhase(draft, acceptor, { phase: 'electing', flushLsn, beginLsn });
}

/**
 * Where an acceptor's log goes on: at its end, or, where it lacks much or is a newcomer to a pruned history, behind what is
 * in object storage. Null for such a newcomer while no acceptor has told how far that is.
 */
function beginOf({ state }: Draft, cutLsn: Lsn, vote: Vote): Lsn | null {
  if (vote.backupLsn > state.backupLsn) state.backupLsn = vote.backupLsn;
  const { backupLsn, termStartLsn, commitLsn, config, history } = state;
  if (!sharesTerm(history, vote.history)) return backupLsn < history[0].lsn ? null : backupLsn;
  const owned = termStartLsn > commitLsn ? termStartLsn : commitLsn;
  const skips = backupLsn - cutLsn > config.limits.catchUpBytesMax && backupLsn <= owned;
  return skips ? backupLsn : cutLsn;
}

/** Tells every acceptor that it has all there is, so that they back up the tail. Nothing may follow. */
function leave(draft: Draft): void {
  announce(draft);
  const { state } = draft;
  const { term } = state.config;
  for (const { number, at } of state.acceptors) {
    if (at.phase !== 'streaming') continue;
    draft.messages.push({ acceptor: number, message: { type: 'leave', term, commitLsn: state.commitLsn } });
  }
  state.phase = 'left';
}
