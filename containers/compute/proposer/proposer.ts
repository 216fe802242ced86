/**
 * The WAL proposer: Postgres's only synchronous standby, and the three safekeepers' only writer.
 *
 *   Postgres ── physical replication ──► decoder (record ends) ──► stepProposer ──► 3 WebSockets
 *       ◄───────── flush = commitLsn ─────────────────────────────────┘
 *
 * A shell: connections, timers and the decoder are here, every decision is in lib/consensus. Once a higher term
 * is met nothing is acknowledged to Postgres any more, so that no commit of a superseded compute can return.
 */
import { randomBytes } from 'node:crypto';
import { EventEmitter } from 'node:events';
import type { Configuration } from '../../../lib/consensus/configuration.ts';
import { decodeAcceptorMessage, encodeProposerMessage } from '../../../lib/consensus/codec.ts';
import {
  DEFAULT_LIMITS,
  owesAnnouncement,
  startProposer,
  wantsWal,
  type ProposerInput,
  type ProposerLimits,
  type ProposerState,
} from '../../../lib/consensus/proposer-state.ts';
import { stepProposer } from '../../../lib/consensus/proposer.ts';
import { formatLsn, lsnPlus, parseLsn, type Lsn } from '../../../lib/postgres/lsn.ts';
import { postgres18 } from '../../../lib/postgres/v18/wal.ts';
import { WalDecoder } from '../../../lib/postgres/wal/decoder.ts';
import { recordStart } from '../../../lib/postgres/wal/geometry.ts';
import { newWalRecord, type WalRecord } from '../../../lib/postgres/wal/record.ts';
import { FIRST_SAFEKEEPERS, placeOf } from '../../../lib/protocol/safekeepers.ts';
import { HOST, type TimelineSpec } from '../../../lib/protocol/specs.ts';
import { AcceptorLink, type AcceptorSocket } from './acceptor-link.ts';
import { ProposerError } from './errors.ts';
import { ReplicationClient } from './replication-client.ts';

export interface ProposerOptions {
  timeline: TimelineSpec;
  /** Larger than that of every compute started before for this timeline. */
  term: number;
  /** Who holds the log, as the control plane knows it; default: the first three. */
  configuration?: Configuration;
  /** Opens a connection to safekeeper `n`; default: a WebSocket to its host name (specs.ts). */
  connect?: (n: number) => AcceptorSocket;
  /** Whether the stream from Postgres, which has come to an LSN, is to wait for what is not the quorum (ingest-lag.ts). */
  holds?: (streamedLsn: Lsn) => boolean;
  /** Each WAL record as it streams by, before it is committed. It is reused: copy what is kept. */
  onRecord?: (record: WalRecord) => void;
  limits?: Partial<ProposerLimits>;
  /** What a person looking for a fault wants to know: connections lost and made. */
  log?: (message: string) => void;
}

export interface Election {
  term: number;
  /** End of the durable, recovered and committed log: where the compute boots. */
  startLsn: Lsn;
}

export interface StreamingOptions {
  /** Postgres's unix socket: `…/.s.PGSQL.5432`. */
  socketPath: string;
  user: string;
  /** A physical replication slot, made by who booted Postgres. */
  slot?: string;
}

interface ProposerEvents {
  /** A higher term exists (its number): this compute must stop. Nothing is acknowledged from here on. */
  superseded: [term: number];
  commit: [commitLsn: Lsn];
  /** Postgres ended the stream in order (it was shut down), after all of its WAL was acknowledged. */
  ended: [];
  /** The stream is of no more use: it is not the WAL that continues the log. */
  failed: [error: ProposerError];
}

export const APPLICATION_NAME = 'ebb_proposer';
const ELECT_TIMEOUT_MS = 30_000;
const CLOSE_TIMEOUT_MS = 10_000;
/** How long the acceptors have to take note of the end. */
const GOODBYE_TIMEOUT_MS = 2000;
const RECONNECT_POSTGRES_MS = 100;
/** How much later than the others the trailing acceptor has WAL, and all of them a commit that no append follows. */
const ANNOUNCE_DELAY_MS = 50;

interface Waiter {
  lsn: Lsn;
  resolve: () => void;
  reject: (error: ProposerError) => void;
}

const walFacts = { 18: postgres18 } as const;

