/**
 * The acceptor: a safekeeper's part of the consensus, as a pure step.
 *
 *   stepAcceptor(state, {connection, message}) → {state, writes, messages, reads, refusals}
 *
 * The shell applies `writes` in order, makes them durable, and only then sends `messages`: a vote or a flush
 * position is never told before it would survive a crash. `positions` writes alone need not be waited for.
 * Several steps may share one sync. What must survive a crash is in `AcceptorLog`; connections are forgotten
 * with the process, or restored by the shell when it only slept.
 *
 *   connection:  new ── greeting ──► greeted ── elected ──► writing      at most one connection is writing;
 *                                       ▲                      │         a newer `elected` displaces it
 *                                       └────── displaced ─────┘
 */
import type { Lsn } from '../postgres/lsn.ts';
import { formatLsn, lsnPlus } from '../postgres/lsn.ts';
import { assert, assertNever } from '../assert.ts';
import {
  CONSENSUS_VERSION,
  NO_LIMIT,
  walLength,
  APPEND_BYTES_MAX,
  type AcceptorMessage,
  type AcceptorNumber,
  type Append,
  type Elected,
  type Leave,
  type ProposerGreeting,
  type ProposerMessage,
  type ReadRequest,
  type RefusalReason,
  type TimelineIdentity,
} from './messages.ts';
import {
  adopt,
  commonEnd,
  emptyHistory,
  historyFault,
  lastTermOf,
  upTo,
  type TermHistory,
} from './term-history.ts';

/** What an acceptor has promised and holds; survives crashes through `AcceptorWrite`s. */
export interface AcceptorLog {
  /** The highest term that it knows of. It obeys no lower one. */
  term: number;
  /** Whom it voted for in `term`; null when it only heard of that term. */
  votedFor: string | null;
  /** May reach beyond `flushLsn`: it is adopted from the proposer before the WAL itself arrives. */
  history: TermHistory;
  /** End of the last whole record. */
  flushLsn: Lsn;
  /** End of the bytes: at or beyond `flushLsn`. */
  writtenLsn: Lsn;
  /** At most `flushLsn`. What is durable of it may be older; a proposer tells it again. */
  commitLsn: Lsn;
  truncateLsn: Lsn;
}

/** A connection as the acceptor knows it. Displaced is not ended: a superseded proposer is told so by it. */
export interface AcceptorConnection {
  proposerId: string;
}

export interface AcceptorState {
  readonly timeline: TimelineIdentity;
  readonly number: AcceptorNumber;
  readonly log: Readonly<AcceptorLog>;
  readonly connections: ReadonlyMap<number, AcceptorConnection>;
  /** The one connection whose appends continue the log. */
  readonly writing: number | null;
  /** Told by the proposer; the one whose number it is copies WAL to object storage. */
  readonly backupBy: AcceptorNumber;
  /** The proposer has left in order: nothing will follow until another one is elected. */
  readonly left: boolean;
  /** No WAL beyond it is taken: storage is bounded. The shell tells it. */
  readonly limitLsn: Lsn;
}

export type AcceptorInput =
  | { type: 'message'; connection: number; message: ProposerMessage }
  | { type: 'disconnected'; connection: number }
  /** Somebody who has seen a quorum hold the log of `term` up to `commitLsn` says so. */
  | { type: 'committed'; term: number; commitLsn: Lsn }
  /** Storage takes WAL up to here: below the end of the log it is full. */
  | { type: 'room'; limitLsn: Lsn };

export type AcceptorWrite =
  | { type: 'term'; term: number; votedFor: string | null }
  | { type: 'history'; history: TermHistory }
  /** Forget all WAL from `lsn` on. */
  | { type: 'truncate'; lsn: Lsn }
  /** `recordEndLsn` becomes the flush position once this is durable. */
  | { type: 'wal'; beginLsn: Lsn; recordEndLsn: Lsn; wal: readonly Uint8Array[] }
  /** May become durable late or never. */
  | { type: 'positions'; commitLsn: Lsn; truncateLsn: Lsn };

/** WAL that the shell is to read from its storage, at most `bytesMax` of it, and to send as `wal`. */
export interface AcceptorRead {
  connection: number;
  term: number;
  beginLsn: Lsn;
  /** Not beyond this record end. */
  endLsn: Lsn;
  bytesMax: number;
}

export interface AcceptorOutput {
  state: AcceptorState;
  writes: AcceptorWrite[];
  messages: { connection: number; message: AcceptorMessage }[];
  reads: AcceptorRead[];
  /** Connections to end, with the reason. Nothing else of the step has changed. */
  refusals: { connection: number; reason: RefusalReason; detail: string }[];
}

