import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { IngestLag } from '../../../../containers/compute/proposer/ingest-lag.ts';
import { lsn } from '../../../../lib/postgres/lsn.ts';

const BYTES_MAX = 1000;
const PATIENCE_MS = 500;
beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

function newLag() {
  const seen = { changes: 0, connects: 0, logged: [] as string[] };
  const lag = new IngestLag({
    bytesMax: BYTES_MAX,
    patienceMs: PATIENCE_MS,
    onChange: () => seen.changes++,
    connect: () => seen.connects++,
    log: (_, message) => seen.logged.push(message),
  });
  return { lag, seen };
}

test('the stream is held as soon as it is too far ahead, and goes on with each piece that is ingested', () => {
  const { lag, seen } = newLag();
  lag.told(lsn(10_000));
  expect(lag.holds(lsn(11_000))).toBe(false);
  expect(lag.holds(lsn(11_001))).toBe(true);
  expect(lag.status()).toMatchObject({ state: 'held', ingestedLsn: 10_000 });
  vi.advanceTimersByTime(200);
  const { changes } = seen;
  lag.told(lsn(10_300));
  expect(seen.changes).toBe(changes + 1);
  expect(lag.holds(lsn(11_001))).toBe(false);
  expect(lag.status()).toMatchObject({ state: 'free', heldMs: 200 });
});

test('a pageserver that does not get on is not waited for, until it does', () => {
  const { lag, seen } = newLag();
  lag.told(lsn(10_000));
  expect(lag.holds(lsn(12_000))).toBe(true);
  vi.advanceTimersByTime(PATIENCE_MS - 1);
  lag.told(lsn(10_000)); // the same again is no progress
  expect(lag.holds(lsn(12_000))).toBe(true);
  vi.advanceTimersByTime(1);
  expect(lag.status().state).toBe('lapsed');
  expect(seen.logged).toHaveLength(1);
  expect(lag.holds(lsn(99_000))).toBe(false);
  lag.told(lsn(10_001));
  expect(lag.holds(lsn(99_000))).toBe(true);
});

test('without a connection nothing is held; it is made when much is written', () => {
  const { lag, seen } = newLag();
  expect(lag.holds(lsn(10_000))).toBe(false);
  expect(lag.holds(lsn(10_500))).toBe(false);
  expect(seen.connects).toBe(0);
  expect(lag.holds(lsn(10_501))).toBe(false);
  expect(lag.holds(lsn(20_000))).toBe(false);
  expect(seen.connects, 'not again within a second').toBe(1);
  vi.advanceTimersByTime(1000);
  expect(lag.holds(lsn(20_000))).toBe(false);
  expect(seen.connects).toBe(2);
  lag.told(lsn(10_000));
  expect(lag.holds(lsn(20_000))).toBe(true);
  const { changes } = seen;
  lag.lost();
  expect(seen.changes).toBe(changes + 1);
  expect(lag.holds(lsn(20_000))).toBe(false);
  expect(lag.status()).toMatchObject({ state: 'unknown', ingestedLsn: null });
});

test('at its end a compute waits for nobody', () => {
  const { lag } = newLag();
  lag.told(lsn(10_000));
  expect(lag.holds(lsn(12_000))).toBe(true);
  lag.close();
  expect(lag.holds(lsn(12_000))).toBe(false);
  lag.told(lsn(10_100));
  expect(lag.holds(lsn(12_000))).toBe(false);
});
