/**
 * What an acceptor knows, what goes into its step and what comes out (acceptor.ts).
 *
 * What must survive a crash is in `AcceptorLog`; connections are forgotten with the process, or restored by the
 * shell when it only slept.
 */
import type { Lsn } from '../postgres/lsn.ts';
import { NO_CONFIGURATION, type Configuration } from './configuration.ts';
import {
  NO_LIMIT,
  type AcceptorMessage,
  type AcceptorNumber,
  type ProposerMessage,
  type RefusalReason,
  type TimelineIdentity,
} from './messages.ts';
import { emptyHistory, lastTermOf, upTo, type TermHistory } from './term-history.ts';

/** What an acceptor has promised and holds; survives crashes through `AcceptorWrite`s. */
export interface AcceptorLog {
  /** The highest term that it knows of. It obeys no lower one. */
  term: number;
  /** Whom it voted for in `term`, or, once it follows one, who was elected in it; null when it only heard of that term. */
  votedFor: string | null;
  /** The newest that it knows of. It obeys no proposer of an older one. */
  configuration: Configuration;
  /** May reach beyond `flushLsn`: it is adopted from the proposer before the WAL itself arrives. */
  history: TermHistory;
  /** End of the last whole record. */
  flushLsn: Lsn;
  /** End of the bytes: at or beyond `flushLsn`. What lies between may be in object storage only (`begin`). */
  writtenLsn: Lsn;
  /** At most `flushLsn`. What is durable of it may be older; a proposer tells it again. */
  commitLsn: Lsn;
  truncateLsn: Lsn;
  /** What is before it is in object storage, in finished segments; perhaps more than this log itself has. */
  backupLsn: Lsn;
}

/** A connection as the acceptor knows it. Displaced is not ended: a superseded proposer is told so by it. */
export interface AcceptorConnection {
  proposerId: string;
  /** The configuration that it was greeted with; once the acceptor's is newer, nothing of this connection counts. */
  generation: number;
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
  | { type: 'room'; limitLsn: Lsn }
  /** From the control plane; an older one, or the same again, changes nothing. */
  | { type: 'configure'; configuration: Configuration }
  /** Finished segments before `backupLsn` are in object storage, by this acceptor's doing or a peer's. */
  | { type: 'backedUp'; backupLsn: Lsn };

export type AcceptorWrite =
  | { type: 'term'; term: number; votedFor: string | null }
  | { type: 'history'; history: TermHistory }
  | { type: 'configuration'; configuration: Configuration }
  /** Forget all WAL from `lsn` on. */
  | { type: 'truncate'; lsn: Lsn }
  /**
   * Forget all WAL; the log goes on at `lsn` (`writtenLsn`), and what is before it is in object storage. The last whole
   * record that this acceptor knows of ends at `recordEndLsn`, or, as far as it knows, long before.
   */
  | { type: 'begin'; lsn: Lsn; recordEndLsn: Lsn }
  /** `recordEndLsn` becomes the flush position once this is durable. */
  | { type: 'wal'; beginLsn: Lsn; recordEndLsn: Lsn; wal: readonly Uint8Array[] }
  /** May become durable late or never. */
  | { type: 'positions'; commitLsn: Lsn; truncateLsn: Lsn; backupLsn: Lsn };

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
  configuration: NO_CONFIGURATION,
  history: emptyHistory(startLsn),
  flushLsn: startLsn,
  writtenLsn: startLsn,
  commitLsn: startLsn,
  truncateLsn: startLsn,
  backupLsn: startLsn,
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

/** What an acceptor tells the control plane of itself, once it is durable: membership.ts. */
export interface AcceptorStatus {
  readonly generation: number;
  readonly term: number;
  /** The term that wrote the end of its log. */
  readonly lastLogTerm: number;
  readonly flushLsn: Lsn;
  readonly commitLsn: Lsn;
}
export const statusOf = ({
  configuration,
  term,
  history,
  flushLsn,
  commitLsn,
}: AcceptorLog): AcceptorStatus => ({
  generation: configuration.generation,
  term,
  lastLogTerm: lastTermOf(upTo(history, flushLsn)),
  flushLsn,
  commitLsn,
});
