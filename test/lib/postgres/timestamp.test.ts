import fc from 'fast-check';
import { expect, test } from 'vitest';
import { formatTimestamp, parseTimestamp, timestampOfMs } from '../../../lib/postgres/timestamp.ts';

test.each([
  ['2000-01-01T00:00:00Z', 0],
  ['2000-01-01T00:00Z', 0],
  ['2000-01-01 01:00:00+01', 0],
  ['1999-12-31T22:30:00.000001-0130', 1],
  ['2000-01-01t00:00:00,5z', 500_000],
  ['2000-01-01T00:00:00.1234569Z', 123_456],
  ['2026-11-01T12:00Z', 846_849_600_000_000],
])('%s', (text, microseconds) => {
  expect(parseTimestamp(text)).toBe(microseconds);
});

test.each([
  '',
  '2026-11-01',
  '2026-11-01T12:00',
  '2026-13-01T12:00Z',
  '2026-02-29T12:00Z',
  '2026-01-01T24:00Z',
  '2026-01-01T12:60Z',
  '2026-01-01T12:00:60Z',
  '2026-01-01T12:00+16',
  'x'.repeat(1000),
])('refuses %j', (text) => {
  expect(() => parseTimestamp(text)).toThrow(RangeError);
});

test('its own text form comes back to the microsecond', () => {
  fc.assert(
    fc.property(fc.integer({ min: -(2 ** 49), max: 2 ** 52 }), (microseconds) => {
      expect(parseTimestamp(formatTimestamp(microseconds))).toBe(microseconds);
    }),
  );
  expect(formatTimestamp(timestampOfMs(Date.UTC(2026, 10, 1, 12)))).toBe('2026-11-01T12:00:00.000Z');
});
