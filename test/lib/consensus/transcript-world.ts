/**
 * A small world of acceptors and proposers around the pure steps, for transcripts.
 *
 * A link is one connection between a proposer and an acceptor: ordered, reliable until it is cut. Storage keeps
 * what was written, but for positions, which a crash takes back to what was last made durable with something
 * else. After each step the world checks that no committed byte is lost or different, anywhere that it matters.
 */
import {
  emptyLog,
  needsSync,
  startAcceptor,
  stepAcceptor,
  type AcceptorInput,
  type AcceptorLog,
  type AcceptorState,
} from '../../../lib/consensus/acceptor.ts';
import {
  decodeAcceptorMessage,
  decodeProposerMessage,
  encodeAcceptorMessage,
  encodeProposerMessage,
} from '../../../lib/consensus/codec.ts';
import { firstConfiguration, type Configuration } from '../../../lib/consensus/configuration.ts';
import {
  DEFAULT_LIMITS,
  owesAnnouncement,
  startProposer,
  type ProposerInput,
  type ProposerLimits,
  type ProposerState,
} from '../../../lib/consensus/proposer-state.ts';
import { stepProposer } from '../../../lib/consensus/proposer.ts';
import { lsnPlus, type Lsn } from '../../../lib/postgres/lsn.ts';
import { show, showHistory } from '../../../lib/sim/show.ts';
import { at, START, TIMELINE } from '../../../lib/sim/world.ts';

interface Acceptor {
  state: AcceptorState;
  /** What a crash keeps. */
  durable: AcceptorLog;
  wal: Uint8Array;
  /** Record ends by which the rows end, for reads. */
  rows: { endLsn: Lsn; recordEndLsn: Lsn }[];
  /** From START on, which nobody gets from here. */
  trimmedBytes: number;
}
interface Proposer {
  state: ProposerState;
  term: number;
  /** All WAL that it has given to its step, from its term's start on. */
  wal: number[];
}
interface Link {
  id: number;
  proposer: number;
  acceptor: number;
  /** Encoded, in order. */
  toAcceptor: Uint8Array[];
  toProposer: Uint8Array[];
}

export class World {
  readonly acceptors = new Map<number, Acceptor>();
  readonly proposers = new Map<number, Proposer>();
  readonly links = new Map<number, Link>();
  /** What was ever committed by anyone, from START on. */
  committed = new Uint8Array(0);
  readonly log: string[] = [];
  readonly #limits: ProposerLimits;
  /** Of as many as there are members, whoever they become. */
  readonly #quorum: number;
  #nextLink = 1;

  constructor(acceptors: number, limits: Partial<ProposerLimits> = {}) {
    this.#quorum = Math.floor(acceptors / 2) + 1;
    this.#limits = { ...DEFAULT_LIMITS, ...limits };
    for (let n = 1; n <= acceptors; n++) {
      const durable = emptyLog(START);
      const state = startAcceptor(TIMELINE, n, durable);
      this.acceptors.set(n, { state, durable, wal: new Uint8Array(0), rows: [], trimmedBytes: 0 });
    }
  }

