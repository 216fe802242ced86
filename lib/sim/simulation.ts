/**
 * One seed: a world of safekeepers, proposers and a control plane, in which for a while everything goes wrong that
 * can, and then nothing. Safety is checked at every step; at the end everyone must come to rest with everything.
 */
import { acceptorsOf, firstConfiguration } from '../consensus/configuration.ts';
import { NO_LIMIT } from '../consensus/messages.ts';
import { Agenda } from './agenda.ts';
import { Checker, Violation } from './checker.ts';
import { drawOptions, type SimOptions } from './options.ts';
import { Random } from './random.ts';
import { PRODUCTION, type Seams } from './seams.ts';
import { SimAcceptor, someRoom } from './sim-acceptor.ts';
import { askForHead } from './sim-asker.ts';
import { SimCoordinator } from './sim-coordinator.ts';
import { SimProposer } from './sim-proposer.ts';
import { at, fault, START, type World } from './world.ts';

export interface SimResult {
  seed: number;
  options: SimOptions;
  steps: number;
  committedBytes: number;
  terms: number;
  generations: number;
  faults: Record<string, number>;
  /** Why it failed; null when it did not. */
  failure: string | null;
  /** Number of the invariant that was broken; 0 for liveness, null for none or an assertion. */
  invariant: number | null;
}

/** Ticks after the faults have stopped in which everything must be well. */
const LIVENESS_TICKS = 4000;
const EVENTS_MAX = 400_000;

export function simulate(
  seed: number,
  { seams = PRODUCTION, trace = null }: { seams?: Seams; trace?: ((line: string) => void) | null } = {},
): SimResult {
  const simulation = new Simulation(seed, seams, trace);
  let failure: string | null = null;
  let invariant: number | null = null;
  try {
    simulation.run();
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    failure = error instanceof Violation ? error.message : (error.stack ?? error.message);
    if (error instanceof Violation) ({ invariant } = error);
  }
  const { steps, faults, checker, options, coordinator } = simulation;
  return {
    seed,
    options,
    steps,
    committedBytes: checker.committedLsn - START,
    terms: checker.leaders.size,
    generations: coordinator.configuration.generation,
    faults,
    failure,
    invariant,
  };
}

class Simulation implements World {
  readonly random: Random;
  readonly agenda = new Agenda();
  readonly options: SimOptions;
  readonly checker: Checker;
  readonly seams: Seams;
  readonly acceptors = new Map<number, SimAcceptor>();
  readonly proposers = new Map<number, SimProposer>();
  readonly coordinator: SimCoordinator;
  faulty = true;
  steps = 0;
  readonly faults: Record<string, number> = {};
  readonly trace: ((line: string) => void) | null;
  #term = 0;
  #proposers = 0;

  constructor(seed: number, seams: Seams, trace: ((line: string) => void) | null) {
    this.random = new Random(seed);
    this.options = drawOptions(this.random);
    this.seams = seams;
    this.checker = new Checker(START, seams.stored === PRODUCTION.stored);
    this.trace = trace === null ? null : (line) => trace(`${String(this.agenda.now).padStart(6)}  ${line}`);
    const members = Array.from({ length: this.options.acceptors }, (_, i) => i + 1);
    for (const number of members) this.acceptors.set(number, new SimAcceptor(this, number));
    const configuration = firstConfiguration(members);
    this.coordinator = new SimCoordinator(this, configuration);
    this.checker.configured(configuration);
  }

