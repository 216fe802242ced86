import fc from 'fast-check';
import { expect, test } from 'vitest';
import { PageError } from '../../../../lib/postgres/page/page.ts';
import { pglzDecompress } from '../../../../lib/postgres/page/pglz.ts';

const decompress = (input: number[], size: number): number[] => {
  const to = new Uint8Array(8192);
  pglzDecompress(Uint8Array.from(input), 0, input.length, to, size);
  return [...to.subarray(0, size)];
};

test('literals, copies that overlap, and long copies', () => {
  expect(decompress([0b000, 1, 2, 3], 3)).toEqual([1, 2, 3]);
  // One literal, then 5 bytes from 1 back.
  expect(decompress([0b10, 7, 0x02, 0x01], 6)).toEqual([7, 7, 7, 7, 7, 7]);
  // A length of 18 has another byte: 18 + 200.
  expect(decompress([0b10, 9, 0x0f, 0x01, 200], 219)).toEqual(Array(219).fill(9));
});

test.each([
  ['a copy from before the beginning', [0b1, 0x00, 0x01], 3],
  ['a copy from nowhere', [0b10, 1, 0x00, 0x00], 4],
  ['an end within a copy', [0b10, 1, 0x00], 4],
  ['too few bytes', [0b0, 1], 2],
  ['too many bytes', [0b0, 1, 2], 1],
])('refuses %s', (_, input, size) => {
  expect(() => decompress(input, size)).toThrow(PageError);
});

test('random input is refused or gives exactly the size', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat(8192), (input, size) => {
      const arena = new Uint8Array(8192 + 300).fill(0xa5);
      try {
        pglzDecompress(input, 0, input.length, arena.subarray(0, 8192), size);
      } catch (error) {
        expect(error).toBeInstanceOf(PageError);
      }
      expect(arena.subarray(8192).every((byte) => byte === 0xa5)).toBe(true);
    }),
    { numRuns: 500 },
  );
});