  propose(number: number, term: number): void {
    const proposerId = number.toString(16).padStart(32, '0');
    const acceptors = [...this.acceptors.keys()];
    const configuration = firstConfiguration(acceptors);
    const config = { timeline: TIMELINE, term, proposerId, configuration, limits: this.#limits };
    this.proposers.set(number, { state: startProposer(config), term, wal: [] });
  }
  /** The process is gone, and its connections with it. */
  kill(proposer: number): void {
    for (const link of this.links.values()) if (link.proposer === proposer) this.#dropLink(link, 'acceptor');
    this.proposers.delete(proposer);
  }

  linkOf(proposer: number, acceptor: number): Link | undefined {
    return [...this.links.values()].find((l) => l.proposer === proposer && l.acceptor === acceptor);
  }
  connect(proposer: number, acceptor: number): void {
    if (this.linkOf(proposer, acceptor) !== undefined || !this.proposers.has(proposer)) return;
    const id = this.#nextLink++;
    this.links.set(id, { id, proposer, acceptor, toAcceptor: [], toProposer: [] });
    this.#stepProposer(proposer, { type: 'connected', acceptor });
  }
  disconnect(proposer: number, acceptor: number): void {
    const link = this.linkOf(proposer, acceptor);
    if (link !== undefined) this.#dropLink(link, 'both');
  }
  /** The proposer's end notices; what the acceptor's end has received by then is still on its way. */
  #dropLink(link: Link, notify: 'both' | 'acceptor'): void {
    if (!this.links.delete(link.id)) return;
    if (notify === 'both')
      this.#stepProposer(link.proposer, { type: 'disconnected', acceptor: link.acceptor });
    this.#stepAcceptor(link.acceptor, { type: 'disconnected', connection: link.id });
  }

  /** The acceptor's process dies and starts again. */
  crash(acceptor: number): void {
    for (const link of this.links.values()) {
      if (link.acceptor !== acceptor) continue;
      this.links.delete(link.id);
      this.#stepProposer(link.proposer, { type: 'disconnected', acceptor });
    }
    const it = this.acceptors.get(acceptor)!;
    it.state = startAcceptor(TIMELINE, acceptor, it.durable);
  }

  /** Another acceptor, empty. */
  join(acceptor: number): void {
    const durable = emptyLog(START);
    const state = startAcceptor(TIMELINE, acceptor, durable);
    this.acceptors.set(acceptor, { state, durable, wal: new Uint8Array(0), rows: [], trimmedBytes: 0 });
  }
  /** The control plane tells an acceptor a configuration. */
  configure(acceptor: number, configuration: Configuration): void {
    this.#stepAcceptor(acceptor, { type: 'configure', configuration });
  }
  /** So many bytes from START on are in object storage, an acceptor hears. */
  backedUp(acceptor: number, bytes: number): void {
    this.#stepAcceptor(acceptor, { type: 'backedUp', backupLsn: lsnPlus(START, bytes) });
  }

  /** So many bytes from START on are not here any more, and object storage is out of reach. */
  trim(acceptor: number, bytes: number): void {
    this.acceptors.get(acceptor)!.trimmedBytes = bytes;
  }

  /** Storage takes so many bytes from START on. */
  room(acceptor: number, bytes: number): void {
    this.#stepAcceptor(acceptor, { type: 'room', limitLsn: lsnPlus(START, bytes) });
  }

  /** Records as numbers of bytes; negative: so many bytes that do not end a record. */
  wal(proposer: number, records: readonly number[]): void {
    const it = this.proposers.get(proposer)!;
    const bytes: number[] = [];
    let recordEnd: Lsn = it.state.buffer.recordEndLsn;
    for (const record of records) {
      const at = it.state.buffer.endLsn + bytes.length;
      for (let i = 0; i < Math.abs(record); i++) bytes.push((it.term * 31 + at + i) & 0xff);
      if (record > 0) recordEnd = lsnPlus(it.state.buffer.endLsn, bytes.length);
    }
    it.wal.push(...bytes);
    this.#stepProposer(proposer, { type: 'wal', bytes: new Uint8Array(bytes), recordEndLsn: recordEnd });
  }
  announce(proposer: number): void {
    const state = this.proposers.get(proposer)?.state;
    if (state !== undefined && owesAnnouncement(state)) this.#stepProposer(proposer, { type: 'announce' });
  }
  leave(proposer: number): void {
    this.#stepProposer(proposer, { type: 'leave' });
  }

