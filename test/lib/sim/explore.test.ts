/** Every state of small worlds: all invariants hold in each, and a planted bug is found. */
import { expect, test } from 'vitest';
import { stepAcceptor } from '../../../lib/consensus/acceptor.ts';
import { stepProposer } from '../../../lib/consensus/proposer.ts';
import { Violation } from '../../../lib/sim/checker.ts';
import { explore, Explorer } from '../../../lib/sim/explore.ts';
import type { Lsn } from '../../../lib/postgres/lsn.ts';

test('one proposer, three acceptors, one term, two entries: 1,842 states', { timeout: 60_000 }, () => {
  const explored = explore({ proposers: 1, acceptors: 3, terms: 1, entries: 2, statesMax: 100_000 });
  expect(explored).toMatchObject({ states: 1842, complete: true, committedMax: 2 });
});

test('a commit by a minority is found', { timeout: 60_000 }, () => {
  const bounds = { proposers: 1, acceptors: 3, terms: 1, entries: 1, statesMax: 10_000 };
  const explorer = new Explorer(bounds, {
    stepAcceptor,
    stepProposer: (state, input) => {
      const output = stepProposer(state, input);
      const flushed = output.state.acceptors.map(({ flushLsn }) => flushLsn ?? 0);
      const commitLsn = Math.max(...flushed) as Lsn;
      if (output.state.phase !== 'leading' || commitLsn <= output.state.commitLsn) return output;
      return { ...output, state: { ...output.state, commitLsn } };
    },
  });
  expect(() => explorer.run()).toThrow(Violation);
});