/** The log of an acceptor that has never heard of anyone. */
export const emptyLog = (startLsn: Lsn): AcceptorLog => ({
  term: 0,
  votedFor: null,
  history: emptyHistory(startLsn),
  flushLsn: startLsn,
  writtenLsn: startLsn,
  commitLsn: startLsn,
  truncateLsn: startLsn,
});

/** An acceptor as it is after a start: its log as far as it was durable, and nobody connected. */
export const startAcceptor = (
  timeline: TimelineIdentity,
  number: AcceptorNumber,
  log: AcceptorLog,
): AcceptorState => ({
  timeline,
  number,
  log,
  connections: new Map(),
  writing: null,
  backupBy: 0,
  left: false,
  limitLsn: NO_LIMIT,
});

/** True when messages of this step must wait until its writes are durable. */
export const needsSync = (writes: readonly AcceptorWrite[]): boolean =>
  writes.some((write) => write.type !== 'positions');

export function stepAcceptor(state: AcceptorState, input: AcceptorInput): AcceptorOutput {
  if (input.type === 'disconnected') {
    const connections = new Map(state.connections);
    connections.delete(input.connection);
    const writing = state.writing === input.connection ? null : state.writing;
    return nothing({ ...state, connections, writing });
  }
  if (input.type === 'room') {
    const next = { ...state, limitLsn: input.limitLsn };
    if (state.writing === null || input.limitLsn === state.limitLsn) return nothing(next);
    return { ...nothing(next), messages: [{ connection: state.writing, message: roomOf(next) }] };
  }
  if (input.type === 'committed') return learnCommit(state, input);
  const { connection, message } = input;
  if (message.type === 'greeting') return greet(state, connection, message);
  const greeted = state.connections.get(connection);
  if (greeted === undefined) {
    return refuse(state, connection, 'unexpected', `${message.type} before greeting`);
  }
  switch (message.type) {
    case 'voteRequest':
      return vote(state, connection, message.term, greeted.proposerId);
    case 'elected':
      return elected(state, connection, message);
    case 'append':
      return append(state, connection, message);
    case 'read':
      return read(state, connection, message);
    case 'leave':
      return leave(state, connection, message);
    default:
      return assertNever(message, 'proposer message');
  }
}

const nothing = (state: AcceptorState): AcceptorOutput => ({
  state,
  writes: [],
  messages: [],
  reads: [],
  refusals: [],
});

const refuse = (
  state: AcceptorState,
  connection: number,
  reason: RefusalReason,
  detail: string,
): AcceptorOutput => ({ ...nothing(state), refusals: [{ connection, reason, detail }] });

/** Answers with the position; of an older term's sender nothing else is done. */
const answer = (state: AcceptorState, connection: number, writes: AcceptorWrite[] = []): AcceptorOutput => {
  const { term, flushLsn, writtenLsn, commitLsn } = state.log;
  const message = { type: 'position', term, flushLsn, writtenLsn, commitLsn } as const;
  return { ...nothing(state), writes, messages: [{ connection, message }] };
};

const roomOf = ({ log, limitLsn }: AcceptorState): AcceptorMessage => ({
  type: 'room',
  term: log.term,
  limitLsn,
});

function greet(state: AcceptorState, connection: number, message: ProposerGreeting): AcceptorOutput {
  const { timeline } = state;
  if (message.version !== CONSENSUS_VERSION) {
    const detail = `consensus version ${message.version}: ${CONSENSUS_VERSION} expected`;
    return refuse(state, connection, 'otherVersion', detail);
  }
  for (const field of ['timelineId', 'systemIdentifier', 'startLsn', 'postgresMajor'] as const) {
    if (message[field] === timeline[field]) continue;
    const detail = `${field} ${String(message[field])}: ${String(timeline[field])} expected`;
    return refuse(state, connection, 'otherTimeline', detail);
  }
  if (state.connections.has(connection)) return refuse(state, connection, 'unexpected', 'second greeting');
  const connections = new Map(state.connections).set(connection, { proposerId: message.proposerId });
  const { term } = state.log;
  const reply = { type: 'greeting', version: CONSENSUS_VERSION, term, acceptor: state.number } as const;
  return { ...nothing({ ...state, connections }), messages: [{ connection, message: reply }] };
}

/**
 * One vote per term, and for one proposer process: a repeated request (its answer was lost) gets the same vote.
 * The answer always tells the log's position, which an elected proposer that comes back needs as well.
 */
