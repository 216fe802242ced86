import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatLsn, lsn, type Lsn } from '../../../../lib/postgres/lsn.ts';
import { postgres18 } from '../../../../lib/postgres/v18/wal.ts';
import { WalDecoder, type WalDecoderOptions } from '../../../../lib/postgres/wal/decoder.ts';
import { WalError, type WalErrorCode } from '../../../../lib/postgres/wal/errors.ts';
import { recordStart } from '../../../../lib/postgres/wal/geometry.ts';
import { newWalRecord } from '../../../../lib/postgres/wal/record.ts';
import { WalWriter } from '../../../support/wal-writer.ts';

const SEGMENT = 1 << 20;
const START = lsn(3 * SEGMENT);

interface Decoded {
  lsn: Lsn;
  endLsn: Lsn;
  previous: Lsn;
}
interface Outcome {
  records: Decoded[];
  endLsn: Lsn;
  error: WalError | undefined;
}

/** Decodes `bytes` in chunks of the sizes that `chunks` gives, over and over. */
function decode(bytes: Uint8Array, chunks: number[], options: Partial<WalDecoderOptions> = {}): Outcome {
  const decoder = new WalDecoder({ startLsn: START, facts: postgres18, segmentBytes: SEGMENT, ...options });
  const record = newWalRecord();
  const records: Decoded[] = [];
  try {
    for (let at = 0, i = 0; at < bytes.length; at += chunks[i % chunks.length], i++) {
      decoder.push(bytes.subarray(at, at + chunks[i % chunks.length]));
      while (decoder.next(record)) {
        records.push({ lsn: record.lsn, endLsn: record.endLsn, previous: record.previous });
      }
    }
  } catch (error) {
    if (!(error instanceof WalError)) throw error;
    expect(() => decoder.next(record)).toThrow(error);
    return { records, endLsn: decoder.endLsn, error };
  }
  return { records, endLsn: decoder.endLsn, error: undefined };
}

/** Records of many sizes, over pages and a segment boundary, a switch among them. */
function sample(): WalWriter {
  const wal = new WalWriter(START, { segmentBytes: SEGMENT });
  for (let i = 0; i < 400; i++)
    wal.append({ resourceManager: 10, xid: i, main: new Uint8Array((i * 37) % 500) });
  for (const size of [8100, 8168, 8192, 30_000, 7, 700_000]) {
    wal.append({ resourceManager: 20, main: new Uint8Array(size).fill(size) });
  }
  wal.switchSegment();
  for (let i = 0; i < 50; i++) wal.append({ resourceManager: 11, xid: i, main: new Uint8Array(i) });
  wal.append({ resourceManager: 10, main: new Uint8Array(2_500_000) });
  wal.append({ resourceManager: 1, main: new Uint8Array(12) });
  return wal;
}
const wal = sample();

describe('the stream', () => {
  test.each([1 << 24, 8192, 4096, 1000, 131])('gives every record, in chunks of %d', (size) => {
    expect(decode(wal.bytes, [size])).toEqual({
      records: wal.records,
      endLsn: wal.position,
      error: undefined,
    });
  });

  test('may be cut anywhere', () => {
    const small = new WalWriter(START, { segmentBytes: SEGMENT });
    for (let i = 0; i < 60; i++) small.append({ resourceManager: 10, main: new Uint8Array((i * 211) % 900) });
    const chunks = fc.array(fc.integer({ min: 1, max: 300 }), { minLength: 1, maxLength: 30 });
    fc.assert(
      fc.property(chunks, (sizes) => {
        expect(decode(small.bytes, sizes).records).toEqual(small.records);
      }),
      { numRuns: 50 },
    );
  });

  test('gives a record only when all of it has come, and its end is where the log may be cut', () => {
    const small = new WalWriter(START, { segmentBytes: SEGMENT });
    small.append({ resourceManager: 10, main: new Uint8Array(13) });
    small.append({ resourceManager: 10, main: new Uint8Array(9000) });
    const [first, second] = small.records;
    const decoder = new WalDecoder({ startLsn: START, facts: postgres18, segmentBytes: SEGMENT });
    const record = newWalRecord();
    for (const byte of small.bytes) {
      const came = decoder.next(record);
      if (came) expect(decoder.endLsn).toBe(decoder.receivedLsn);
      expect(decoder.endLsn <= decoder.receivedLsn).toBe(true);
      decoder.push(Uint8Array.of(byte));
    }
    expect(decoder.endLsn).toBe(first.endLsn);
    expect(decoder.next(record)).toBe(true);
    expect(decoder.endLsn).toBe(second.endLsn);
    expect(decoder.lastRecordLsn).toBe(second.lsn);
    expect(decoder.next(record)).toBe(false);
  });

  test('may begin at the end of any record', () => {
    for (const [i, { endLsn, lsn: previous }] of wal.records.entries()) {
      const rest = wal.bytes.subarray(endLsn - START, endLsn - START + 20_000);
      const { records, error } = decode(rest, [1 << 22], { startLsn: endLsn, previous });
      expect(error).toBeUndefined();
      expect(records).toEqual(wal.records.slice(i + 1, i + 1 + records.length));
      if (wal.records[i + 1]?.endLsn <= endLsn + rest.length) expect(records.length).toBeGreaterThan(0);
    }
  });

  test('may begin at the start of any page, with the first record that starts behind it', () => {
    for (let page = START as number; page < wal.position; page += 8192 * 23) {
      const after = wal.records.find((record) => record.lsn >= recordStart(lsn(page), SEGMENT));
      // The bytes that a switch leaves behind are no pages.
      const inSwitch = wal.records.some(
        ({ lsn, endLsn }) => lsn < page && endLsn > page && endLsn % SEGMENT === 0,
      );
      if (inSwitch) continue;
      const { records } = decode(wal.bytes.subarray(page - START), [100_000], { startLsn: lsn(page) });
      expect(records[0]).toEqual(after);
      expect(records.length).toBe(after === undefined ? 0 : wal.records.length - wal.records.indexOf(after));
    }
  });

  test('leaves out a record that was never finished and that another replaces', () => {
    const log = new WalWriter(START, { segmentBytes: SEGMENT });
    log.append({ resourceManager: 10, main: new Uint8Array(8000) });
    log.abandonRecord(9000);
    log.append({ resourceManager: 0, info: 0xd0, main: new Uint8Array(16) });
    log.append({ resourceManager: 10, main: new Uint8Array(5) });
    for (const size of [50, 1 << 20]) expect(decode(log.bytes, [size]).records).toEqual(log.records);
  });

  test('cannot begin inside a page header', () => {
    const begin = () =>
      new WalDecoder({ startLsn: lsn(START + 24), facts: postgres18, segmentBytes: SEGMENT });
    expect(begin).toThrow('inside a page header');
  });
});

