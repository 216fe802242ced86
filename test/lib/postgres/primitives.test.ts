import { describe, expect, test } from 'vitest';
import { crc32c } from '../../../lib/postgres/crc32c.ts';
import { layout, lsnField, reserved, u32, u8 } from '../../../lib/postgres/layout.ts';
import { formatLsn, lsn, parseLsn } from '../../../lib/postgres/lsn.ts';

describe('LSN', () => {
  test('has the text form of Postgres', () => {
    expect(formatLsn(lsn(0x16_b374_d848n))).toBe('16/B374D848');
    expect(parseLsn('16/B374D848')).toBe(0x16_b374_d848);
    expect(formatLsn(lsn(0))).toBe('0/0');
  });
  test.each(['', '16', '16/', '/0', 'g/0', '1/123456789', '200000/0'])('refuses %j', (text) => {
    expect(() => parseLsn(text)).toThrow(RangeError);
  });
});

describe('layout', () => {
  test('fails at load when the fields do not fill it', () => {
    expect(() => layout('Short', 8, { a: u32 })).toThrow('layout Short: fields take 4 bytes, expected 8');
  });
  test('reads and writes through one movable view', () => {
    const Pair = layout('Pair', 16, { tag: u8, pad: reserved(3), count: u32, redo: lsnField });
    const bytes = new Uint8Array(40);
    const pair = Pair.over(bytes);
    pair.at(16).redo = lsn(0x1_0000_0002);
    pair.count = 7;
    expect(Pair.decode(bytes, 16)).toMatchObject({ tag: 0, count: 7, redo: 0x1_0000_0002 });
    expect(() => pair.at(32).redo).toThrow(RangeError);
  });
});

test('crc32c gives the check value of its definition, in one piece or in several', () => {
  const text = new TextEncoder().encode('123456789');
  expect(crc32c(text)).toBe(0xe3069283);
  for (let cut = 0; cut <= 9; cut++) expect(crc32c(text, crc32c(text, 0, 0, cut), cut)).toBe(0xe3069283);
});
