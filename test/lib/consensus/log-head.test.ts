/** Where the head is, from what safekeepers answer. The simulator asks the real consensus (lib/sim/sim-asker.ts). */
import { expect, test } from 'vitest';
import { logHead, type LogReach } from '../../../lib/consensus/log-head.ts';

const reach = (lastTerm: number, flushLsn: number, commitLsn: number): LogReach => ({
  lastTerm,
  flushLsn,
  commitLsn,
});

test('two that hold the newest term decide, whatever they know to be committed', () => {
  expect(logHead([reach(3, 100, 40), reach(3, 90, 40), reach(3, 50, 50)])).toMatchObject({
    committedLsn: 90,
    term: 3,
    settled: true,
    knownLsn: 50,
  });
});
test('a longer log of an older term does not count', () => {
  expect(logHead([reach(3, 100, 40), reach(3, 90, 40), reach(2, 500, 40)])).toMatchObject({
    committedLsn: 90,
  });
});
test('with one out of reach, what only one of two holds is not settled', () => {
  expect(logHead([reach(3, 100, 40), reach(3, 90, 40)])).toMatchObject({
    committedLsn: 90,
    settled: false,
    advancedLsn: 100,
  });
  expect(logHead([reach(3, 100, 40), reach(3, 100, 40)])).toMatchObject({ committedLsn: 100, settled: true });
});
test('while a new proposer recovers the log, nothing is settled', () => {
  expect(logHead([reach(4, 100, 40), reach(3, 90, 40), reach(3, 80, 40)])).toMatchObject({
    settled: false,
    committedLsn: 40,
  });
});
test('one alone tells nothing', () => {
  expect(logHead([reach(3, 100, 100)])).toBeNull();
});