export class Proposer extends EventEmitter<ProposerEvents> {
  readonly #options: ProposerOptions;
  #state: ProposerState;
  readonly #links = new Map<number, AcceptorLink>();
  #decoder: WalDecoder | null = null;
  readonly #record = newWalRecord();
  #replication: ReplicationClient | null = null;
  #flushedByPostgresLsn: Lsn;
  readonly #leading = Promise.withResolvers<void>();
  readonly #waiters = new Set<Waiter>();
  #announceTimer: ReturnType<typeof setTimeout> | undefined;
  /** Why nothing can be committed any more. */
  #over: ProposerError | null = null;

  constructor(options: ProposerOptions) {
    super();
    this.#options = options;
    const { timeline, term } = options;
    this.#state = startProposer({
      timeline: {
        timelineId: timeline.timelineId,
        systemIdentifier: BigInt(timeline.systemIdentifier),
        startLsn: parseLsn(timeline.startLsn),
        postgresMajor: timeline.postgresMajor,
      },
      term,
      proposerId: randomBytes(16).toString('hex'),
      configuration: options.configuration ?? FIRST_SAFEKEEPERS,
      limits: { ...DEFAULT_LIMITS, ...options.limits },
    });
    this.#flushedByPostgresLsn = this.#state.commitLsn;
    this.#leading.promise.catch(() => undefined); // told to whoever waits in elect()
  }

  /** Durable at a quorum, as an end of a record. */
  get commitLsn(): Lsn {
    return this.#state.commitLsn;
  }
  /** The end of what Postgres says it has flushed, streamed yet or not. */
  get flushedByPostgresLsn(): Lsn {
    return this.#flushedByPostgresLsn;
  }
  get term(): number {
    return this.#options.term;
  }
  /** For /status. */
  describe(): { term: number; phase: string; commitLsn: string; streamedLsn: string; acceptors: object[] } {
    const { phase, commitLsn, buffer, acceptors } = this.#state;
    return {
      term: this.term,
      phase,
      commitLsn: formatLsn(commitLsn),
      streamedLsn: formatLsn(buffer.endLsn),
      acceptors: acceptors.map(({ number, at, flushLsn }) => ({
        safekeeper: number,
        phase: at.phase,
        flushLsn: flushLsn === null ? null : formatLsn(flushLsn),
      })),
    };
  }

  /**
   * Becomes the proposer of `term` and brings a quorum to the end of the log. Throws ProposerError `superseded`,
   * or `unavailable` after `timeoutMs`.
   */
  async elect(timeoutMs = ELECT_TIMEOUT_MS): Promise<Election> {
    for (const { number } of this.#state.acceptors) this.#openLink(number);
    const timer = setTimeout(() => {
      const why = [...this.#links].map(([n, link]) => `safekeeper ${n}: ${link.lastFailure}`).join('; ');
      this.#leading.reject(
        new ProposerError('unavailable', `no quorum for term ${this.term} within ${timeoutMs} ms: ${why}`),
      );
    }, timeoutMs);
    try {
      await this.#leading.promise;
    } catch (error) {
      this.#giveUp(error as ProposerError);
      void this.#closeLinks();
      throw error;
    } finally {
      clearTimeout(timer);
    }
    return { term: this.term, startLsn: this.#state.termStartLsn };
  }

  /** Streams WAL from Postgres, which was booted at `startLsn`, until it ends or `close()`. Rejects when it cannot begin. */
  async startStreaming(options: StreamingOptions): Promise<void> {
    if (this.#over !== null) throw this.#over;
    const startLsn = this.#state.buffer.endLsn;
    this.#decoder ??= new WalDecoder({
      startLsn,
      facts: walFacts[this.#options.timeline.postgresMajor],
      timelineId: 1,
      systemIdentifier: BigInt(this.#options.timeline.systemIdentifier),
    });
    this.#replication = await ReplicationClient.start({
      ...options,
      applicationName: APPLICATION_NAME,
      startLsn,
      onWal: (at, wal) => this.#onWal(at, wal),
      onServerEnd: (endLsn) => {
        if (endLsn > this.#flushedByPostgresLsn) this.#flushedByPostgresLsn = endLsn;
      },
      onEnd: (error) => this.#onStreamEnd(error, options),
    });
    if (this.#over !== null) this.#replication.stop();
    else this.#replication.acknowledge(this.#state.commitLsn);
  }

  /**
   * Resolves when every record that ends at or before `position` is committed; `position` itself may lie inside
   * a record or behind a page header. Throws ProposerError; `unavailable` after `timeoutMs`.
   */
  waitForCommit(position: Lsn, timeoutMs: number): Promise<void> {
    if (this.#isCommitted(position)) return Promise.resolve();
    if (this.#over !== null) return Promise.reject(this.#over);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        const text = `${formatLsn(position)} was not committed within ${timeoutMs} ms: ${formatLsn(this.commitLsn)} is`;
        waiter.reject(new ProposerError('unavailable', text));
      }, timeoutMs);
      const done = (settle: () => void): void => {
        clearTimeout(timer);
        this.#waiters.delete(waiter);
        settle();
      };
      const waiter: Waiter = {
        lsn: position,
        resolve: () => done(resolve),
        reject: (error) => done(() => reject(error)),
      };
      this.#waiters.add(waiter);
    });
  }

  /**
   * Leaves in order: waits until all whole records that were streamed are committed, tells the acceptors that
   * nothing will follow (they back up the tail), disconnects. Throws ProposerError when not all got committed.
   */
  async close(timeoutMs = CLOSE_TIMEOUT_MS): Promise<void> {
    if (this.#over?.code === 'closed') return;
    try {
      if (this.#state.phase === 'leading') {
        await this.waitForCommit(this.#state.buffer.recordEndLsn, timeoutMs);
        this.#step({ type: 'leave' });
      }
    } finally {
      this.#replication?.stop();
      this.#giveUp(new ProposerError('closed', 'the proposer was closed'));
      await this.#closeLinks();
    }
  }

  #isCommitted(position: Lsn): boolean {
    const { commitLsn, buffer } = this.#state;
    if (recordStart(commitLsn) >= position) return true;
    return buffer.endLsn >= position && commitLsn >= buffer.recordEndLsn;
  }

  #openLink(number: number): void {
    const connect =
      this.#options.connect ?? ((n) => new WebSocket(`ws://${HOST.safekeeper(placeOf(n))}/${n}`));
    const link = new AcceptorLink({
      connect: () => connect(number),
      onOpen: () => this.#step({ type: 'connected', acceptor: number }),
      onMessage: (bytes) => this.#onMessage(number, bytes),
      onClose: () => {
        this.#options.log?.(`safekeeper ${number}: ${link.lastFailure}`);
        this.#step({ type: 'disconnected', acceptor: number });
      },
      expectsAnswer: () => this.#expectsAnswer(number),
    });
    this.#links.set(number, link);
  }

  /** Links to whom there is none, none to whom is no member any more. */
  #followConfiguration(): void {
    const members = new Set(this.#state.acceptors.map(({ number }) => number));
    for (const [number, link] of this.#links) {
      if (members.has(number)) continue;
      this.#links.delete(number);
      void link.close();
    }
    for (const number of members) if (!this.#links.has(number)) this.#openLink(number);
  }

  #expectsAnswer(number: number): boolean {
    const { acceptors } = this.#state;
    const at = acceptors.find((acceptor) => acceptor.number === number)?.at;
    if (at === undefined) return false;
    if (at.phase === 'greeting' || at.phase === 'voting' || at.phase === 'electing') return true;
    if (at.phase !== 'streaming') return false;
    if (at.inFlight.length > 0) return true;
    return acceptors.some((peer) => peer.at.phase === 'streaming' && peer.at.read?.from === number);
  }

  #onMessage(number: number, bytes: Uint8Array): void {
    let message;
    try {
      message = decodeAcceptorMessage(bytes);
    } catch (error) {
      this.#links.get(number)?.restart(`malformed message: ${String(error)}`);
      return;
    }
    this.#step({ type: 'message', acceptor: number, message });
  }

  /** One step, and what follows from how the state has changed. */
  #step(input: ProposerInput): void {
    if (this.#over !== null) return;
    const before = this.#state;
    const { state, messages, disconnects } = stepProposer(before, input);
    this.#state = state;
    if (state.phase === 'superseded') {
      const text = `term ${this.term} is superseded by term ${state.supersededBy}`;
      this.#giveUp(new ProposerError('superseded', text));
      void this.#closeLinks();
      this.emit('superseded', state.supersededBy);
      return;
    }
    for (const { acceptor, message } of messages) {
      this.#links.get(acceptor)?.send(encodeProposerMessage(message));
    }
    if (state.commitLsn > before.commitLsn) this.#onCommit(state.commitLsn);
    for (const waiter of this.#waiters) if (this.#isCommitted(waiter.lsn)) waiter.resolve();
    this.#announceSoon(before);
    if (state.phase === 'leading') this.#leading.resolve();
    for (const { acceptor, reason, detail } of disconnects) {
      const why = reason === 'fault' ? `broke the protocol: ${detail}` : detail;
      this.#links.get(acceptor)?.restart(why, reason === 'nothingToRead' ? 'later' : 'soon');
    }
    if (state.configuration !== before.configuration) this.#followConfiguration();
    this.pace();
  }
  /** Goes on with the stream from Postgres, or lets it wait: `holds` may have changed. */
  pace(): void {
    const isHeld = this.#options.holds?.(this.#state.buffer.endLsn) ?? false;
    if (wantsWal(this.#state) && !isHeld) this.#replication?.resume();
    else this.#replication?.pause();
  }

  /** The next append usually tells what is committed; where none comes soon, it is told for itself (`announce`). */
  #announceSoon(before: ProposerState): void {
    if (this.#announceTimer !== undefined || !owesAnnouncement(this.#state)) return;
    // The pageserver waits for the log that a new leader has recovered.
    const delayMs = before.phase === 'leading' ? ANNOUNCE_DELAY_MS : 0;
    this.#announceTimer = setTimeout(() => {
      this.#announceTimer = undefined;
      this.#step({ type: 'announce' });
    }, delayMs);
  }

  #onCommit(commitLsn: Lsn): void {
    this.#replication?.acknowledge(commitLsn);
    this.emit('commit', commitLsn);
  }

  #onWal(at: Lsn, wal: Uint8Array): void {
    if (this.#over !== null || this.#decoder === null) return;
    const { endLsn } = this.#state.buffer;
    if (at !== endLsn) {
      const text = `WAL at ${formatLsn(at)} from Postgres: ${formatLsn(endLsn)} expected`;
      this.#fail(new ProposerError('wal', text));
      return;
    }
    const streamedLsn = lsnPlus(at, wal.length);
    if (streamedLsn > this.#flushedByPostgresLsn) this.#flushedByPostgresLsn = streamedLsn;
    try {
      this.#decoder.push(wal);
      while (this.#decoder.next(this.#record)) this.#options.onRecord?.(this.#record);
    } catch (cause) {
      this.#fail(new ProposerError('wal', `WAL from Postgres: ${(cause as Error).message}`, { cause }));
      return;
    }
    this.#step({ type: 'wal', bytes: wal, recordEndLsn: this.#decoder.endLsn });
  }

  #fail(error: ProposerError): void {
    this.#giveUp(error);
    this.emit('failed', error);
  }

  /** From here on nothing is sent, committed or acknowledged. */
  #giveUp(error: ProposerError): void {
    this.#over ??= error;
    clearTimeout(this.#announceTimer);
    this.#replication?.stop();
    this.#leading.reject(error);
    for (const waiter of this.#waiters) waiter.reject(error);
  }

  /** Postgres shut down, or only the stream broke: then it goes on from where it stopped. */
  #onStreamEnd(error: Error | null, options: StreamingOptions): void {
    this.#replication = null;
    if (this.#over !== null) return;
    if (error === null) {
      this.emit('ended');
      return;
    }
    this.#options.log?.(`WAL stream from Postgres: ${error.message}`);
    setTimeout(() => void this.#streamAgain(options), RECONNECT_POSTGRES_MS);
  }
  async #streamAgain(options: StreamingOptions): Promise<void> {
    if (this.#over !== null) return;
    try {
      await this.startStreaming(options);
    } catch (error) {
      // Postgres may be gone for good; that is for those to see who started it.
      this.#onStreamEnd(error as Error, options);
    }
  }

  async #closeLinks(): Promise<void> {
    const closed = Promise.all([...this.#links.values()].map((link) => link.close()));
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<void>((resolve) => (timer = setTimeout(resolve, GOODBYE_TIMEOUT_MS)));
    await Promise.race([closed, late]);
    clearTimeout(timer);
  }
}
