/**
 * One WebSocket between a proposer and an acceptor: what is sent arrives in order, late, or, when it breaks, not at all.
 *
 * Each direction can be stalled for a while (a partition may be one-sided); the two ends learn of a break at
 * different times, and what was under way may or may not arrive before.
 */
import {
  decodeAcceptorMessage,
  decodeProposerMessage,
  encodeAcceptorMessage,
  encodeProposerMessage,
} from '../consensus/codec.ts';
import type { AcceptorMessage, ProposerMessage } from '../consensus/messages.ts';
import type { SimAcceptor } from './sim-acceptor.ts';
import type { SimProposer } from './sim-proposer.ts';
import { duration, type World } from './world.ts';

interface Direction {
  /** When the last message arrives: a later one not before. */
  until: number;
  stalled: boolean;
  readonly held: (() => void)[];
  /** The receiving end knows that it is over. */
  over: boolean;
}
const direction = (): Direction => ({ until: 0, stalled: false, held: [], over: false });

export class Link {
  readonly id: number;
  readonly proposer: SimProposer;
  readonly acceptor: SimAcceptor;
  readonly #world: World;
  readonly #toAcceptor = direction();
  readonly #toProposer = direction();
  #broken = false;

  constructor(world: World, id: number, proposer: SimProposer, acceptor: SimAcceptor) {
    this.#world = world;
    this.id = id;
    this.proposer = proposer;
    this.acceptor = acceptor;
  }
  get broken(): boolean {
    return this.#broken;
  }

  toAcceptor(message: ProposerMessage): void {
    const sent = this.#world.options.codec
      ? decodeProposerMessage(encodeProposerMessage(message).slice())
      : message;
    this.#send(this.#toAcceptor, () => this.acceptor.receive(this, sent));
  }
  toProposer(message: AcceptorMessage): void {
    const sent = this.#world.options.codec
      ? decodeAcceptorMessage(encodeAcceptorMessage(message).slice())
      : message;
    this.#send(this.#toProposer, () => this.proposer.receive(this, sent));
  }

  #send(way: Direction, arrive: () => void): void {
    if (this.#broken) return;
    if (way.stalled) way.held.push(arrive);
    else this.#schedule(way, arrive);
  }
  #schedule(way: Direction, arrive: () => void): void {
    const { agenda, options } = this.#world;
    const time = agenda.now + duration(this.#world, options.delayTicks);
    if (time > way.until) way.until = time;
    agenda.at(way.until, () => {
      if (!way.over) arrive();
    });
  }

  /** Holds back what is sent one way, or both. */
  stall(ways: 'toAcceptor' | 'toProposer' | 'both'): void {
    if (ways !== 'toProposer') this.#toAcceptor.stalled = true;
    if (ways !== 'toAcceptor') this.#toProposer.stalled = true;
  }
  heal(): void {
    for (const way of [this.#toAcceptor, this.#toProposer]) {
      way.stalled = false;
      for (const arrive of way.held.splice(0)) this.#schedule(way, arrive);
    }
  }

  /** It breaks; each end hears of it after a while of its own. */
  break(): void {
    if (this.#broken) return;
    this.#broken = true;
    const { agenda, options } = this.#world;
    agenda.after(duration(this.#world, options.delayTicks), () => this.endAtAcceptor());
    agenda.after(duration(this.#world, options.delayTicks), () => this.endAtProposer());
  }
  /** The acceptor's end is over now: it ended it itself, or is gone. */
  endAtAcceptor(): void {
    this.break();
    if (this.#toAcceptor.over) return;
    this.#toAcceptor.over = true;
    this.acceptor.disconnected(this);
  }
  endAtProposer(): void {
    this.break();
    if (this.#toProposer.over) return;
    this.#toProposer.over = true;
    this.proposer.disconnected(this);
  }
}
