/** The pages of a check in a file, against the store in memory: the same answers, whatever is evicted in between. */
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { PAGE_BYTES } from '../../../lib/postgres/page/page.ts';
import { MemoryPageStore } from '../../../lib/postgres/redo/check/page-store.ts';
import { DataDirectory } from '../../../local/redo-check/data-directory.ts';
import { PageFile } from '../../../local/redo-check/page-file.ts';

const tagOf = (relation: number, block: number) => ({
  spcOid: 1663,
  dbOid: 5 + (relation & 1),
  relNumber: 16384 + relation,
  fork: (relation >> 1) & 1,
  block,
});
const pageOf = (value: number) => new Uint8Array(PAGE_BYTES).fill(value);

const relation = fc.nat(5);
const block = fc.nat(60);
const step = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({ kind: fc.constant('put' as const), relation, block, value: fc.nat(255) }),
  },
  { weight: 8, arbitrary: fc.record({ kind: fc.constant('change' as const), relation, block }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('forget' as const), relation, block }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('truncate' as const), relation, block }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('dropRelation' as const), relation, block }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('dropDatabase' as const), relation, block }) },
);

test('answers as a store in memory does, with room for 64 of 366 pages', () => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 200, maxLength: 600 }), (steps) => {
      const file = new PageFile({ memoryBytes: 64 * PAGE_BYTES });
      const model = new MemoryPageStore();
      let most = 0;
      try {
        for (const next of steps) {
          const tag = tagOf(next.relation, next.block);
          for (const store of [file, model]) {
            switch (next.kind) {
              case 'put':
                store.put(tag, pageOf(next.value));
                break;
              case 'change': {
                const page = store.get(tag);
                if (page !== undefined) page[next.block]++;
                if (page !== undefined) store.put(tag, page);
                break;
              }
              case 'forget':
                store.forget(tag);
                break;
              case 'truncate':
                store.truncate(tag, tag.block);
                break;
              case 'dropRelation':
                store.dropRelation(tag);
                break;
              case 'dropDatabase':
                store.dropDatabase(tag.spcOid, tag.dbOid);
            }
          }
          most = Math.max(most, model.size);
          expect(file.get(tag)).toEqual(model.get(tag));
        }
        for (let r = 0; r <= 5; r++) {
          for (let b = 0; b <= 60; b++) expect(file.get(tagOf(r, b))).toEqual(model.get(tagOf(r, b)));
        }
        // The room of pages that are gone is used again.
        expect(file.slotCount).toBeLessThanOrEqual(most);
      } finally {
        file.close();
      }
    }),
    { numRuns: 15 },
  );
});

test('what was forgotten, cut off or dropped is not taken from the data directory again', () => {
  const root = mkdtempSync(join(tmpdir(), 'ebb-page-file-test-'));
  mkdirSync(join(root, 'base/5'), { recursive: true });
  writeFileSync(join(root, 'base/5/16384'), Buffer.concat([1, 2, 3, 4].map(pageOf)));
  const base = new DataDirectory(root);
  const file = new PageFile({ memoryBytes: 64 * PAGE_BYTES, base });
  try {
    const read = () => [0, 1, 2, 3].map((b) => file.get(tagOf(0, b))?.[0]);
    expect(read()).toEqual([1, 2, 3, 4]);
    file.forget(tagOf(0, 1));
    expect(read()).toEqual([1, undefined, 3, 4]);
    file.truncate(tagOf(0, 0), 2);
    expect(read()).toEqual([1, undefined, undefined, undefined]);
    file.put(tagOf(0, 1), pageOf(9));
    expect(read()).toEqual([1, 9, undefined, undefined]);
    file.dropDatabase(1663, 5);
    expect(read()).toEqual([undefined, undefined, undefined, undefined]);
  } finally {
    file.close();
    base.close();
    rmSync(root, { recursive: true });
  }
  expect(existsSync(root)).toBe(false);
});