function vote(state: AcceptorState, connection: number, term: number, proposerId: string): AcceptorOutput {
  const fresh = term > state.log.term;
  const adoptable = term === state.log.term && state.log.votedFor === null;
  const log = fresh || adoptable ? { ...state.log, term, votedFor: proposerId } : state.log;
  const writes: AcceptorWrite[] = log === state.log ? [] : [{ type: 'term', term, votedFor: proposerId }];
  const given = log.term === term && log.votedFor === proposerId;
  const next = { ...state, log, writing: fresh ? null : state.writing };
  const { flushLsn, commitLsn, truncateLsn } = log;
  const history = upTo(log.history, flushLsn);
  const message = {
    type: 'vote',
    term: log.term,
    given,
    flushLsn,
    commitLsn,
    truncateLsn,
    history,
  } as const;
  return { ...nothing(next), writes, messages: [{ connection, message }] };
}

/** Cuts the log where it leaves the proposer's, and follows the proposer's history from there. */
function elected(state: AcceptorState, connection: number, message: Elected): AcceptorOutput {
  if (message.term < state.log.term) return answer(state, connection);
  const fault = historyFault(message.history);
  if (fault !== null || message.history.at(-1)!.term !== message.term) {
    return refuse(state, connection, 'unexpected', fault ?? `history does not end with term ${message.term}`);
  }
  const { log } = state;
  const own = upTo(log.history, log.flushLsn);
  const at = message.truncateAtLsn;
  // A late `elected` may come after another connection of the same proposer has already written more.
  const expected = commonEnd(message.history, { history: own, flushLsn: log.flushLsn });
  if (at !== expected || at < log.commitLsn) {
    const detail =
      `term ${message.term} cuts at ${formatLsn(at)}: ` +
      `common up to ${expected === null ? 'nothing, contradicting histories' : formatLsn(expected)}, ` +
      `committed up to ${formatLsn(log.commitLsn)}`;
    return refuse(state, connection, 'wrongTruncation', detail);
  }
  const writes: AcceptorWrite[] = [];
  if (message.term > log.term) writes.push({ type: 'term', term: message.term, votedFor: null });
  if (at < log.writtenLsn) writes.push({ type: 'truncate', lsn: at });
  const history = adopt(own, message.history, at);
  writes.push({ type: 'history', history });
  const votedFor = message.term > log.term ? null : log.votedFor;
  const next: AcceptorState = {
    ...state,
    log: { ...log, term: message.term, votedFor, history, flushLsn: at, writtenLsn: at },
    writing: connection,
    left: false,
  };
  const output = answer(next, connection, writes);
  if (next.limitLsn !== NO_LIMIT) output.messages.unshift({ connection, message: roomOf(next) });
  if (state.writing !== null && state.writing !== connection) {
    const detail = `term ${message.term} was elected on another connection`;
    output.refusals.push({ connection: state.writing, reason: 'displaced', detail });
  }
  return output;
}

/** Why a message of the current term may not write here, or null. */
function writeFault(state: AcceptorState, connection: number, message: Append | Leave): string | null {
  if (message.term > state.log.term) return `${message.type} of term ${message.term} before it was elected`;
  if (state.writing !== connection) return `${message.type} before elected on this connection`;
  return null;
}

