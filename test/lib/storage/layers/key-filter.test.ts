import { expect, test } from 'vitest';
import { buildFilter, keyHash, mayHold } from '../../../../lib/storage/layers/key-filter.ts';
import { page, size } from './support.ts';

test.each([1, 10, 1000, 50_000])(
  'holds all of %i keys, and about one in a hundred of the others',
  (count) => {
    const key = (i: number) => (i % 10 === 0 ? size(i) : page(16384 + (i >> 12), i & 4095));
    const filter = buildFilter(Array.from({ length: count }, (_, i) => keyHash(key(i))));
    expect(filter.length).toBe(Math.ceil((count * 10) / 8));
    let passed = 0;
    for (let i = 0; i < count; i++) expect(mayHold(filter, keyHash(key(i)))).toBe(true);
    for (let i = 0; i < 20_000; i++) if (mayHold(filter, keyHash(page(90_000 + (i >> 10), i)))) passed++;
    expect(passed).toBeLessThan(count < 100 ? 2000 : 400);
  },
);

test('an empty filter excludes nothing', () => {
  expect(mayHold(buildFilter([]), keyHash(size(1)))).toBe(true);
});