describe('what is wrong is named', () => {
  const small = new WalWriter(START, { segmentBytes: SEGMENT });
  for (let i = 0; i < 30; i++) small.append({ resourceManager: 10, xid: 700 + i, main: new Uint8Array(700) });
  const [, second] = small.records;
  const crossing = small.records.find(({ lsn }) => lsn > START + 7500)!;

  const cases: [string, WalErrorCode, (bytes: Uint8Array) => void, Partial<WalDecoderOptions>?][] = [
    ['page magic', 'pageHeader', (bytes) => (bytes[0] = 0x17)],
    ['page flags', 'pageHeader', (bytes) => (bytes[8192 + 2] = 0xff)],
    ['a long header where none belongs', 'pageHeader', (bytes) => (bytes[8192 + 2] |= 2)],
    ['segment size', 'pageHeader', (bytes) => (bytes[34] = 99)],
    ['page address', 'pageAddress', (bytes) => (bytes[8192 + 8] = 1)],
    ['timeline', 'timeline', () => undefined, { timelineId: 2 }],
    ['system identifier', 'systemIdentifier', () => undefined, { systemIdentifier: 43n }],
    ['a page that continues nothing', 'contrecord', (bytes) => (bytes[2] |= 1)],
    ['a page that does not continue', 'contrecord', (bytes) => (bytes[8192 + 2] &= ~1)],
    ['a remaining length', 'contrecord', (bytes) => (bytes[8192 + 16] ^= 1)],
    ['no record', 'endOfLog', (bytes) => bytes.fill(0, second.lsn - START, second.lsn - START + 4)],
    ['a record too short', 'recordHeader', (bytes) => bytes.set([23, 0, 0, 0], second.lsn - START)],
    ['a record too long', 'recordHeader', (bytes) => bytes.set([0, 0, 0, 0x80], second.lsn - START)],
    ['resource manager', 'recordHeader', (bytes) => (bytes[second.lsn - START + 17] = 100)],
    ['xl_prev', 'previous', (bytes) => (bytes[second.lsn - START + 8] ^= 8)],
    ['first xl_prev', 'previous', () => undefined, { previous: lsn(8) }],
    ['CRC', 'crc', (bytes) => (bytes[second.lsn - START + 100] ^= 1)],
    ['CRC of a record over two pages', 'crc', (bytes) => (bytes[crossing.lsn - START + 300] ^= 1)],
  ];
  test.each(cases)('%s: %s', (_, code, damage, options) => {
    const bytes = small.bytes;
    damage(bytes);
    for (const size of [64, 1 << 20]) {
      const { error, records } = decode(bytes, [size], options);
      expect(error?.code).toBe(code);
      expect(error?.message).toContain(`WAL at ${formatLsn(error!.lsn)}: `);
      expect(records).toEqual(small.records.slice(0, records.length));
    }
  });
});

test('damaged WAL ends with an error at the damage, or is the same as before', () => {
  const log = new WalWriter(START, { segmentBytes: SEGMENT });
  for (let i = 0; i < 80; i++)
    log.append({ resourceManager: i % 22, main: new Uint8Array((i * 97) % 1500).fill(i) });
  const good = log.bytes;
  const damage = fc.oneof(
    fc.record({ kind: fc.constant('flip' as const), at: fc.nat(good.length - 1), bit: fc.nat(7) }),
    fc.record({ kind: fc.constant('cut' as const), at: fc.nat(good.length - 1), bit: fc.nat(7) }),
    fc.record({
      kind: fc.constant('splice' as const),
      at: fc.nat(good.length - 1),
      bit: fc.nat(good.length - 1),
    }),
  );
  fc.assert(
    fc.property(damage, ({ kind, at, bit }) => {
      const bytes = good.slice();
      if (kind === 'flip') bytes[at] ^= 1 << bit;
      if (kind === 'splice') bytes.copyWithin(at, bit, bit + 3000);
      const { records, error } = decode(kind === 'cut' ? bytes.subarray(0, at) : bytes, [5000]);
      const before = log.records.filter(({ endLsn }) => endLsn <= START + at);
      expect(records.slice(0, before.length)).toEqual(before);
      expect(records).toEqual(log.records.slice(0, records.length));
      if (kind === 'cut') expect(error).toBeUndefined();
      if (records.length < log.records.length && kind === 'flip') expect(error).toBeDefined();
    }),
    { numRuns: 400 },
  );
});
