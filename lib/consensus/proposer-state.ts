/**
 * What a proposer knows: its own phase, and how far it is with each acceptor.
 *
 *   phase     campaign ── votes of a quorum ──► recovering ── a quorum has its history and log ──► leading
 *                any ── a higher term is met ──► superseded                    leading ── leave ──► left
 *                any ── a newer configuration is met ──► the same, all acceptors disconnected; a candidate's votes are void
 *
 *   acceptor  disconnected ─► greeting ─► voting ─► voted ─► electing ─► streaming
 *                                            (leader: straight on)
 */
import type { Lsn } from '../postgres/lsn.ts';
import { acceptorsOf, quorumPosition, type Configuration } from './configuration.ts';
import {
  NO_LIMIT,
  type AcceptorMessage,
  type AcceptorNumber,
  type ProposerMessage,
  type TimelineIdentity,
  type Vote,
} from './messages.ts';
import type { TermHistory } from './term-history.ts';
import { emptyBuffer, type WalBuffer } from './wal-buffer.ts';

export interface ProposerConfig {
  timeline: TimelineIdentity;
  /** Larger than that of every proposer started before for this timeline. */
  term: number;
  /** 32 lower-case hexadecimal digits, fresh for every process. */
  proposerId: string;
  /** The newest that the control plane has; a newer one may be met later. */
  configuration: Configuration;
  limits: ProposerLimits;
}
export interface ProposerLimits {
  /** Unanswered appends to one acceptor. */
  appendsInFlightMax: number;
  bytesInFlightMax: number;
  /** Less WAL than this waits for the answer to what is on its way, or, for the trailing acceptor, for `announce`. */
  coalescedBytesMax: number;
  /** Committed WAL kept for a slow acceptor; beyond it, it is fed from another one. */
  bufferBytesMax: number;
  /** WAL that no quorum has yet, above which no more should be taken from Postgres. */
  unwrittenBytesMax: number;
  /** An acceptor that lacks more than this of what is in object storage goes on behind it, and has it there. */
  catchUpBytesMax: number;
  /** Committed WAL after which another acceptor is to copy it to object storage, where nothing new has arrived. */
  backupStuckBytesMax: number;
}
export const DEFAULT_LIMITS: ProposerLimits = {
  appendsInFlightMax: 8,
  bytesInFlightMax: 4 << 20,
  coalescedBytesMax: 256 << 10,
  bufferBytesMax: 16 << 20,
  unwrittenBytesMax: 16 << 20,
  catchUpBytesMax: 64 << 20,
  backupStuckBytesMax: 128 << 20,
};

export type AcceptorPhase =
  | { phase: 'disconnected' }
  | { phase: 'greeting' }
  | { phase: 'voting' }
  /** It has answered a candidate, who has no quorum yet. */
  | { phase: 'voted'; vote: Vote }
  | { phase: 'electing'; flushLsn: Lsn; beginLsn: Lsn }
  | {
      phase: 'streaming';
      /** Where the next append begins. */
      nextLsn: Lsn;
      /** It has told that it has this durably, whole records or not. */
      writtenLsn: Lsn;
      /** The record end that it was told last. */
      sentRecordEndLsn: Lsn;
      /** End of each append that is not answered. */
      inFlight: readonly Lsn[];
      toldCommitLsn: Lsn;
      toldBackupBy: AcceptorNumber;
      toldBackupLsn: Lsn;
      /** WAL that was asked of another acceptor for this one, and who had none of it. */
      read: { from: AcceptorNumber; beginLsn: Lsn; without: readonly AcceptorNumber[] } | null;
    };
export type Streaming = Extract<AcceptorPhase, { phase: 'streaming' }>;

export interface AcceptorProgress {
  readonly number: AcceptorNumber;
  readonly at: AcceptorPhase;
  /** Durable there in this term's history; null until it has told. Survives disconnection. */
  readonly flushLsn: Lsn | null;
  /** It takes no WAL beyond this for now. Forgotten with the connection. */
  readonly limitLsn: Lsn;
}

export type ProposerPhase = 'campaign' | 'recovering' | 'leading' | 'left' | 'superseded';

export interface ProposerState {
  readonly config: ProposerConfig;
  readonly phase: ProposerPhase;
  /** The higher term that was met; 0 while there is none. */
  readonly supersededBy: number;
  readonly configuration: Configuration;
  readonly votes: ReadonlyMap<AcceptorNumber, Vote>;
  /** From the election on: ends with this term's own entry. */
  readonly history: TermHistory;
  /** Where this term begins to write: the end of what was recovered. */
  readonly termStartLsn: Lsn;
  readonly commitLsn: Lsn;
  readonly truncateLsn: Lsn;
  readonly backupBy: AcceptorNumber;
  /** The highest that an acceptor has told: what is before it is in object storage. */
  readonly backupLsn: Lsn;
  /** `commitLsn` when `backupBy` was named. */
  readonly backupSinceLsn: Lsn;
  /** The one that a quorum can do without for the moment: it is fed in larger pieces. 0 while all are needed. */
  readonly trailing: AcceptorNumber;
  readonly buffer: WalBuffer;
  readonly acceptors: readonly AcceptorProgress[];
}