function append(state: AcceptorState, connection: number, message: Append): AcceptorOutput {
  const { log } = state;
  if (message.term < log.term) return answer(state, connection);
  const fault = writeFault(state, connection, message);
  if (fault !== null) return refuse(state, connection, 'unexpected', fault);
  const length = walLength(message);
  if (length > APPEND_BYTES_MAX) {
    return refuse(state, connection, 'oversize', `append of ${length} bytes: at most ${APPEND_BYTES_MAX}`);
  }
  if (message.beginLsn !== log.writtenLsn) {
    const what = message.beginLsn < log.writtenLsn ? 'overlaps' : 'leaves a gap';
    const detail = `append at ${formatLsn(message.beginLsn)} ${what}: ${formatLsn(log.writtenLsn)} expected`;
    return refuse(state, connection, 'notSequential', detail);
  }
  const writtenLsn = lsnPlus(log.writtenLsn, length);
  if (length > 0 && writtenLsn > state.limitLsn) {
    const detail = `append up to ${formatLsn(writtenLsn)}: there is room up to ${formatLsn(state.limitLsn)}`;
    return refuse(state, connection, 'full', detail);
  }
  const { recordEndLsn } = message;
  if (recordEndLsn < log.flushLsn || recordEndLsn > writtenLsn) {
    const range = `${formatLsn(log.flushLsn)} to ${formatLsn(writtenLsn)}`;
    return refuse(
      state,
      connection,
      'outOfRange',
      `record end ${formatLsn(recordEndLsn)}: ${range} expected`,
    );
  }
  const writes: AcceptorWrite[] = [];
  if (length > 0) {
    writes.push({ type: 'wal', beginLsn: message.beginLsn, recordEndLsn, wal: message.wal });
  } else if (recordEndLsn > log.flushLsn) {
    const detail = `record end ${formatLsn(recordEndLsn)} beyond ${formatLsn(log.flushLsn)} without WAL`;
    return refuse(state, connection, 'outOfRange', detail);
  }
  const moved = withPositions(
    { ...log, writtenLsn, flushLsn: recordEndLsn },
    message.commitLsn,
    message.truncateLsn,
  );
  if (moved.commitLsn !== log.commitLsn || moved.truncateLsn !== log.truncateLsn) {
    writes.push({ type: 'positions', commitLsn: moved.commitLsn, truncateLsn: moved.truncateLsn });
  }
  const next = { ...state, log: moved, backupBy: message.backupBy, left: false };
  return length > 0 ? answer(next, connection, writes) : { ...nothing(next), writes };
}

/**
 * The log is a prefix of the proposer's here (it was cut at `elected` and grew only by this term's appends), so
 * what the proposer committed is committed here as far as it reaches. Neither position ever goes back.
 */
function withPositions(log: AcceptorLog, commitLsn: Lsn, truncateLsn: Lsn): AcceptorLog {
  const commit = commitLsn < log.flushLsn ? commitLsn : log.flushLsn;
  const truncate = truncateLsn < log.flushLsn ? truncateLsn : log.flushLsn;
  return {
    ...log,
    commitLsn: commit > log.commitLsn ? commit : log.commitLsn,
    truncateLsn: truncate > log.truncateLsn ? truncate : log.truncateLsn,
  };
}

/**
 * What is committed in the term that wrote the end of this log is committed here as far as the log reaches: two logs that
 * share a term agree on all that either has up to the shorter end. A log that ends in another term cannot tell.
 */
function learnCommit(
  state: AcceptorState,
  { term, commitLsn }: Extract<AcceptorInput, { type: 'committed' }>,
): AcceptorOutput {
  const { log } = state;
  if (lastTermOf(upTo(log.history, log.flushLsn)) !== term) return nothing(state);
  const moved = withPositions(log, commitLsn, log.truncateLsn);
  if (moved.commitLsn === log.commitLsn) return nothing(state);
  const { truncateLsn } = moved;
  const positions = { type: 'positions', commitLsn: moved.commitLsn, truncateLsn } as const;
  return { ...nothing({ ...state, log: moved }), writes: [positions] };
}

/** Serves another acceptor's recovery, from a log that the asking proposer was elected over. */
function read(state: AcceptorState, connection: number, message: ReadRequest): AcceptorOutput {
  const { log } = state;
  if (message.term < log.term) return answer(state, connection);
  if (message.term > log.term || state.writing !== connection) {
    return refuse(state, connection, 'unexpected', 'read before elected on this connection');
  }
  const { beginLsn } = message;
  if (beginLsn < state.timeline.startLsn || beginLsn > log.flushLsn) {
    const range = `${formatLsn(state.timeline.startLsn)} to ${formatLsn(log.flushLsn)}`;
    return refuse(state, connection, 'outOfRange', `read at ${formatLsn(beginLsn)}: ${range} expected`);
  }
  const bytesMax = Math.min(message.bytesMax, APPEND_BYTES_MAX);
  const request = { connection, term: log.term, beginLsn, endLsn: log.flushLsn, bytesMax };
  return { ...nothing(state), reads: [request] };
}

function leave(state: AcceptorState, connection: number, message: Leave): AcceptorOutput {
  const { log } = state;
  if (message.term < log.term) return answer(state, connection);
  const fault = writeFault(state, connection, message);
  if (fault !== null) return refuse(state, connection, 'unexpected', fault);
  const moved = withPositions(log, message.commitLsn, log.truncateLsn);
  assert(moved.commitLsn <= moved.flushLsn, 'an acceptor commits only what it has');
  const positions = {
    type: 'positions',
    commitLsn: moved.commitLsn,
    truncateLsn: moved.truncateLsn,
  } as const;
  return { ...nothing({ ...state, log: moved, left: true }), writes: [positions] };
}
