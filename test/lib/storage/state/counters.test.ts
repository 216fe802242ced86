import fc from 'fast-check';
import { expect, test } from 'vitest';
import { CheckPoint, type CheckPointFields } from '../../../../lib/postgres/checkpoint.ts';
import {
  advanceMulti,
  advancePastXid,
  applyCheckPoint,
  epochOf,
} from '../../../../lib/storage/state/counters.ts';

const EPOCH = 2 ** 32;
const fields = (values: Partial<CheckPointFields>): CheckPointFields => ({
  ...CheckPoint.decode(new Uint8Array(88)),
  ...values,
});

test('nextXid grows past what it is shown, over the wrap into the next epoch', () => {
  const checkPoint = fields({ nextXid: 700 });
  expect(advancePastXid(checkPoint, 699)).toBe(false);
  expect(advancePastXid(checkPoint, 700)).toBe(true);
  expect(checkPoint.nextXid).toBe(701);
  expect(advancePastXid(checkPoint, 0)).toBe(false);
  checkPoint.nextXid = 2 * EPOCH + 0xffff_fff0;
  advancePastXid(checkPoint, 0xffff_ffff);
  expect(checkPoint.nextXid).toBe(3 * EPOCH + 3); // 0 to 2 are never given out
  expect(advancePastXid(checkPoint, 0xffff_ffff)).toBe(false);
  advancePastXid(checkPoint, 10);
  expect(checkPoint.nextXid).toBe(3 * EPOCH + 11);
});

test('nextXid never moves back', () => {
  const xid = fc.integer({ min: 3, max: 0xffff_ffff });
  fc.assert(
    fc.property(fc.nat({ max: 5 }), xid, fc.array(xid), (epoch, start, xids) => {
      const checkPoint = fields({ nextXid: epoch * EPOCH + start });
      for (const each of xids) {
        const before = checkPoint.nextXid;
        advancePastXid(checkPoint, each);
        expect(checkPoint.nextXid).toBeGreaterThanOrEqual(before);
      }
    }),
  );
});

test('the epoch of an xid is that in which it was given out', () => {
  const checkPoint = fields({ nextXid: 4 * EPOCH + 100 });
  expect(epochOf(checkPoint, 99)).toBe(4);
  expect(epochOf(checkPoint, 0xffff_0000)).toBe(3);
  expect(epochOf(fields({ nextXid: 800 }), 799)).toBe(0);
});

test('multixact counters wrap at 32 bits', () => {
  const checkPoint = fields({ nextMulti: 0xffff_fffe, nextMultiOffset: 0xffff_fff0 });
  advanceMulti(checkPoint, 0xffff_ffff + 1, 0xffff_fff0 + 0x20);
  expect([checkPoint.nextMulti, checkPoint.nextMultiOffset]).toEqual([0, 0x10]);
  advanceMulti(checkPoint, 0xffff_ffff, 0xffff_fff0);
  expect([checkPoint.nextMulti, checkPoint.nextMultiOffset]).toEqual([0, 0x10]);
});

test('a shutdown checkpoint is believed, an online one only where it is ahead', () => {
  const known = {
    nextXid: 900,
    nextOid: 30_000,
    nextMulti: 9,
    nextMultiOffset: 90,
    oldestXid: 744,
    oldestMulti: 5,
  };
  const read = fields({
    nextXid: 800,
    nextOid: 20_000,
    nextMulti: 8,
    nextMultiOffset: 80,
    oldestXid: 740,
    oldestXidDb: 4,
    oldestMulti: 4,
    oldestMultiDb: 4,
    fullPageWrites: true,
  });
  const online = fields(known);
  applyCheckPoint(online, read, false);
  expect(online).toMatchObject({ ...known, fullPageWrites: true, oldestXidDb: 0, oldestMultiDb: 0 });
  const shutdown = fields(known);
  applyCheckPoint(shutdown, read, true);
  expect(shutdown).toMatchObject({
    nextXid: 800,
    nextOid: 20_000,
    nextMulti: 8,
    nextMultiOffset: 80,
    oldestXid: 740,
    oldestXidDb: 4,
    oldestMulti: 5,
  });
});