export type ProposerInput =
  | { type: 'connected'; acceptor: AcceptorNumber }
  | { type: 'disconnected'; acceptor: AcceptorNumber }
  | { type: 'message'; acceptor: AcceptorNumber; message: AcceptorMessage }
  /** The next WAL from Postgres; `recordEndLsn` is the end of the last whole record up to its end. */
  | { type: 'wal'; bytes: Uint8Array; recordEndLsn: Lsn }
  /** What the trailing acceptor lacks is to be sent now, and positions that no append has carried to an acceptor. */
  | { type: 'announce' }
  /** From the control plane; an older one, or the same again, changes nothing. */
  | { type: 'configure'; configuration: Configuration }
  | { type: 'leave' };

export interface ProposerOutput {
  state: ProposerState;
  messages: { acceptor: AcceptorNumber; message: ProposerMessage }[];
  /**
   * Connections to be ended, before anything more is taken from them: the acceptor broke the protocol, another
   * configuration holds now, or what the acceptor lacks is out of reach for now. Who is still in `state.acceptors` is
   * connected anew.
   */
  disconnects: {
    acceptor: AcceptorNumber;
    reason: 'fault' | 'reconfigured' | 'nothingToRead';
    detail: string;
  }[];
}

export function startProposer(config: ProposerConfig): ProposerState {
  const { startLsn } = config.timeline;
  return {
    config,
    phase: 'campaign',
    supersededBy: 0,
    configuration: config.configuration,
    votes: new Map(),
    history: [],
    termStartLsn: startLsn,
    commitLsn: startLsn,
    truncateLsn: startLsn,
    backupBy: 0,
    backupLsn: startLsn,
    backupSinceLsn: startLsn,
    trailing: 0,
    buffer: emptyBuffer(startLsn),
    acceptors: acceptorsOf(config.configuration).map(newProgress),
  };
}

export const newProgress = (number: AcceptorNumber): AcceptorProgress => ({
  number,
  at: { phase: 'disconnected' },
  flushLsn: null,
  limitLsn: NO_LIMIT,
});

/**
 * False while a quorum is so far behind that Postgres should be held back. Bytes of an unfinished record count as
 * soon as they are durable: a record may be larger than the limit, and commits only whole.
 */
export function wantsWal(state: ProposerState): boolean {
  const durable = quorumPosition(state.configuration, (member) => {
    const { at, flushLsn } = state.acceptors.find(({ number }) => number === member)!;
    return at.phase === 'streaming' ? at.writtenLsn : (flushLsn ?? state.termStartLsn);
  })!;
  return state.buffer.endLsn - durable < state.config.limits.unwrittenBytesMax;
}

/**
 * True while the trailing acceptor lacks WAL, or one that has all of it does not know `commitLsn`: `announce` tells it,
 * unless an append does before.
 */
export const owesAnnouncement = (state: ProposerState): boolean =>
  state.acceptors.some(
    ({ number, at, limitLsn }) =>
      owesTo(state, at, limitLsn) || (number === state.trailing && isBehind(state, at, limitLsn)),
  );

const isBehind = (state: ProposerState, at: AcceptorPhase, limitLsn: Lsn): boolean =>
  at.phase === 'streaming' && at.nextLsn < state.buffer.endLsn && at.nextLsn < limitLsn;

/** One that is full is to learn what is committed too: that lets it make room. */
export const owesTo = (state: ProposerState, at: AcceptorPhase, limitLsn: Lsn): at is Streaming =>
  at.phase === 'streaming' &&
  at.nextLsn >= Math.min(state.buffer.endLsn, limitLsn) &&
  (at.toldCommitLsn < state.commitLsn ||
    at.toldBackupBy !== state.backupBy ||
    at.toldBackupLsn < state.backupLsn);

/** A state being changed within one step: its own copies of what a step may replace. */
export interface Draft {
  state: { -readonly [K in keyof ProposerState]: ProposerState[K] } & { acceptors: AcceptorProgress[] };
  messages: ProposerOutput['messages'];
  disconnects: ProposerOutput['disconnects'];
}
export const draftOf = (state: ProposerState): Draft => ({
  state: { ...state, acceptors: [...state.acceptors] },
  messages: [],
  disconnects: [],
});

export function progressOf(draft: Draft, acceptor: AcceptorNumber): AcceptorProgress {
  const progress = draft.state.acceptors.find((entry) => entry.number === acceptor);
  if (progress === undefined) throw new RangeError(`no acceptor ${acceptor}`);
  return progress;
}
export function setPhase(draft: Draft, acceptor: AcceptorNumber, at: AcceptorPhase, flushLsn?: Lsn): void {
  const index = draft.state.acceptors.findIndex((entry) => entry.number === acceptor);
  const before = draft.state.acceptors[index];
  draft.state.acceptors[index] = { ...before, at, flushLsn: flushLsn ?? before.flushLsn };
}
export function setLimit(draft: Draft, acceptor: AcceptorNumber, limitLsn: Lsn): void {
  const index = draft.state.acceptors.findIndex((entry) => entry.number === acceptor);
  draft.state.acceptors[index] = { ...draft.state.acceptors[index], limitLsn };
}
