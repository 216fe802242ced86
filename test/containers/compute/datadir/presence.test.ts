import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Presence, presenceWords } from '../../../../containers/compute/datadir/presence.ts';

test('bits are those of an array of booleans', () => {
  const BLOCKS = 50;
  const range = fc
    .tuple(fc.nat({ max: BLOCKS * 2 }), fc.nat({ max: BLOCKS * 2 }))
    .map(([a, b]) => [Math.min(a, b), Math.max(a, b)] as const);
  fc.assert(
    fc.property(fc.array(range, { maxLength: 8 }), range, (sets, asked) => {
      const START = 3;
      const words = new Int32Array(new SharedArrayBuffer((START + presenceWords(BLOCKS) + 1) * 4));
      const presence = new Presence(words);
      const model = Array.from({ length: BLOCKS * 2 }, () => false);
      for (const [from, to] of sets) {
        presence.set(START, from, to);
        model.fill(true, from, to);
      }
      expect(presence.has(START, ...asked)).toBe(model.slice(...asked).every(Boolean));
      const absent = new Set<number>();
      for (const [block, count] of presence.absentRuns(START, 0, BLOCKS))
        for (let at = block; at < block + count; at++) absent.add(at);
      for (let block = 0; block < BLOCKS; block++)
        expect(absent.has(block)).toBe(!(model[block * 2] && model[block * 2 + 1]));
      expect([words[0], words[1], words[2], words.at(-1)]).toEqual([0, 0, 0, 0]);
    }),
  );
});
