/** What a simulated world is like: drawn per seed, so that some are calm and some are not, each in its own way. */
import type { ProposerLimits } from '../consensus/proposer-state.ts';
import type { Random } from './random.ts';

/** `…Every`: mean ticks between two of a kind; 0 never. Other times are the longest of a range that begins at 1. */
export interface SimOptions {
  acceptors: number;
  /** Ticks of faults; then they stop. */
  faultyTicks: number;
  delayTicks: number;
  syncTicks: number;
  walEvery: number;
  recordBytes: number;
  segmentBytes: number;
  limits: ProposerLimits;
  /** Messages in their binary form. */
  codec: boolean;
  cutEvery: number;
  stallEvery: number;
  swizzleEvery: number;
  splitEvery: number;
  crashEvery: number;
  sleepEvery: number;
  rivalEvery: number;
  killEvery: number;
  leaveEvery: number;
  replaceEvery: number;
  coordinatorCrashEvery: number;
  roomEvery: number;
  askEvery: number;
  /** One in so many requests to the object store fails, and of control messages is lost, or comes twice. */
  storeFailsOnceIn: number;
  controlLostOnceIn: number;
}

export function drawOptions(random: Random): SimOptions {
  const often = (low: number, high: number, never: number): number =>
    random.once(never) ? 0 : random.within(low, high);
  const tight = random.once(2);
  return {
    acceptors: random.once(6) ? 5 : 3,
    faultyTicks: random.within(400, 1600),
    delayTicks: random.pick([1, 4, 15, 40]),
    syncTicks: random.pick([1, 3, 12, 40]),
    walEvery: random.within(4, 30),
    recordBytes: random.pick([4, 12, 30]),
    segmentBytes: random.pick([32, 64, 256]),
    limits: {
      appendsInFlightMax: random.within(1, 4),
      bytesInFlightMax: random.within(16, 200),
      coalescedBytesMax: random.pick([0, 10, 40]),
      bufferBytesMax: tight ? 20 : 400,
      unwrittenBytesMax: 300,
      catchUpBytesMax: random.pick([0, 64, 300]),
      backupStuckBytesMax: random.pick([100, 1000]),
    },
    codec: random.once(16),
    cutEvery: often(60, 600, 4),
    stallEvery: often(60, 600, 4),
    swizzleEvery: often(200, 1200, 3),
    splitEvery: often(150, 900, 2),
    crashEvery: often(60, 600, 4),
    sleepEvery: often(30, 300, 3),
    rivalEvery: often(60, 800, 4),
    killEvery: often(200, 1500, 3),
    leaveEvery: often(300, 2000, 2),
    replaceEvery: often(200, 900, 2),
    coordinatorCrashEvery: often(200, 900, 2),
    roomEvery: often(200, 900, 3),
    askEvery: often(60, 600, 3),
    storeFailsOnceIn: random.pick([0, 10, 3]),
    controlLostOnceIn: random.pick([0, 10, 4]),
  };
}
