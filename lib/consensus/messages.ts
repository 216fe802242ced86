/**
 * What a proposer (in the compute) and an acceptor (a safekeeper) say to each other.
 *
 *   proposer                                   acceptor
 *      │ greeting ─────────────────────────────► │   which timeline, which proposer, of which configuration
 *      │ ◄──────────────────────────── greeting  │   the term and the configuration that it is in
 *      │ voteRequest ──────────────────────────► │
 *      │ ◄─────────────────────────────── vote   │   given or not, term history, flush position
 *      │ elected ──────────────────────────────► │   new term history; cut the log here, go on there
 *      │ ◄─────────────────────────── position   │
 *      │ append ───────────────────────────────► │   WAL, commit and truncate positions
 *      │ ◄─────────────────────────── position   │   what is durable
 *      │ read ─────────────────────────────────► │   WAL for a lagging acceptor (recovery)
 *      │ ◄──────────────────────────────── wal   │
 *      │ ◄─────────────────────────────── room   │   how much WAL it can take for now (where that is bounded)
 *      │ ◄────────────────────── configuration   │   a newer one: the proposer must come again with it
 *      │ leave ────────────────────────────────► │   nothing will follow: back up the tail
 *
 * It is Neon's protocol (Raft's election and log matching with leaders apart from the logs, and term histories
 * in place of a term in every entry), with one addition: `recordEndLsn`. A log is bytes, but it is voted with,
 * cut and committed only at ends of whole WAL records, which the proposer, who decodes the WAL, tells along.
 */
import type { Lsn } from '../postgres/lsn.ts';
import type { AcceptorNumber, Configuration } from './configuration.ts';
import type { TermHistory } from './term-history.ts';

export type { AcceptorNumber };

/** Of this message set; an acceptor refuses another one. */
export const CONSENSUS_VERSION = 2;

/** WAL bytes in one append or one answer to a read. */
export const APPEND_BYTES_MAX = 1 << 20;
/** Entries of a term history on the wire. */
export const TERM_HISTORY_MAX = 1 << 16;

/** Which log a proposer means to write; an acceptor holds exactly one and compares. */
export interface TimelineIdentity {
  /** 32 lower-case hexadecimal digits. */
  timelineId: string;
  /** Postgres's system identifier, u64. */
  systemIdentifier: bigint;
  /** The WAL holds nothing before it. */
  startLsn: Lsn;
  postgresMajor: number;
}

export interface ProposerGreeting extends TimelineIdentity {
  type: 'greeting';
  version: number;
  /** The term that the proposer wants or holds. */
  term: number;
  /** 32 lower-case hexadecimal digits, fresh for every proposer process: a vote is for one of them. */
  proposerId: string;
  configuration: Configuration;
}
export interface VoteRequest {
  type: 'voteRequest';
  term: number;
}
export interface Elected {
  type: 'elected';
  term: number;
  /** The last entry is this term's own, with the LSN where it starts. */
  history: TermHistory;
  /** Where the acceptor's log stops being the proposer's: everything from here on is cut off. */
  truncateAtLsn: Lsn;
  /**
   * Where the log goes on: there, or, for an acceptor that lacks much, later. What lies between is in object storage
   * (it ends with a finished segment), and the acceptor has it there and not in its own storage.
   */
  beginLsn: Lsn;
}
export interface Append {
  type: 'append';
  term: number;
  /** Where the bytes start: exactly the end of what the acceptor has. */
  beginLsn: Lsn;
  /** End of the last whole record at or before the end of these bytes; may lie before `beginLsn`. */
  recordEndLsn: Lsn;
  commitLsn: Lsn;
  /** Every acceptor has durably what is before it: no peer will ask for it. */
  truncateLsn: Lsn;
  /** Which acceptor copies finished segments to object storage. */
  backupBy: AcceptorNumber;
  /** What is before it is in object storage, in finished segments. */
  backupLsn: Lsn;
  /** At most APPEND_BYTES_MAX together; none to tell positions only. */
  wal: readonly Uint8Array[];
}
export interface ReadRequest {
  type: 'read';
  term: number;
  beginLsn: Lsn;
  /** At most APPEND_BYTES_MAX. */
  bytesMax: number;
}
export interface Leave {
  type: 'leave';
  term: number;
  commitLsn: Lsn;
}
export type ProposerMessage = ProposerGreeting | VoteRequest | Elected | Append | ReadRequest | Leave;

