/** Every state of small worlds: all invariants hold in each, and planted bugs are found. */
import { expect, test } from 'vitest';
import { seamsOf } from '../../../lib/sim/bugs.ts';
import { Violation } from '../../../lib/sim/checker.ts';
import { explore } from '../../../lib/sim/explore.ts';
import { Hashes } from '../../../lib/sim/hashes.ts';

const STATES_MAX = 200_000;

test.each([
  { proposers: 1, acceptors: 3, terms: 2, entries: 2, states: 27_953 },
  { proposers: 2, acceptors: 3, terms: 1, entries: 2, states: 7_431 },
  { proposers: 2, acceptors: 3, terms: 2, entries: 1, states: 99_479 },
])(
  'p$proposers a$acceptors t$terms l$entries: $states states',
  { timeout: 120_000 },
  ({ states, ...bounds }) => {
    const explored = explore({ ...bounds, statesMax: STATES_MAX });
    expect(explored).toMatchObject({ states, complete: true, committedMax: bounds.entries });
  },
);

test.each([
  'votes-for-anyone',
  'commits-older-terms',
  'minority-commits',
  'counts-the-disconnected-twice',
  'divergent-tail-kept',
  'stale-append-taken',
  'commit-beyond-the-log',
])('%s is found', { timeout: 120_000 }, (bug) => {
  const bounds = { proposers: 2, acceptors: 3, terms: 2, entries: 1, statesMax: STATES_MAX };
  expect(() => explore(bounds, seamsOf(bug))).toThrow(Violation);
});

test('a set of hashes is a set', () => {
  const hashes = new Hashes();
  const expected = new Set<number>();
  for (let i = 0; i < 200_000; i++) {
    const hash = 1 + ((((i * 7_919) % 150_001) * 2_654_435_761) % 2 ** 53);
    if (hashes.has(hash) !== expected.has(hash)) throw new Error(`${hash} at ${i}`);
    hashes.add(hash);
    expected.add(hash);
  }
  expect(hashes.size).toBe(expected.size);
});
