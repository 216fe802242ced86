import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  CLOG,
  COMMIT_TS,
  idPrecedes,
  memberPage,
  memberSegmentTruncated,
  MULTIXACT_OFFSETS,
  pagePrecedes,
  segmentPrecedes,
  slruPageOf,
  slruPosition,
  xidFollowsOrEquals,
} from '../../../../lib/postgres/slru/pages.ts';

test('ids and pages lie where Postgres puts them', () => {
  expect(slruPageOf(CLOG, 32_768)).toBe(1);
  expect(slruPageOf(MULTIXACT_OFFSETS, 2047)).toBe(0);
  expect(slruPageOf(COMMIT_TS, 819)).toBe(1);
  expect(memberPage(1636)).toBe(1);
  expect(slruPosition(33)).toEqual({ segment: 1, block: 1 });
  expect(slruPosition(slruPageOf(CLOG, 0xffff_ffff))).toEqual({ segment: 4095, block: 31 });
});

test('ids wrap around: half of the circle is before, half is after', () => {
  const id = fc.integer({ min: 3, max: 0xffff_ffff });
  fc.assert(
    fc.property(id, fc.integer({ min: 1, max: 0x7fff_fff0 }), (from, distance) => {
      const to = (from + distance) % 0x1_0000_0000;
      expect(idPrecedes(from, to)).toBe(true);
      expect(idPrecedes(to, from)).toBe(false);
      if (to >= 3) expect(xidFollowsOrEquals(to, from)).toBe(true);
    }),
  );
  // Permanent xids come before all others.
  expect(xidFollowsOrEquals(2, 0xffff_ff00)).toBe(false);
  expect(xidFollowsOrEquals(0, 3)).toBe(false);
  expect(xidFollowsOrEquals(0xffff_ff00, 2)).toBe(true);
});

test('a segment may go only when all of it is before the cutoff', () => {
  for (const slru of [CLOG, MULTIXACT_OFFSETS, COMMIT_TS]) {
    expect(pagePrecedes(slru, 4, 5)).toBe(true);
    expect(pagePrecedes(slru, 5, 5)).toBe(false);
    expect(pagePrecedes(slru, 6, 5)).toBe(false);
    expect(segmentPrecedes(slru, 0, 31)).toBe(false);
    expect(segmentPrecedes(slru, 0, 32)).toBe(true);
    expect(segmentPrecedes(slru, 1, 32)).toBe(false);
  }
  // Around the wrap: the last segments of pg_xact are before the first ones of the next round.
  expect(segmentPrecedes(CLOG, 4095, 40)).toBe(true);
  expect(segmentPrecedes(CLOG, 3, 4095 * 32)).toBe(false);
});

test('member segments are removed from start to end, around the wrap', () => {
  const perSegment = 1636 * 32;
  const last = Math.floor(memberPage(0xffff_ffff) / 32);
  const removed = (start: number, end: number) =>
    [0, 1, 2, 3, last - 1, last].filter((segment) => memberSegmentTruncated(segment, start, end));
  expect(removed(0, 2 * perSegment)).toEqual([0, 1]);
  expect(removed(perSegment + 5, perSegment + 900)).toEqual([]);
  expect(removed((last - 1) * perSegment, perSegment)).toEqual([0, last - 1, last]);
});
