/**
 * A hash of a small world's state (53 bits), which is the same where states differ only in what nothing depends on:
 *
 *   the acceptors' numbers           a column for each, with what the proposers know of it; columns are sorted
 *   the slots that processes run in  they are put in order; where that is open, the least hash of all orders counts
 *   what a superseded process knew   only its term is left, above which its slot may start again
 *
 * Left out is also what does not differ within one world (configuration), and what no log depends on: who backs up, what was told
 * of it, who trails, the votes of a process that was elected.
 */
import type { AcceptorLog } from '../consensus/acceptor-state.ts';
import type { Vote } from '../consensus/messages.ts';
import type { AcceptorPhase, ProposerState } from '../consensus/proposer-state.ts';
import type { TermHistory } from '../consensus/term-history.ts';
import { processOf, slotOf, type Small } from './small-world.ts';

let low = 0;
let high = 0;
function reset(): void {
  low = 0x2545f491;
  high = 0x41c64e6d;
}
const result = (): number => (high >>> 11) * 2 ** 32 + (low >>> 0);
function mix(value: number): void {
  low = Math.imul(low ^ value, 0x9e3779b1);
  low ^= low >>> 15;
  high = Math.imul(high ^ (value + 0x7f4a7c15), 0x85ebca77);
  high ^= high >>> 13;
  high = (high + low) | 0;
}

/** Where each slot stands in the order that is being hashed. */
type Places = readonly number[];
const renamed = (process: number, places: Places): number =>
  processOf(places[slotOf(process)], process % processOf(0, 0));

function mixWal(wal: string, places: Places): void {
  mix(wal.length);
  for (let i = 0; i < wal.length; i++) mix(renamed(wal.charCodeAt(i), places));
}
function mixHistory(history: TermHistory): void {
  mix(history.length);
  for (const { term, lsn } of history) {
    mix(term);
    mix(lsn);
  }
}
function mixLog(
  { term, votedFor, history, flushLsn, writtenLsn, commitLsn }: AcceptorLog,
  places: Places,
): void {
  mix(term);
  mix(votedFor === null ? -1 : renamed(Number.parseInt(votedFor, 16), places));
  mixHistory(history);
  mix(flushLsn);
  mix(writtenLsn);
  mix(commitLsn);
}
function mixVote({ given, term, flushLsn, commitLsn, history }: Vote): void {
  mix(given ? 1 : 0);
  mix(term);
  mix(flushLsn);
  mix(commitLsn);
  mixHistory(history);
}
function mixPhase(at: AcceptorPhase, commitLsn: number): void {
  switch (at.phase) {
    case 'disconnected':
      return mix(1);
    case 'voted':
      mix(2);
      return mixVote(at.vote);
    case 'streaming':
      mix(3);
      mix(at.nextLsn);
      mix(at.writtenLsn);
      mix(at.sentRecordEndLsn);
      return mix(at.toldCommitLsn < commitLsn ? 1 : 0);
    default:
      throw new RangeError(`a link at rest while ${at.phase}`);
  }
}

/** What acceptor `a` is, and what the proposers know of it. */
function hashColumn(
  { acceptors, proposers }: Small,
  a: number,
  order: readonly number[],
  places: Places,
): number {
  reset();
  const { state, wal } = acceptors[a];
  mixLog(state.log, places);
  mixWal(wal, places);
  mix(state.writing === null ? -1 : places[state.writing]);
  for (const slot of order) {
    mix(state.connections.has(slot) ? 1 : 0);
    const proposer = proposers[slot];
    if (proposer === null || proposer.phase === 'superseded') continue;
    const { at, flushLsn } = proposer.acceptors[a];
    mixPhase(at, proposer.commitLsn);
    mix(flushLsn ?? -1);
  }
  return result();
}
function mixProposer(proposer: ProposerState | null): void {
  if (proposer === null) return mix(-1);
  const { phase, config, history, termStartLsn, commitLsn, buffer } = proposer;
  mix(config.term);
  if (phase === 'superseded') return mix(1);
  if (phase === 'campaign') return mix(2);
  mix(phase === 'leading' ? 3 : 4);
  mixHistory(history);
  mix(termStartLsn);
  mix(commitLsn);
  mix(buffer.beginLsn);
  mix(buffer.endLsn);
}

function hashInOrder(state: Small, order: readonly number[]): number {
  const places = order.map((_, slot) => order.indexOf(slot));
  const columns = state.acceptors.map((_, a) => hashColumn(state, a, order, places));
  columns.sort((a, b) => a - b);
  reset();
  for (const column of columns) {
    mix(column | 0);
    mix(Math.floor(column / 2 ** 32));
  }
  for (const slot of order) mixProposer(state.proposers[slot]);
  for (const leader of state.leaders) {
    mix(leader === null ? -1 : renamed(leader.process, places));
    if (leader !== null) mixWal(leader.wal, places);
  }
  mixWal(state.committed, places);
  return result();
}

/** Every order of so many slots. */
export function ordersOf(slots: number): readonly (readonly number[])[] {
  if (slots === 0) return [[]];
  return ordersOf(slots - 1).flatMap((rest) =>
    Array.from({ length: slots }, (_, at) => [...rest.slice(0, at), slots - 1, ...rest.slice(at)]),
  );
}

const PHASES = ['campaign', 'recovering', 'leading', 'left', 'superseded'] as const;
/** Slots are hashed in ascending order of it; where it is the same for several, in every order. */
const rankOf = (proposer: ProposerState | null): number =>
  proposer === null ? -1 : proposer.config.term * PHASES.length + PHASES.indexOf(proposer.phase);

/** `orders`: `ordersOf` its slots. */
export function hashOf(state: Small, orders: readonly (readonly number[])[]): number {
  const ranks = state.proposers.map(rankOf);
  let least = Infinity;
  for (const order of orders) {
    if (order.some((slot, at) => at > 0 && ranks[slot] < ranks[order[at - 1]])) continue;
    least = Math.min(least, hashInOrder(state, order));
  }
  return least;
}
