/**
 * Where the head is, from what safekeepers answer: the rule against random runs of a small model of the consensus, in which
 * it is known what was acknowledged.
 */
import fc from 'fast-check';
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

test('in any run: committed is never more than what survives, and settled never less than what was acknowledged', () => {
  const step = fc.oneof(
    fc.record({ do: fc.constant('append' as const), to: fc.subarray([0, 1, 2], { minLength: 1 }) }),
    fc.record({
      do: fc.constant('elect' as const),
      of: fc.subarray([0, 1, 2], { minLength: 2, maxLength: 2 }),
    }),
    fc.record({ do: fc.constant('adopt' as const), to: fc.subarray([0, 1, 2], { minLength: 1 }) }),
  );
  fc.assert(
    fc.property(
      fc.array(step, { maxLength: 25 }),
      fc.subarray([0, 1, 2], { minLength: 2 }),
      (steps, answering) => {
        // A log is a list of terms, one for each record; the leader has its own.
        const logs: number[][] = [[], [], []];
        let leader: { term: number; log: number[]; recovered: number } | null = null;
        const follows = [0, 0, 0];
        let acknowledged = 0;
        let term = 0;
        for (const each of steps) {
          if (each.do === 'elect') {
            const [a, b] = each.of.map((n) => logs[n]);
            const last = (log: number[]) => log.at(-1) ?? 0;
            const donor = last(a) !== last(b) ? (last(a) > last(b) ? a : b) : a.length >= b.length ? a : b;
            term++;
            leader = { term, log: [...donor], recovered: donor.length };
            // The new term's first record, as the boot's checkpoint is.
            leader.log.push(term);
            for (const n of each.of) follows[n] = -1;
          } else if (leader !== null) {
            if (each.do === 'append') leader.log.push(leader.term);
            for (const n of each.to) {
              logs[n] = [...leader.log];
              follows[n] = leader.term;
            }
          }
          if (leader === null) continue;
          const held = logs
            .map((log, n) => (follows[n] === leader!.term && log.at(-1) === leader!.term ? log.length : 0))
            .sort((x, y) => y - x)[1];
          if (held > leader.recovered) acknowledged = Math.max(acknowledged, held);
        }
        const head = logHead(answering.map((n) => reach(logs[n].at(-1) ?? 0, logs[n].length, 0)));
        if (head === null) return;
        if (head.settled) expect(head.committedLsn).toBeGreaterThanOrEqual(acknowledged);
        expect(head.advancedLsn).toBeGreaterThanOrEqual(acknowledged);
        // Whoever is elected next, by any two, keeps what was found to be committed.
        const newest = answering
          .map((n) => logs[n])
          .find((log) => log.at(-1) === head.term && log.length >= head.committedLsn)!;
        for (const [x, y] of [
          [0, 1],
          [0, 2],
          [1, 2],
        ]) {
          const last = (log: number[]) => log.at(-1) ?? 0;
          const [a, b] = [logs[x], logs[y]];
          const donor = last(a) !== last(b) ? (last(a) > last(b) ? a : b) : a.length >= b.length ? a : b;
          if (head.committedLsn > 0)
            expect(donor.slice(0, head.committedLsn)).toEqual(newest.slice(0, head.committedLsn));
        }
      },
    ),
    { numRuns: 3_000 },
  );
});
