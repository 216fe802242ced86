/**
 * A proposer over real WebSockets with made-up WAL: the pure step and the compute's own links, without Postgres.
 */
import { AcceptorLink } from '../../../containers/compute/proposer/acceptor-link.ts';
import { firstConfiguration, type Configuration } from '../../../lib/consensus/configuration.ts';
import { decodeAcceptorMessage, encodeProposerMessage } from '../../../lib/consensus/codec.ts';
import {
  DEFAULT_LIMITS,
  owesAnnouncement,
  startProposer,
  wantsWal,
  type ProposerInput,
  type ProposerState,
} from '../../../lib/consensus/proposer-state.ts';
import { stepProposer } from '../../../lib/consensus/proposer.ts';
import { lsnPlus, parseLsn, type Lsn } from '../../../lib/postgres/lsn.ts';
import type { SafekeeperEdge } from './edge.ts';

let lastId = 0;

export class Driver {
  state: ProposerState;
  readonly #edge: SafekeeperEdge;
  #configuration: Configuration;
  readonly #links = new Map<number, AcceptorLink>();
  readonly #waiters = new Set<{ until: (state: ProposerState) => boolean; resolve: () => void }>();

  constructor(
    edge: SafekeeperEdge,
    term: number,
    acceptors: readonly number[] = [1, 2, 3],
    configuration = firstConfiguration([1, 2, 3]),
  ) {
    this.#edge = edge;
    const { timelineId, systemIdentifier, startLsn } = edge.timeline;
    this.state = startProposer({
      timeline: {
        timelineId,
        systemIdentifier: BigInt(systemIdentifier),
        startLsn: parseLsn(startLsn),
        postgresMajor: 18,
      },
      term,
      proposerId: (++lastId).toString(16).padStart(32, '0'),
      configuration,
      limits: DEFAULT_LIMITS,
    });
    this.#configuration = configuration;
    for (const n of acceptors) this.join(n);
  }

  join(n: number): void {
    const link = new AcceptorLink({
      connect: () => this.#edge.connect(n),
      onOpen: () => this.#step({ type: 'connected', acceptor: n }),
      onMessage: (bytes) => {
        this.#step({ type: 'message', acceptor: n, message: decodeAcceptorMessage(bytes) });
      },
      onClose: () => this.#step({ type: 'disconnected', acceptor: n }),
      expectsAnswer: () => false,
    });
    this.#links.set(n, link);
  }
  async part(n: number): Promise<void> {
    const link = this.#links.get(n);
    this.#links.delete(n);
    await link?.close();
    this.#step({ type: 'disconnected', acceptor: n });
  }
  lastFailure(n: number): string {
    return this.#links.get(n)!.lastFailure;
  }

  #step(input: ProposerInput): void {
    const { state, messages, disconnects } = stepProposer(this.state, input);
    this.state = state;
    for (const { acceptor, message } of messages) {
      this.#links.get(acceptor)?.send(encodeProposerMessage(message).slice());
    }
    for (const { acceptor, detail } of disconnects) this.#links.get(acceptor)?.restart(detail);
    if (state.configuration !== this.#configuration) this.#followConfiguration();
    if (owesAnnouncement(state)) setImmediate(() => this.#announce());
    for (const waiter of this.#waiters) {
      if (!waiter.until(state)) continue;
      this.#waiters.delete(waiter);
      waiter.resolve();
    }
  }
  /** As the compute's proposer does. */
  #followConfiguration(): void {
    this.#configuration = this.state.configuration;
    const members = new Set(this.state.acceptors.map(({ number }) => number));
    for (const [number, link] of this.#links) {
      if (members.has(number)) continue;
      this.#links.delete(number);
      void link.close();
    }
    for (const number of members) if (!this.#links.has(number)) this.join(number);
  }
  #announce(): void {
    if (owesAnnouncement(this.state)) this.#step({ type: 'announce' });
  }
  /** Resolves when `until` holds of the state. */
  when(until: (state: ProposerState) => boolean): Promise<void> {
    if (until(this.state)) return Promise.resolve();
    return new Promise((resolve) => this.#waiters.add({ until, resolve }));
  }
  async elected(): Promise<this> {
    await this.when((state) => state.phase === 'leading' || state.phase === 'superseded');
    return this;
  }

  /** Appends one record (or, with `whole` false, the beginning of one); returns its end. Waits for nothing. */
  push(bytes: Uint8Array, whole = true): Lsn {
    const { endLsn, recordEndLsn } = this.state.buffer;
    const end = lsnPlus(endLsn, bytes.length);
    this.#step({ type: 'wal', bytes, recordEndLsn: whole ? end : recordEndLsn });
    return end;
  }
  /** Appends `total` bytes of records of `size`, held back as Postgres would be; resolves when all are committed. */
  async pushMany(
    total: number,
    size: number,
    content: (at: Lsn, length: number) => Uint8Array,
  ): Promise<void> {
    for (let sent = 0; sent < total; sent += size) {
      await this.when(wantsWal);
      this.push(content(this.state.buffer.endLsn, Math.min(size, total - sent)));
    }
    await this.committed(this.state.buffer.endLsn);
  }
  committed(position: Lsn): Promise<void> {
    return this.when((state) => state.commitLsn >= position);
  }
  /** Every acceptor has everything, and knows that it is committed. */
  async everywhere(): Promise<void> {
    await this.when((state) =>
      state.acceptors.every(
        ({ at, flushLsn }) =>
          flushLsn === state.buffer.recordEndLsn && at.phase === 'streaming' && at.toldCommitLsn === flushLsn,
      ),
    );
  }

  leave(): Promise<void> {
    this.#step({ type: 'leave' });
    return this.stop();
  }
  async stop(): Promise<void> {
    await Promise.all([...this.#links.values()].map((link) => link.close()));
    this.#links.clear();
  }
}

/** Bytes that tell where they stand, so that any mix-up shows. */
export function walBytes(at: Lsn, length: number, salt = 0): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) {
    const position = at + i;
    bytes[i] = (position ^ (position >>> 8) ^ (position >>> 16) ^ salt) & 0xff;
  }
  return bytes;
}
