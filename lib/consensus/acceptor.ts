/**
 * The acceptor: a safekeeper's part of the consensus, as a pure step.
 *
 *   stepAcceptor(state, {connection, message}) → {state, writes, messages, reads, refusals}
 *
 * The shell applies `writes` in order, makes them durable, and only then sends `messages`: a vote or a flush
 * position is never told before it would survive a crash. `positions` writes alone need not be waited for.
 * Several steps may share one sync.
 *
 *   connection:  new ── greeting ──► greeted ── elected ──► writing      at most one connection is writing;
 *                                       ▲                      │         a newer `elected` displaces it
 *                                       └────── displaced ─────┘
 */
import { formatLsn, lsnPlus, type Lsn } from '../postgres/lsn.ts';
import { assert, assertNever } from '../assert.ts';
import type {
  AcceptorConnection,
  AcceptorInput,
  AcceptorLog,
  AcceptorOutput,
  AcceptorState,
  AcceptorWrite,
} from './acceptor-state.ts';
import {
  acceptorsOf,
  describeConfiguration,
  sameConfiguration,
  type Configuration,
} from './configuration.ts';
import {
  CONSENSUS_VERSION,
  NO_LIMIT,
  walLength,
  APPEND_BYTES_MAX,
  type AcceptorMessage,
  type Append,
  type Elected,
  type Leave,
  type ProposerGreeting,
  type ProposerMessage,
  type ReadRequest,
  type RefusalReason,
} from './messages.ts';
import {
  adopt,
  commonEnd,
  historyFault,
  lastTermOf,
  sharesTerm,
  startsTermAt,
  upTo,
} from './term-history.ts';

export {
  emptyLog,
  needsSync,
  startAcceptor,
  statusOf,
  type AcceptorConnection,
  type AcceptorInput,
  type AcceptorLog,
  type AcceptorOutput,
  type AcceptorRead,
  type AcceptorState,
  type AcceptorStatus,
  type AcceptorWrite,
} from './acceptor-state.ts';

export function stepAcceptor(state: AcceptorState, input: AcceptorInput): AcceptorOutput {
  switch (input.type) {
    case 'message':
      return onMessage(state, input.connection, input.message);
    case 'disconnected': {
      const connections = new Map(state.connections);
      connections.delete(input.connection);
      const writing = state.writing === input.connection ? null : state.writing;
      return nothing({ ...state, connections, writing });
    }
    case 'room':
      return room(state, input.limitLsn);
    case 'committed':
      return learnCommit(state, input);
    case 'configure':
      return configure(state, input.configuration);
    case 'backedUp':
      return backedUp(state, input.backupLsn);
    default:
      return assertNever(input, 'acceptor input');
  }
}