  /** Delivers the oldest message in one direction of a link; false when there is none. */
  deliver(link: Link, to: 'acceptor' | 'proposer'): boolean {
    const bytes = (to === 'acceptor' ? link.toAcceptor : link.toProposer).shift();
    if (bytes === undefined) return false;
    if (to === 'acceptor') {
      const message = decodeProposerMessage(bytes);
      this.log.push(`p${link.proposer} → a${link.acceptor}  ${show(message)}`);
      this.#stepAcceptor(link.acceptor, { type: 'message', connection: link.id, message });
    } else {
      const message = decodeAcceptorMessage(bytes);
      this.log.push(`p${link.proposer} ← a${link.acceptor}  ${show(message)}`);
      this.#stepProposer(link.proposer, { type: 'message', acceptor: link.acceptor, message });
    }
    return true;
  }
  /** Delivers everything on the links that `chosen` accepts, in turns, until nothing is left. */
  settle(chosen: (link: Link) => boolean = () => true): void {
    for (let quiet = false; !quiet;) {
      quiet = true;
      for (const link of this.links.values()) {
        if (!chosen(link)) continue;
        if (this.deliver(link, 'acceptor')) quiet = false;
        if (this.deliver(link, 'proposer')) quiet = false;
      }
      if (!quiet) continue;
      for (const { proposer } of this.links.values()) this.announce(proposer);
      quiet = [...this.links.values()].every((link) => !chosen(link) || link.toAcceptor.length === 0);
    }
  }

