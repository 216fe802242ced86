/**
 * The control plane's part in a change of members: keeps the configuration durably, tells it by calls that get lost,
 * come twice or late, crashes, and starts again from what it kept.
 */
import type { AcceptorStatus } from '../consensus/acceptor-state.ts';
import type { AcceptorNumber, Configuration } from '../consensus/configuration.ts';
import {
  membershipTells,
  startMembership,
  type MembershipInput,
  type MembershipState,
} from '../consensus/membership.ts';
import { describeConfiguration } from '../consensus/configuration.ts';
import { SimAcceptor } from './sim-acceptor.ts';
import { duration, type World } from './world.ts';

const CALL_TICKS = 30;
const RETRY_TICKS = 80;

export class SimCoordinator {
  readonly #world: World;
  state: MembershipState;
  #kept: { configuration: Configuration; before: readonly AcceptorNumber[] };
  #nextNumber: AcceptorNumber;
  #retrying = false;

  constructor(world: World, configuration: Configuration) {
    this.#world = world;
    this.state = startMembership(configuration);
    this.#kept = { configuration, before: [] };
    this.#nextNumber = Math.max(...configuration.members) + 1;
  }
  get configuration(): Configuration {
    return this.#kept.configuration;
  }

  replace(from: AcceptorNumber): void {
    if (this.state.phase !== 'stable') return;
    const to = this.#nextNumber++;
    this.#world.acceptors.set(to, new SimAcceptor(this.#world, to));
    this.#step({ type: 'replace', from, to });
  }
  cancel(): void {
    if (this.state.phase === 'joining') this.#step({ type: 'cancel' });
  }
  crash(): void {
    this.state = startMembership(this.#kept.configuration, this.#kept.before);
    this.#tell();
  }

  #step(input: MembershipInput): void {
    const world = this.#world;
    world.steps++;
    const output = world.seams.stepMembership(this.state, input);
    this.state = output.state;
    if (output.persist) {
      const { configuration } = output.state;
      const before = output.state.phase === 'settling' ? output.state.before : [];
      const changed = configuration.generation !== this.#kept.configuration.generation;
      this.#kept = { configuration, before };
      if (changed) {
        world.trace?.(`configuration ${describeConfiguration(configuration)}`);
        world.checker.configured(configuration);
      }
    }
    for (const number of output.retire) world.acceptors.get(number)?.remove();
    if (output.tell.length > 0) this.#tell();
  }

  #tell(): void {
    const { configuration } = this.state;
    const world = this.#world;
    for (const number of membershipTells(this.state)) {
      for (let copies = this.#copies(); copies > 0; copies--) {
        world.agenda.after(duration(world, CALL_TICKS), () => {
          world.acceptors.get(number)?.configure(configuration, (status) => this.#answered(number, status));
        });
      }
    }
    if (this.#retrying) return;
    this.#retrying = true;
    world.agenda.after(RETRY_TICKS, () => {
      this.#retrying = false;
      if (this.state.phase !== 'stable') this.#tell();
    });
  }
  #answered(acceptor: AcceptorNumber, status: AcceptorStatus): void {
    const world = this.#world;
    for (let copies = this.#copies(); copies > 0; copies--) {
      world.agenda.after(duration(world, CALL_TICKS), () => this.#step({ type: 'status', acceptor, status }));
    }
  }
  #copies(): number {
    const { faulty, random, options } = this.#world;
    if (!faulty || options.controlLostOnceIn === 0) return 1;
    if (random.once(options.controlLostOnceIn)) return 0;
    return random.once(options.controlLostOnceIn) ? 2 : 1;
  }
}
