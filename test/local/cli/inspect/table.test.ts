import { expect, test } from 'vitest';
import { flagNames } from '../../../../local/cli/inspect/flags.ts';
import { hexDump, table } from '../../../../local/cli/inspect/table.ts';

test('columns as wide as their widest cell, numbers to the right', () => {
  expect(
    table([
      { safekeeper: 1, flushLsn: '0/3000148', term: 12 },
      { safekeeper: 2, flushLsn: '0/30' },
    ]),
  ).toBe(['safekeeper  flushLsn   term', '         1  0/3000148    12', '         2  0/30'].join('\n'));
});

test('bytes as hexadecimal and characters', () => {
  expect(hexDump(new TextEncoder().encode('RustAU Sydney, April'), '  ')).toBe(
    [
      '  52 75 73 74 41 55 20 53 79 64 6e 65 79 2c 20 41  RustAU Sydney, A',
      '  70 72 69 6c                                      pril',
    ].join('\n'),
  );
});

test('flags by name, unknown bits in hexadecimal', () => {
  expect(flagNames(0, { A: 1 })).toBe('none');
  expect(flagNames(0b1011, { BOTH: 0b11, A: 1, B: 2 })).toBe('BOTH|0x8');
  expect(flagNames(0b01, { BOTH: 0b11, A: 1, B: 2 })).toBe('A');
});
