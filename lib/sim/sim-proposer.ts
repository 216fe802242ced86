/**
 * A compute's proposer process, as its shell (containers/compute/proposer) runs the step: links that connect again and
 * again, WAL from a made-up Postgres, an announcement a little after one is owed.
 */
import type { AcceptorNumber, Configuration } from '../consensus/configuration.ts';
import type { AcceptorMessage } from '../consensus/messages.ts';
import {
  owesAnnouncement,
  startProposer,
  wantsWal,
  type ProposerInput,
  type ProposerState,
} from '../consensus/proposer-state.ts';
import type { Lsn } from '../postgres/lsn.ts';
import { LOG_BYTES_MAX } from './disk.ts';
import { Link } from './link.ts';
import { show } from './show.ts';
import { at, duration, START, TIMELINE, type World } from './world.ts';

const ANNOUNCE_TICKS = 20;
const RECONNECT_TICKS = 25;
/** Who does not lead after that long gives up (`elect` of the shell): the log it means to take over may be a former member's. */
const ELECT_TICKS = 1000;
/** Room for the end of the run, in which the faults have stopped. */
const LOG_BYTES_FAULTY_MAX = LOG_BYTES_MAX - 1024;

export class SimProposer {
  readonly id: number;
  readonly term: number;
  readonly #world: World;
  state: ProposerState;
  readonly links = new Map<AcceptorNumber, Link>();
  #announcing = false;
  dead = false;

  constructor(world: World, id: number, term: number, configuration: Configuration) {
    this.#world = world;
    this.id = id;
    this.term = term;
    this.state = startProposer({
      timeline: TIMELINE,
      term,
      proposerId: id.toString(16).padStart(32, '0'),
      configuration,
      limits: world.options.limits,
    });
    for (const { number } of this.state.acceptors) this.#connectSoon(number);
    world.agenda.after(ELECT_TICKS, () => {
      if (this.dead || this.state.phase === 'leading') return;
      world.trace?.(`p${this.id} gives up`);
      this.kill();
    });
  }

  #connectSoon(number: AcceptorNumber): void {
    this.#world.agenda.after(duration(this.#world, RECONNECT_TICKS), () => this.#connect(number));
  }
  #connect(number: AcceptorNumber): void {
    if (this.dead || this.state.phase === 'superseded' || this.links.has(number)) return;
    if (!this.state.acceptors.some((acceptor) => acceptor.number === number)) return;
    const acceptor = this.#world.acceptors.get(number);
    if (acceptor === undefined || acceptor.down || this.id >= acceptor.hiddenFrom) {
      // One that is gone for good is asked until the configuration is without it.
      this.#connectSoon(number);
      return;
    }
    const link = new Link(this.#world, acceptor.nextConnection++, this, acceptor);
    this.links.set(number, link);
    acceptor.connect(link);
    this.#step({ type: 'connected', acceptor: number });
  }

  receive(link: Link, message: AcceptorMessage): void {
    const { number } = link.acceptor;
    if (this.dead || this.links.get(number) !== link) return;
    this.#world.trace?.(`p${this.id} ← a${number}  ${show(message)}`);
    this.#step({ type: 'message', acceptor: number, message });
  }
  disconnected(link: Link): void {
    const { number } = link.acceptor;
    if (this.links.get(number) !== link) return;
    this.links.delete(number);
    if (this.dead) return;
    this.#step({ type: 'disconnected', acceptor: number });
    this.#connectSoon(number);
  }

  /** Postgres writes: whole records, and now and then the beginning of one. */
  write(): void {
    const { random, options, checker, faulty } = this.#world;
    if (this.dead || this.state.phase !== 'leading' || !wantsWal(this.state)) return;
    const { buffer } = this.state;
    if (buffer.endLsn - START > (faulty ? LOG_BYTES_FAULTY_MAX : LOG_BYTES_MAX - options.recordBytes)) return;
    const bytes = new Uint8Array(random.within(1, options.recordBytes)).fill(this.id);
    const endLsn = buffer.endLsn + bytes.length;
    let recordEndLsn = endLsn;
    if (faulty && random.once(4)) recordEndLsn = random.within(buffer.recordEndLsn, endLsn);
    this.#world.trace?.(`p${this.id} writes ${at(buffer.endLsn)}..${at(endLsn)}`);
    checker.wrote(this.term, bytes);
    this.#step({ type: 'wal', bytes, recordEndLsn: recordEndLsn as Lsn });
  }
  leave(): void {
    if (this.state.phase !== 'leading' || this.state.commitLsn < this.state.buffer.recordEndLsn) return;
    this.#world.trace?.(`p${this.id} leaves`);
    this.#step({ type: 'leave' });
    this.kill();
  }
  configure(configuration: Configuration): void {
    if (!this.dead) this.#step({ type: 'configure', configuration });
  }
  kill(): void {
    this.dead = true;
    this.#world.proposers.delete(this.id);
    for (const link of this.links.values()) link.break();
  }

  #step(input: ProposerInput): void {
    const world = this.#world;
    const before = this.state;
    world.steps++;
    const { state, messages, disconnects } = world.seams.stepProposer(before, input);
    this.state = state;
    if (state.phase !== before.phase) this.#onPhase(before);
    // A candidate only takes over what its voters know.
    if (state.commitLsn !== before.commitLsn && before.phase !== 'campaign') {
      world.trace?.(`p${this.id} commits ${at(state.commitLsn)}`);
      world.checker.commits(this.id, this.term, before.commitLsn, state.commitLsn);
    }
    for (const { acceptor, message } of messages) this.links.get(acceptor)?.toAcceptor(message);
    for (const { acceptor, reason, detail } of disconnects) {
      world.trace?.(`p${this.id} ends a${acceptor}: ${detail}`);
      const link = this.links.get(acceptor);
      if (reason === 'fault') world.faults['protocol faults'] = (world.faults['protocol faults'] ?? 0) + 1;
      link?.endAtProposer();
    }
    if (state.configuration !== before.configuration) {
      for (const { number } of state.acceptors) if (!this.links.has(number)) this.#connectSoon(number);
    }
    this.#announceSoon();
  }

  #onPhase(before: ProposerState): void {
    const world = this.#world;
    const { state } = this;
    world.trace?.(`p${this.id} of term ${this.term} is ${state.phase}`);
    if (before.phase === 'campaign' && state.phase !== 'superseded') {
      world.checker.elected(this.id, this.term, state.termStartLsn, state.history, state.commitLsn);
    }
    if (state.phase === 'leading') {
      world.checker.commits(this.id, this.term, START, state.commitLsn);
    }
    if (state.phase === 'superseded') this.kill();
  }

  #announceSoon(): void {
    if (this.#announcing || this.dead || !owesAnnouncement(this.state)) return;
    this.#announcing = true;
    this.#world.agenda.after(duration(this.#world, ANNOUNCE_TICKS), () => {
      this.#announcing = false;
      if (!this.dead) this.#step({ type: 'announce' });
    });
  }
}
