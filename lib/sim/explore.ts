/**
 * Every state that a small world (small-world.ts) can reach, depth first, each once: states are told apart by a hash of 53 bits
 * (state-hash.ts). Of ten million states two have the same one with a probability of 1 in 180.
 */
import { Hashes } from './hashes.ts';
import { SmallWorld, type Bounds, type Small, type Steps } from './small-world.ts';
import { hashOf, ordersOf } from './state-hash.ts';

export interface Explored {
  /** Distinct ones. */
  states: number;
  transitions: number;
  /** Longest way that was gone. */
  depth: number;
  /** False when `statesMax` ended it. */
  complete: boolean;
  committedMax: number;
}
export interface ExploreOptions extends Bounds {
  /** Give up beyond so many states. */
  statesMax: number;
  /** Called now and then with how many there are so far, and how many wait to be gone on from. */
  onProgress?: (states: number, waiting: number) => void;
}

const PROGRESS_STATES = 20_000;

/** Throws a Violation where an invariant does not hold. */
export function explore(options: ExploreOptions, steps?: Steps): Explored {
  const world = new SmallWorld(options, steps);
  const orders = ordersOf(options.proposers);
  const seen = new Hashes();
  const first = world.first();
  seen.add(hashOf(first, orders));
  const waiting: { state: Small; depth: number }[] = [{ state: first, depth: 0 }];
  let [transitions, deepest, committedMax] = [0, 0, 0];
  let complete = true;
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    const { state, depth } = next;
    deepest = Math.max(deepest, depth);
    committedMax = Math.max(committedMax, state.committed.length);
    for (const successor of world.successors(state)) {
      transitions++;
      const hash = hashOf(successor, orders);
      if (seen.has(hash)) continue;
      world.check(successor);
      if (seen.size >= options.statesMax) {
        complete = false;
        continue;
      }
      seen.add(hash);
      if (seen.size % PROGRESS_STATES === 0) options.onProgress?.(seen.size, waiting.length);
      waiting.push({ state: successor, depth: depth + 1 });
    }
  }
  return { states: seen.size, transitions, depth: deepest, complete, committedMax };
}
