/** What all parts of a simulated world share. */
import type { AcceptorNumber } from '../consensus/configuration.ts';
import type { TimelineIdentity } from '../consensus/messages.ts';
import { lsn } from '../postgres/lsn.ts';
import type { Agenda } from './agenda.ts';
import type { Checker } from './checker.ts';
import type { SimOptions } from './options.ts';
import type { Random } from './random.ts';
import type { SimAcceptor } from './sim-acceptor.ts';
import type { SimCoordinator } from './sim-coordinator.ts';
import type { SimProposer } from './sim-proposer.ts';
import type { Seams } from './seams.ts';

export const START = lsn(0x3000000);
export const TIMELINE: TimelineIdentity = {
  timelineId: '0123456789abcdef0123456789abcdef',
  systemIdentifier: 7_400_000_000_000_000_001n,
  startLsn: START,
  postgresMajor: 18,
};
/** Positions in a trace: `@n`, bytes after the timeline's start. */
export const at = (position: number): string => `@${position - START}`;

export interface World {
  readonly random: Random;
  readonly agenda: Agenda;
  readonly options: SimOptions;
  readonly checker: Checker;
  readonly seams: Seams;
  readonly acceptors: Map<AcceptorNumber, SimAcceptor>;
  readonly proposers: Map<number, SimProposer>;
  readonly coordinator: SimCoordinator;
  /** False once the faults have stopped. */
  faulty: boolean;
  /** Calls of the pure steps, and what happened to the world besides. */
  steps: number;
  readonly faults: Record<string, number>;
  /** Writes a line of the story; null when nobody reads it. */
  readonly trace: ((line: string) => void) | null;
}

export function fault(world: World, kind: string): void {
  world.steps++;
  world.faults[kind] = (world.faults[kind] ?? 0) + 1;
}
/** How long something takes that takes `ticks` at most. */
export const duration = (world: World, ticks: number): number => 1 + world.random.below(ticks);
