import fc from 'fast-check';
import { expect, test } from 'vitest';
import { crc32c } from '../../../../lib/postgres/crc32c.ts';
import { lsn } from '../../../../lib/postgres/lsn.ts';
import { ALL_KEYS } from '../../../../lib/storage/key.ts';
import { LayerError } from '../../../../lib/storage/layers/format.ts';
import {
  decodeIndex,
  encodeIndex,
  indexName,
  parseIndexName,
  WHOLE_HISTORY,
  type TimelineIndex,
} from '../../../../lib/storage/layers/timeline-index.ts';
import { page, TIMELINE } from './support.ts';

const index: TimelineIndex = {
  timelineId: TIMELINE,
  generation: 3,
  postgresMajor: 18,
  systemIdentifier: '18446744073709551615',
  diskConsistentLsn: lsn(0x394_e690),
  previousLsn: lsn(0x394_e658),
  history: {
    horizonLsn: lsn(0x310_0000),
    retainedLsns: [lsn(0x300_0000)],
    leases: [{ lsn: lsn(0x300_0000), untilMs: 1_795_000_000_000 }],
  },
  layers: [
    { descriptor: { kind: 'image', keys: ALL_KEYS, lsn: lsn(0x300_0000), generation: 1 }, size: 3_165_021 },
    {
      descriptor: {
        kind: 'delta',
        keys: { first: page(1, 0), last: page(2, 9) },
        startLsn: lsn(0x300_0000),
        endLsn: lsn(0x394_e690),
        generation: 3,
      },
      size: 40,
    },
  ],
};
const good = encodeIndex(index, (bytes) => crc32c(bytes));
const decode = (bytes: Uint8Array) => decodeIndex(bytes, (each) => crc32c(each));

test('says what was put in, as two lines of JSON', () => {
  expect(decode(good)).toEqual(index);
  const [body, trailer, end] = new TextDecoder().decode(good).split('\n');
  expect(JSON.parse(body)).toMatchObject({ format: 2, diskConsistentLsn: '0/394E690', generation: 3 });
  expect(JSON.parse(trailer)).toEqual({ crc32c: expect.stringMatching(/^[0-9a-f]{8}$/) as string });
  expect(end).toBe('');
});

test('every flipped bit, every cut and any other bytes are refused', () => {
  for (let bit = 0; bit < good.length * 8; bit++) {
    const bad = good.slice();
    bad[bit >> 3] ^= 1 << (bit & 7);
    expect(() => decode(bad), `bit ${bit}`).toThrow(LayerError);
  }
  for (let length = 0; length < good.length; length++)
    expect(() => decode(good.subarray(0, length)), `length ${length}`).toThrow(LayerError);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      expect(() => decode(bytes)).toThrow(LayerError);
    }),
  );
});

test('another version is refused by name', () => {
  const body = new TextEncoder().encode('{"format":3}');
  const bytes = new TextEncoder().encode(
    `{"format":3}\n{"crc32c":"${crc32c(body).toString(16).padStart(8, '0')}"}\n`,
  );
  expect(() => decode(bytes)).toThrow('format 3, 2 expected');
});

test('an index of format 1, which had no history, has all of it', () => {
  const { history: _, ...rest } = JSON.parse(new TextDecoder().decode(good).split('\n')[0]) as object & {
    history: unknown;
  };
  const body = JSON.stringify({ ...rest, format: 1 });
  const crc = crc32c(new TextEncoder().encode(body)).toString(16).padStart(8, '0');
  const old = new TextEncoder().encode(`${body}\n{"crc32c":"${crc}"}\n`);
  expect(decode(old)).toEqual({ ...index, history: WHOLE_HISTORY });
});

test('names sort by generation', () => {
  expect(indexName(3)).toBe('index-00000003.json');
  expect(indexName(9) < indexName(10)).toBe(true);
  expect(parseIndexName(indexName(0xffff_ffff))).toBe(0xffff_ffff);
  for (const name of ['index-3.json', 'index-00000003.json.tmp', 'index-0000000G.json', ''])
    expect(parseIndexName(name)).toBeNull();
});
