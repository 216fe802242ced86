/** Ten thousand simulated worlds, each with faults of its own: nothing is lost, and all of them come to rest. */
import { expect, test } from 'vitest';
import { simulate } from '../../../lib/sim/simulation.ts';

test('10,000 seeds are well', { timeout: 240_000 }, () => {
  let [steps, committed, replaced, faults] = [0, 0, 0, 0];
  for (let seed = 1; seed <= 10_000; seed++) {
    const result = simulate(seed);
    if (result.failure !== null) {
      expect.fail(`seed ${seed}: ${result.failure}\nrepeat it with a trace: npm run sim -- ${seed}`);
    }
    steps += result.steps;
    committed += result.committedBytes;
    replaced += result.generations - 1;
    for (const times of Object.values(result.faults)) faults += times;
  }
  // Not because little was tried.
  expect(steps).toBeGreaterThan(5_000_000);
  expect(committed).toBeGreaterThan(2_000_000);
  expect(replaced).toBeGreaterThan(5_000);
  expect(faults).toBeGreaterThan(100_000);
});

test('a seed is a whole story: the same trace each time', () => {
  for (const seed of [7, 53, 4711]) {
    const [first, second]: string[][] = [[], []];
    simulate(seed, { trace: (line) => first.push(line) });
    simulate(seed, { trace: (line) => second.push(line) });
    expect(first.length).toBeGreaterThan(100);
    expect(second).toEqual(first);
  }
});