function onMessage(state: AcceptorState, connection: number, message: ProposerMessage): AcceptorOutput {
  if (message.type === 'greeting') return greet(state, connection, message);
  const greeted = state.connections.get(connection);
  if (greeted === undefined) {
    return refuse(state, connection, 'unexpected', `${message.type} before greeting`);
  }
  if (greeted.generation !== state.log.configuration.generation) {
    return { ...nothing(state), messages: [{ connection, message: reconfigured(state) }] };
  }
  switch (message.type) {
    case 'voteRequest':
      return vote(state, connection, message.term, greeted.proposerId);
    case 'elected':
      return elected(state, connection, message, greeted);
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
  return { ...nothing(state), writes, messages: [{ connection, message: positionOf(state) }] };
};

const positionOf = ({ log }: AcceptorState): AcceptorMessage => {
  const { term, flushLsn, writtenLsn, commitLsn, backupLsn } = log;
  return { type: 'position', term, flushLsn, writtenLsn, commitLsn, backupLsn };
};

const reconfigured = ({ log }: AcceptorState): AcceptorMessage => ({
  type: 'configuration',
  term: log.term,
  configuration: log.configuration,
});

const roomOf = ({ log, limitLsn }: AcceptorState): AcceptorMessage => ({
  type: 'room',
  term: log.term,
  limitLsn,
});

function room(state: AcceptorState, limitLsn: Lsn): AcceptorOutput {
  const next = { ...state, limitLsn };
  if (state.writing === null || limitLsn === state.limitLsn) return nothing(next);
  return { ...nothing(next), messages: [{ connection: state.writing, message: roomOf(next) }] };
}

/**
 * A newer configuration holds from now on, for every connection: a proposer that has not come with it can neither be
 * elected nor append here any more, and is told so.
 */
function configure(state: AcceptorState, configuration: Configuration): AcceptorOutput {
  const own = state.log.configuration;
  if (configuration.generation <= own.generation) {
    const same = configuration.generation < own.generation || sameConfiguration(configuration, own);
    assert(
      same,
      `configuration ${describeConfiguration(configuration)}: ${describeConfiguration(own)} is known`,
    );
    return nothing(state);
  }
  const next: AcceptorState = { ...state, log: { ...state.log, configuration }, writing: null };
  const messages = [...state.connections.keys()].map((connection) => ({
    connection,
    message: reconfigured(next),
  }));
  return { ...nothing(next), writes: [{ type: 'configuration', configuration }], messages };
}

function backedUp(state: AcceptorState, backupLsn: Lsn): AcceptorOutput {
  if (backupLsn <= state.log.backupLsn) return nothing(state);
  const next: AcceptorState = { ...state, log: { ...state.log, backupLsn } };
  const messages = state.writing === null ? [] : [{ connection: state.writing, message: positionOf(next) }];
  return { ...nothing(next), writes: [positionsOf(next.log)], messages };
}

const positionsOf = ({ commitLsn, truncateLsn, backupLsn }: AcceptorLog): AcceptorWrite => ({
  type: 'positions',
  commitLsn,
  truncateLsn,
  backupLsn,
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
  const { configuration, proposerId } = message;
  const own = state.log.configuration;
  if (configuration.generation < own.generation) {
    return { ...nothing(state), messages: [{ connection, message: greetingOf(state) }] };
  }
  if (configuration.generation === own.generation && !sameConfiguration(configuration, own)) {
    const detail = `configuration ${describeConfiguration(configuration)}: ${describeConfiguration(own)} is known`;
    return refuse(state, connection, 'otherConfiguration', detail);
  }
  if (!acceptorsOf(configuration).includes(state.number)) {
    const detail = `configuration ${describeConfiguration(configuration)} is without ${state.number}`;
    return refuse(state, connection, 'otherConfiguration', detail);
  }
  const configured = configure(state, configuration);
  const { generation } = configuration;
  const greeted: AcceptorConnection = { proposerId, generation };
  const next = { ...configured.state, connections: new Map(state.connections).set(connection, greeted) };
  configured.messages.push({ connection, message: greetingOf(next) });
  return { ...configured, state: next };
}

const greetingOf = ({ log, number }: AcceptorState): AcceptorMessage => ({
  type: 'greeting',
  version: CONSENSUS_VERSION,
  term: log.term,
  acceptor: number,
  configuration: log.configuration,
});

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
  const { flushLsn, commitLsn, truncateLsn, backupLsn } = log;
  const history = upTo(log.history, flushLsn);
  const message = {
    type: 'vote',
    term: log.term,
    given,
    flushLsn,
    commitLsn,
    truncateLsn,
    backupLsn,
    history,
  } as const;
  return { ...nothing(next), writes, messages: [{ connection, message }] };
}

/**
 * Cuts the log where it leaves the proposer's, and follows the proposer's history from there. The vote of this term is
 * the elected proposer's from now on, whoever had it: nobody else can be elected in it, whatever the members become.
 */
function elected(
  state: AcceptorState,
  connection: number,
  message: Elected,
  { proposerId }: AcceptorConnection,
): AcceptorOutput {
  if (message.term < state.log.term) return answer(state, connection);
  const fault = historyFault(message.history);
  if (fault !== null || message.history.at(-1)!.term !== message.term) {
    return refuse(state, connection, 'unexpected', fault ?? `history does not end with term ${message.term}`);
  }
  const { log } = state;
  const own = upTo(log.history, log.flushLsn);
  const at = message.truncateAtLsn;
  // A late `elected` may come after another connection of the same proposer has already written more.
  const expected = commonEnd(message.history, { ...log, history: own });
  if (at !== expected || at < log.commitLsn) {
    const detail =
      `term ${message.term} cuts at ${formatLsn(at)}: ` +
      `common up to ${expected === null ? 'nothing, contradicting histories' : formatLsn(expected)}, ` +
      `committed up to ${formatLsn(log.commitLsn)}`;
    return refuse(state, connection, 'wrongTruncation', detail);
  }
  const { beginLsn } = message;
  if (beginLsn < message.history[0].lsn && !sharesTerm(message.history, own)) {
    const detail = `the log is to go on at ${formatLsn(beginLsn)}, before a history that it shares nothing with`;
    return refuse(state, connection, 'wrongTruncation', detail);
  }
  if (beginLsn < at) {
    const detail = `the log is to go on at ${formatLsn(beginLsn)}, before its end at ${formatLsn(at)}`;
    return refuse(state, connection, 'outOfRange', detail);
  }
  const writes: AcceptorWrite[] = [];
  if (message.term > log.term || log.votedFor !== proposerId) {
    writes.push({ type: 'term', term: message.term, votedFor: proposerId });
  }
  if (at < log.writtenLsn) writes.push({ type: 'truncate', lsn: at });
  const history = adopt(own, message.history, at);
  writes.push({ type: 'history', history });
  const skips = beginLsn > at;
  const flushLsn = skips && startsTermAt(history, beginLsn) ? beginLsn : at;
  if (skips) writes.push({ type: 'begin', lsn: beginLsn, recordEndLsn: flushLsn });
  const backupLsn = skips && beginLsn > log.backupLsn ? beginLsn : log.backupLsn;
  const next: AcceptorState = {
    ...state,
    log: {
      ...log,
      term: message.term,
      votedFor: proposerId,
      history,
      flushLsn,
      writtenLsn: beginLsn,
      backupLsn,
    },
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
    message.backupLsn,
  );
  if (
    moved.commitLsn !== log.commitLsn ||
    moved.truncateLsn !== log.truncateLsn ||
    moved.backupLsn !== log.backupLsn
  ) {
    writes.push(positionsOf(moved));
  }
  const next = { ...state, log: moved, backupBy: message.backupBy, left: false };
  return length > 0 ? answer(next, connection, writes) : { ...nothing(next), writes };
}

/**
 * The log is a prefix of the proposer's here (it was cut at `elected` and grew only by this term's appends), so
 * what the proposer committed is committed here as far as it reaches. No position ever goes back.
 */
function withPositions(log: AcceptorLog, commitLsn: Lsn, truncateLsn: Lsn, backupLsn: Lsn): AcceptorLog {
  const commit = commitLsn < log.flushLsn ? commitLsn : log.flushLsn;
  const truncate = truncateLsn < log.flushLsn ? truncateLsn : log.flushLsn;
  return {
    ...log,
    commitLsn: commit > log.commitLsn ? commit : log.commitLsn,
    truncateLsn: truncate > log.truncateLsn ? truncate : log.truncateLsn,
    backupLsn: backupLsn > log.backupLsn ? backupLsn : log.backupLsn,
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
  const moved = withPositions(log, commitLsn, log.truncateLsn, log.backupLsn);
  if (moved.commitLsn === log.commitLsn) return nothing(state);
  return { ...nothing({ ...state, log: moved }), writes: [positionsOf(moved)] };
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
  const moved = withPositions(log, message.commitLsn, log.truncateLsn, log.backupLsn);
  assert(moved.commitLsn <= moved.flushLsn, 'an acceptor commits only what it has');
  return { ...nothing({ ...state, log: moved, left: true }), writes: [positionsOf(moved)] };
}
