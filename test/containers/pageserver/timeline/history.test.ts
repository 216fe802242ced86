import { expect, test } from 'vitest';
import { ComputeSession } from '../../../../containers/pageserver/timeline/compute-session.ts';
import { History } from '../../../../containers/pageserver/timeline/history.ts';
import type { Lsn } from '../../../../lib/postgres/lsn.ts';
import { PROGRESS_BYTES } from '../../../../lib/protocol/pages.ts';

const at = (position: number) => position as Lsn;
const whole = () => new History({ horizonLsn: at(0), retainedLsns: [] });

test('below the horizon only what is retained or held can be read, and what is refused says so', () => {
  const history = whole();
  const release = history.hold(at(80));
  expect(history.advance(at(100), [at(40), at(200)])).toEqual([at(40), at(80)]);
  for (const readable of [40, 80, 100, 120]) expect(history.canRead(at(readable)), `${readable}`).toBe(true);
  expect(() => history.assertReadable(at(99))).toThrow(
    '0/63 is below the history that is kept, which begins at 0/64',
  );
  expect(() => history.hold(at(41))).toThrow(expect.objectContaining({ code: 'belowWindow' }) as Error);

  release();
  expect(history.canRead(at(80)), 'what was collected knew that it is needed').toBe(true);
  expect(history.advance(at(100), [])).toEqual([]);
  expect(history.canRead(at(80))).toBe(false);
});

test('what is gone does not come back: the horizon never sinks, a point below it is not retained later', () => {
  const history = whole();
  history.advance(at(100), []);
  expect(history.advance(at(50), [at(60)])).toEqual([]);
  expect(history.horizonLsn).toBe(100);
  expect(history.canRead(at(60))).toBe(false);
  expect(new History({ horizonLsn: at(100), retainedLsns: [at(60)] }).canRead(at(60))).toBe(true);
});

test('a hold counts, and is given up once', () => {
  const history = whole();
  const [one, two] = [history.hold(at(10)), history.hold(at(10))];
  one();
  one();
  expect(history.advance(at(100), [])).toEqual([at(10)]);
  two();
  expect(history.advance(at(100), [])).toEqual([]);
});

test('a compute holds the LSN that it reads at until it reads elsewhere or goes', () => {
  const history = whole();
  let closed = 0;
  const told: number[] = [];
  const session = new ComputeSession(history, {
    tell: ({ ingestedLsn }) => told.push(ingestedLsn),
    onClose: () => closed++,
  });
  for (const bytes of [1, PROGRESS_BYTES, 2 * PROGRESS_BYTES - 1, 2 * PROGRESS_BYTES])
    session.progressed({ ingestedLsn: at(bytes), remoteConsistentLsn: at(0) });
  expect(told).toEqual([PROGRESS_BYTES, 2 * PROGRESS_BYTES]);
  session.readsAt(at(10));
  session.readsAt(at(10));
  expect(history.advance(at(50), [])).toEqual([at(10)]);
  session.readsAt(at(60));
  expect(session.lsn).toBe(60);
  expect(history.advance(at(70), [])).toEqual([at(60)]);
  expect(() => session.readsAt(at(55))).toThrow('below the history');
  session.close();
  session.close();
  expect(closed).toBe(1);
  expect(history.advance(at(70), [])).toEqual([]);
});
