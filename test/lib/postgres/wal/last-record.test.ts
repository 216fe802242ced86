import { expect, test } from 'vitest';
import { lsn, type Lsn } from '../../../../lib/postgres/lsn.ts';
import { postgres18 } from '../../../../lib/postgres/v18/wal.ts';
import { beforePageHeader } from '../../../../lib/postgres/wal/geometry.ts';
import { lastRecordBefore } from '../../../../lib/postgres/wal/last-record.ts';
import { WalBuilder } from '../../../containers/pageserver/timeline/wal-builder.ts';

/** Records of 8 KiB and small ones, from a place inside a page on. */
function log(startLsn: Lsn) {
  const wal = new WalBuilder(startLsn, 1n);
  for (let i = 0; i < 120; i++) {
    if (i % 3 === 0) wal.page(16384, i, i);
    else wal.commit(700 + i);
  }
  return wal;
}

test.each([0x300_0000, 0x300_0158, 0x3ff_e000])('every position, from %i on', async (start) => {
  const startLsn = lsn(start);
  const wal = log(startLsn);
  const starts = [startLsn, ...wal.ends];
  let reads = 0;
  const find = (at: number) =>
    lastRecordBefore({
      read: (from, to) => {
        reads += to - from;
        expect(from).toBeGreaterThanOrEqual(startLsn);
        return Promise.resolve(wal.bytes(from, to));
      },
      facts: postgres18,
      startLsn,
      at: lsn(at),
    });
  expect(await find(start)).toBeNull();
  expect(await find(start + 8)).toBeNull();
  for (const [i, end] of wal.ends.entries()) {
    for (const at of [end, end + 1, end + 8]) {
      const expected = wal.ends.findLast((each) => each <= at)!;
      const found = await find(Math.min(at, wal.endLsn));
      expect(found?.endLsn, `at ${at}`).toBe(expected);
      // The record begins behind the end of the one before, and at most a page header later.
      const before = starts[wal.ends.indexOf(expected)];
      expect(found!.recordLsn - before).toBeOneOf([0, 24, 40]);
    }
    if (i > 0) expect(await find(end - 8)).toMatchObject({ endLsn: wal.ends[i - 1] });
  }
  expect(reads / wal.ends.length / 4).toBeLessThan(150_000);
});

test('a position just behind a page header is the end of the page before', () => {
  for (const [position, end] of [
    [0x300_2000, 0x300_2000],
    [0x300_2018, 0x300_2000],
    [0x300_2020, 0x300_2020],
    [0x300_0028, 0x300_0000],
    [0x300_0030, 0x300_0030],
    [0x300_1ff8, 0x300_1ff8],
  ])
    expect(beforePageHeader(lsn(position))).toBe(end);
});
