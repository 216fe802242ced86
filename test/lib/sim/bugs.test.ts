/** Each planted bug (lib/sim/bugs.ts) is found by the simulator, within the number of seeds that stands with it. */
import { expect, test } from 'vitest';
import { BUGS, seamsOf } from '../../../lib/sim/bugs.ts';
import { simulate } from '../../../lib/sim/simulation.ts';

for (const [name, { what, seeds }] of Object.entries(BUGS)) {
  test(`${name}: ${what}`, { timeout: 120_000 }, () => {
    const seams = seamsOf(name);
    for (let seed = 1; seed <= seeds; seed++) {
      const { failure, invariant } = simulate(seed, { seams });
      if (failure === null) continue;
      expect(invariant, failure).toBeGreaterThan(0);
      return;
    }
    expect.fail(`not found in ${seeds} seeds`);
  });
}