  #stepAcceptor(number: number, input: AcceptorInput): void {
    const it = this.acceptors.get(number)!;
    const before = JSON.stringify(it.state.log);
    const output = stepAcceptor(it.state, input);
    if (
      output.refusals.some((refusal) => input.type === 'message' && refusal.connection === input.connection)
    ) {
      if (JSON.stringify(output.state.log) !== before) throw new Error('a refused message changed the log');
    }
    it.state = output.state;
    for (const write of output.writes) {
      if (write.type === 'truncate') {
        const rows = it.rows.filter((row) => row.endLsn < write.lsn);
        it.rows = write.lsn === START ? [] : [...rows, { endLsn: write.lsn, recordEndLsn: write.lsn }];
        it.wal = it.wal.slice(0, write.lsn - START);
      } else if (write.type === 'begin') {
        // What is before it is in object storage: the committed bytes.
        it.rows = [];
        it.wal = this.committed.slice(0, write.lsn - START);
      } else if (write.type === 'wal') {
        for (const part of write.wal) it.wal = new Uint8Array([...it.wal, ...part]);
        it.rows.push({ endLsn: lsnPlus(START, it.wal.length), recordEndLsn: write.recordEndLsn });
      }
    }
    if (needsSync(output.writes)) it.durable = it.state.log;
    for (const { connection, message } of output.messages) {
      this.links.get(connection)?.toProposer.push(encodeAcceptorMessage(message).slice());
    }
    for (const read of output.reads) {
      const isHere = read.beginLsn - START >= it.trimmedBytes;
      const row = isHere ? it.rows.find(({ endLsn }) => endLsn > read.beginLsn) : undefined;
      const wal = it.wal.slice(read.beginLsn - START, row === undefined ? 0 : row.endLsn - START);
      const recordEndLsn = row?.recordEndLsn ?? read.beginLsn;
      const message = { type: 'wal', term: read.term, beginLsn: read.beginLsn, recordEndLsn, wal } as const;
      this.links.get(read.connection)?.toProposer.push(encodeAcceptorMessage(message).slice());
    }
    for (const { connection, reason, detail } of output.refusals) {
      const link = this.links.get(connection);
      if (link === undefined) continue;
      this.log.push(`a${number} refuses p${link.proposer}: ${reason}: ${relative(detail)}`);
      this.#dropLink(link, 'both');
    }
    this.check();
  }

  #stepProposer(number: number, input: ProposerInput): void {
    const it = this.proposers.get(number);
    if (it === undefined) return;
    const before = it.state;
    const output = stepProposer(before, input);
    it.state = output.state;
    for (const { acceptor, message } of output.messages) {
      this.linkOf(number, acceptor)?.toAcceptor.push(encodeProposerMessage(message).slice());
    }
    const { state } = it;
    if (state.phase !== before.phase) {
      const what = {
        campaign: '',
        recovering: `elected in term ${it.term}, starts at ${at(state.termStartLsn)}`,
        leading: `leading from ${at(state.termStartLsn)}`,
        left: 'left',
        superseded: `superseded by term ${state.supersededBy}`,
      }[state.phase];
      this.log.push(`p${number} is ${what}`);
    }
    if (state.commitLsn < before.commitLsn) throw new Error(`p${number}: commit went back`);
    if (state.commitLsn > before.commitLsn) this.log.push(`p${number} commits ${at(state.commitLsn)}`);
    if (state.phase === 'leading' && state.commitLsn > START) this.#commit(it);
    for (const { acceptor, detail } of output.disconnects) {
      this.log.push(`p${number} ends a${acceptor}: ${detail}`);
      this.disconnect(number, acceptor);
    }
    this.check();
  }

  /** Notes what a proposer calls committed: it must extend what was committed before, byte for byte. */
  #commit({ state, wal }: Proposer): void {
    const length = state.commitLsn - START;
    if (length <= this.committed.length) return;
    const extended = new Uint8Array(length);
    extended.set(this.committed);
    const own = state.termStartLsn - START;
    if (own > this.committed.length) {
      // Recovered from an older term and committed only now: what those have that told so.
      const told = state.acceptors.find(
        ({ flushLsn }) => flushLsn !== null && flushLsn >= state.termStartLsn,
      );
      const donor = told && this.acceptors.get(told.number);
      if (donor === undefined) throw new Error('committed, and nobody has it');
      extended.set(donor.wal.subarray(this.committed.length, own), this.committed.length);
    }
    for (let i = Math.max(own, this.committed.length); i < length; i++) extended[i] = wal[i - own];
    for (let i = own; i < Math.min(this.committed.length, length); i++) {
      if (extended[i] !== wal[i - own]) throw new Error(`committed byte ${i} changed`);
    }
    this.committed = extended;
  }

  /** A quorum holds every committed byte; no acceptor believes committed what is not. */
  check(): void {
    let holders = 0;
    for (const [number, { state, wal, durable }] of this.acceptors) {
      const { log } = state;
      if (log.commitLsn > log.flushLsn || log.flushLsn > log.writtenLsn)
        throw new Error(`a${number}: positions`);
      if (log.writtenLsn - START !== wal.length) throw new Error(`a${number}: ${wal.length} bytes of WAL`);
      if (durable.term !== log.term || durable.flushLsn !== log.flushLsn)
        throw new Error(`a${number}: durable`);
      const known = Math.min(log.commitLsn - START, wal.length);
      if (known > this.committed.length) throw new Error(`a${number} commits what nobody committed`);
      for (let i = 0; i < known; i++) {
        if (wal[i] !== this.committed[i]) throw new Error(`a${number}: committed byte ${i} differs`);
      }
      const length = this.committed.length;
      if (log.flushLsn - START < length) continue;
      let same = true;
      for (let i = 0; i < length && same; i++) same = wal[i] === this.committed[i];
      if (same) holders++;
    }
    if (holders < this.#quorum) {
      throw new Error(`${holders} acceptors hold the ${this.committed.length} committed bytes`);
    }
  }
}

const relative = (text: string): string =>
  text.replaceAll(/0\/([0-9A-F]{7})\b/g, (_, low: string) => at(Number.parseInt(low, 16)));

export function showAcceptor(number: number, { state }: Acceptor): string {
  const { log } = state;
  const written = log.writtenLsn === log.flushLsn ? '' : ` written=${at(log.writtenLsn)}`;
  return (
    `a${number} term=${log.term} flush=${at(log.flushLsn)}${written} commit=${at(log.commitLsn)} ` +
    `history=[${showHistory(log.history)}]`
  );
}