  run(): void {
    const { options, agenda } = this;
    this.#propose();
    this.#nemesis();
    this.#every(options.walEvery, () => {
      if (this.faulty || this.random.once(4)) this.#somebody()?.write();
    });
    this.#every(25, () => this.#pageserver());
    this.#every(options.askEvery, () => {
      if (askForHead(this)) this.faults['heads asked for'] = (this.faults['heads asked for'] ?? 0) + 1;
    });
    // A timeline is not left without a compute for long.
    this.#every(150, () => {
      if (this.proposers.size === 0) this.#propose();
    });
    this.#runUntil(options.faultyTicks);
    this.#stopFaults();
    const end = agenda.now + LIVENESS_TICKS;
    while (agenda.now < end) {
      if (this.#unwell() === null) return;
      this.#runUntil(agenda.now + 50);
    }
    const why = this.#unwell();
    if (why !== null) throw new Violation(0, `${LIVENESS_TICKS} ticks after the last fault ${why}`);
  }

  #runUntil(time: number): void {
    for (let events = 0; this.agenda.now < time; events++) {
      const happening = this.agenda.next();
      if (happening === undefined) return;
      happening();
      if (events > EVENTS_MAX) throw new Violation(0, 'messages without end');
    }
  }

  /** Again and again, while there are faults or, for what is no fault, until the end. */
  #every(ticks: number, what: () => void, whileFaulty = false): void {
    if (ticks === 0) return;
    const next = (): void =>
      this.agenda.after(this.random.within(1, 2 * ticks - 1), () => {
        if (whileFaulty && !this.faulty) return;
        what();
        next();
      });
    next();
  }
  #fault(ticks: number, kind: string, what: () => boolean): void {
    this.#every(
      ticks,
      () => {
        if (what()) fault(this, kind);
      },
      true,
    );
  }

  #propose(): void {
    // Now and then two processes get one term: the quorum must sort that out.
    if (this.#term === 0 || !this.faulty || !this.random.once(10)) this.#term++;
    const id = ++this.#proposers;
    if (id > 255) return;
    this.trace?.(`p${id} starts in term ${this.#term}`);
    this.proposers.set(id, new SimProposer(this, id, this.#term, this.coordinator.configuration));
  }
  #somebody(): SimProposer | undefined {
    const { size } = this.proposers;
    if (size === 0) return undefined;
    let skip = this.random.below(size);
    for (const proposer of this.proposers.values()) if (skip-- === 0) return proposer;
    return undefined;
  }
  #someAcceptor(): SimAcceptor | undefined {
    let skip = this.random.below(this.acceptors.size);
    for (const acceptor of this.acceptors.values()) if (skip-- === 0) return acceptor;
    return undefined;
  }
  #links() {
    return [...this.proposers.values()].flatMap((proposer) => [...proposer.links.values()]);
  }
  #pageserver(): void {
    const { checker, random } = this;
    checker.ingestedLsn = random.within(checker.ingestedLsn, checker.committedLsn);
    for (const acceptor of this.acceptors.values()) acceptor.trim();
  }

  #nemesis(): void {
    const { options, random, agenda } = this;
    this.#fault(options.cutEvery, 'connections broken', () => {
      const links = this.#links();
      if (links.length === 0) return false;
      random.pick(links).break();
      return true;
    });
    this.#fault(options.stallEvery, 'directions stalled', () => {
      const links = this.#links();
      if (links.length === 0) return false;
      const link = random.pick(links);
      link.stall(random.pick(['toAcceptor', 'toProposer', 'both'] as const));
      agenda.after(random.within(5, 200), () => (random.once(2) ? link.break() : link.heal()));
      return true;
    });
    this.#fault(options.swizzleEvery, 'swizzles', () => {
      for (const link of this.#links()) {
        if (random.once(2)) continue;
        agenda.after(random.within(0, 60), () => link.stall('both'));
        agenda.after(random.within(60, 200), () => link.heal());
      }
      return true;
    });
    // A proposer is left with a minority, which takes what it writes, while a rival has the others.
    this.#fault(options.splitEvery, 'splits', () => {
      const proposer = this.#somebody();
      if (proposer === undefined || proposer.links.size < 2) return false;
      const alone = random.pick([...proposer.links.values()]);
      const others = [...proposer.links.values()].filter((link) => link !== alone);
      for (const link of others) link.stall('both');
      alone.acceptor.hiddenFrom = this.#proposers + 1;
      agenda.after(random.within(20, 80), () => {
        if (this.faulty) this.#propose();
      });
      agenda.after(random.within(150, 500), () => {
        alone.acceptor.hiddenFrom = Number.MAX_SAFE_INTEGER;
        for (const link of others) link.heal();
      });
      return true;
    });
    this.#fault(options.crashEvery, 'crashes', () => {
      const acceptor = this.#someAcceptor();
      if (acceptor === undefined || acceptor.down) return false;
      if (!this.seams.lostStorageStaysAway && random.once(2)) acceptor.forgetEverything();
      else acceptor.crash();
      agenda.after(random.within(1, random.pick([5, 50, 300])), () => acceptor.start());
      return true;
    });
    this.#fault(options.sleepEvery, 'sleeps', () => this.#someAcceptor()?.sleep() ?? false);
    this.#fault(options.rivalEvery, 'rival proposers', () => {
      if (this.proposers.size >= 3) return false;
      this.#propose();
      return true;
    });
    this.#fault(options.killEvery, 'proposers killed', () => {
      const proposer = this.#somebody();
      proposer?.kill();
      return proposer !== undefined;
    });
    this.#fault(options.leaveEvery, 'proposers leave', () => {
      const proposer = this.#somebody();
      proposer?.leave();
      return proposer?.dead ?? false;
    });
    this.#fault(options.replaceEvery, 'replacements', () => {
      const { state } = this.coordinator;
      if (state.phase === 'joining' && random.once(4)) this.coordinator.cancel();
      if (state.phase !== 'stable') return false;
      this.coordinator.replace(random.pick(state.configuration.members));
      return true;
    });
    this.#fault(options.coordinatorCrashEvery, 'coordinator crashes', () => {
      this.coordinator.crash();
      return true;
    });
    this.#fault(options.roomEvery, 'bounded stores', () => {
      const acceptor = this.#someAcceptor();
      if (acceptor === undefined) return false;
      acceptor.room(someRoom(acceptor, random.within(0, 60)));
      agenda.after(random.within(20, 200), () => acceptor.room(NO_LIMIT));
      return true;
    });
  }

  #stopFaults(): void {
    this.trace?.('the faults stop');
    this.faulty = false;
    for (const link of this.#links()) link.heal();
    for (const acceptor of this.acceptors.values()) {
      acceptor.start();
      acceptor.hiddenFrom = Number.MAX_SAFE_INTEGER;
      acceptor.room(NO_LIMIT);
    }
    for (const proposer of this.proposers.values()) proposer.kill();
    this.#propose();
  }

  /** What is still not as it should be, or null. */
  #unwell(): string | null {
    const { coordinator, checker } = this;
    const [proposer] = this.proposers.values();
    if (proposer === undefined) return 'nobody proposes';
    if (coordinator.state.phase !== 'stable') return `members are ${coordinator.state.phase}`;
    const { state } = proposer;
    if (state.phase !== 'leading') return `p${proposer.id} is ${state.phase}`;
    if (state.commitLsn <= state.termStartLsn) return 'nothing new is committed';
    for (const number of acceptorsOf(coordinator.configuration)) {
      const { log } = this.acceptors.get(number)!.state;
      if (log.flushLsn < state.termStartLsn) return `a${number} ends at ${at(log.flushLsn)}`;
    }
    const { segmentBytes } = this.options;
    if (checker.committedLsn - checker.backedUpLsn > 4 * segmentBytes) return 'nothing is backed up';
    return null;
  }

  describe(): string {
    return [...this.acceptors.values()].map((acceptor) => acceptor.describe()).join('\n');
  }
}