export interface AcceptorGreeting {
  type: 'greeting';
  version: number;
  term: number;
  acceptor: AcceptorNumber;
  /** Newer than the proposer's own: nothing else will be answered on this connection. */
  configuration: Configuration;
}
export interface Vote {
  type: 'vote';
  /** The acceptor's term after the request; a higher one than asked for means that the proposer is superseded. */
  term: number;
  /** This proposer has this acceptor's vote in `term`. */
  given: boolean;
  /** End of the last whole record of the acceptor's durable log. */
  flushLsn: Lsn;
  commitLsn: Lsn;
  truncateLsn: Lsn;
  backupLsn: Lsn;
  /** Only entries that start at or before `flushLsn`. */
  history: TermHistory;
}
/**
 * Answer to `elected`, to `append`s that carry WAL (one answer may stand for several), and to whatever comes
 * from an older term.
 */
export interface Position {
  type: 'position';
  term: number;
  /** End of the last whole durable record, in the history of `term`. */
  flushLsn: Lsn;
  /** End of the durable bytes. */
  writtenLsn: Lsn;
  commitLsn: Lsn;
  backupLsn: Lsn;
}
/** Answer to `read`: whole or part of what was asked for; no bytes where the acceptor has none. */
export interface ReadResponse {
  type: 'wal';
  term: number;
  beginLsn: Lsn;
  recordEndLsn: Lsn;
  wal: Uint8Array;
}
/**
 * How far an acceptor's storage reaches for now: no append may end beyond `limitLsn`. Told unasked, ahead of the answer to
 * `elected` and whenever it moves; an acceptor that never tells has no limit.
 */
export interface Room {
  type: 'room';
  term: number;
  limitLsn: Lsn;
}
/**
 * The acceptor is in a newer configuration than the one that this connection was greeted with: told when it learns of
 * it, and in answer to whatever comes over this connection afterwards.
 */
export interface Reconfigured {
  type: 'configuration';
  term: number;
  configuration: Configuration;
}
export type AcceptorMessage = AcceptorGreeting | Vote | Position | ReadResponse | Room | Reconfigured;

/** The `limitLsn` of an acceptor without one. */
export const NO_LIMIT = Number.MAX_SAFE_INTEGER as Lsn;

/** Bytes of WAL that an append carries. */
export function walLength(append: Pick<Append, 'wal'>): number {
  let length = 0;
  for (const part of append.wal) length += part.length;
  return length;
}

/**
 * Why an acceptor ends a connection, with the WebSocket close code that says so. Its log, term and vote are as
 * they were before the offending message. `retry` tells the proposer whether connecting again can help.
 */
export const REFUSALS = {
  malformed: { code: 4400, retry: false },
  unexpected: { code: 4401, retry: true },
  otherTimeline: { code: 4403, retry: false },
  otherVersion: { code: 4405, retry: false },
  otherConfiguration: { code: 4406, retry: false },
  notSequential: { code: 4409, retry: true },
  displaced: { code: 4410, retry: true },
  wrongTruncation: { code: 4412, retry: true },
  oversize: { code: 4413, retry: false },
  outOfRange: { code: 4416, retry: true },
  storage: { code: 4500, retry: true },
  full: { code: 4507, retry: true },
} as const;
export type RefusalReason = keyof typeof REFUSALS;
export const refusalOfCode = (code: number): RefusalReason | null =>
  (Object.keys(REFUSALS) as RefusalReason[]).find((reason) => REFUSALS[reason].code === code) ?? null;
