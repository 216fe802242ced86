import fc from 'fast-check';
import { expect, test } from 'vitest';
import { lsn } from '../../../lib/postgres/lsn.ts';
import { decodeRecord, newWalRecord } from '../../../lib/postgres/wal/decode-record.ts';
import type { WalRecord } from '../../../lib/postgres/wal/record.ts';
import { CHECKPOINT_KEY, relationPageKey, slruPageKey } from '../../../lib/storage/key.ts';
import { encodeOperation } from '../../../lib/storage/page-operation.ts';
import { reconstruct, ReconstructError } from '../../../lib/storage/reconstruct.ts';
import { ABSENT, imageValue, recordValue, unreadableValue, type Value } from '../../../lib/storage/value.ts';
import { encodeRecord, type WrittenRecord } from '../../support/wal-writer.ts';

const KEY = slruPageKey('pg_xact', 0, 0);
const versions = (...values: Value[]) => values.map((value, i) => ({ lsn: lsn(100 + i), value }));
const commit = (index: number, fromZero = false): Value =>
  encodeOperation({ kind: 'xidStatus', status: 1, indexes: [index] }, fromZero);

function decoded(written: WrittenRecord): WalRecord {
  const record = newWalRecord();
  decodeRecord(encodeRecord(written, lsn(0)), lsn(1000), lsn(2000), record);
  return record;
}

test('the newest image counts; what comes before it does not matter', () => {
  const page = new Uint8Array(8192).fill(7);
  expect(reconstruct(KEY, null, versions(commit(3), imageValue(page)).slice(1))).toEqual(page);
  expect(reconstruct(KEY, null, versions(imageValue(new Uint8Array(8192)), imageValue(page)))).toEqual(page);
});

test('operations change a copy: the base and the images stay as they are', () => {
  const base = new Uint8Array(8192);
  const first = reconstruct(KEY, base, versions(commit(0)));
  expect(first?.[0]).toBe(1);
  expect(base[0]).toBe(0);
  const image = imageValue(base);
  expect(reconstruct(KEY, null, versions(image, commit(1), commit(2)))?.[0]).toBe(0b010100);
  expect(image[1]).toBe(0);
  expect(reconstruct(KEY, base, [])).toBe(base);
});

test('a value from zero starts anew, absent ends', () => {
  const base = new Uint8Array(8192).fill(255);
  expect(reconstruct(KEY, base, versions(commit(0, true)))?.subarray(0, 2)).toEqual(Uint8Array.of(1, 0));
  expect(reconstruct(KEY, base, versions(commit(0), ABSENT))).toBeNull();
  expect(reconstruct(KEY, null, [])).toBeNull();
});

test('what cannot be is an error that names the key and the LSN', () => {
  const codeOf = (act: () => unknown): string => {
    try {
      act();
    } catch (error) {
      if (error instanceof ReconstructError) return `${error.code}: ${error.message}`;
      throw error;
    }
    return 'nothing thrown';
  };
  expect(codeOf(() => reconstruct(KEY, null, versions(commit(0))))).toBe(
    'noBase: pg_xact 0000 block 0: at 0/64 there is nothing to change',
  );
  expect(codeOf(() => reconstruct(KEY, null, versions(Uint8Array.of(9) as Value)))).toBe(
    'malformed: pg_xact 0000 block 0: at 0/64: value of tag 9',
  );
  expect(codeOf(() => reconstruct(KEY, null, versions(unreadableValue('a copy of nothing'))))).toBe(
    'redo: pg_xact 0000 block 0: a copy of nothing',
  );
  const relation: [number, number, number] = [1663, 5, 16_384];
  const gin = decoded({ resourceManager: 13, blocks: [{ id: 0, relation, block: 3, willInit: true }] });
  const page = relationPageKey({ spcOid: 1663, dbOid: 5, relNumber: 16_384, fork: 0 }, 3);
  expect(codeOf(() => reconstruct(page, null, versions(recordValue(gin, 0, true))))).toMatch(
    /^redo: relation 1663\/5\/16384 main block 3: at 0\/64: redo of Gin\//,
  );
  const wrongBlock = recordValue(gin, 5, true);
  expect(codeOf(() => reconstruct(page, null, versions(wrongBlock)))).toMatch(
    /^malformed: .* block 5 of a record with 1$/,
  );
});

test('arbitrary values give a content or a ReconstructError', () => {
  const value = fc
    .tuple(fc.nat({ max: 7 }), fc.uint8Array({ maxLength: 60 }))
    .map(([tag, rest]) => Uint8Array.of(tag, ...rest) as Value);
  fc.assert(
    fc.property(fc.array(value, { maxLength: 4 }), fc.constantFrom(KEY, CHECKPOINT_KEY), (values, key) => {
      try {
        reconstruct(key, new Uint8Array(8192), versions(...values));
      } catch (error) {
        expect(error).toBeInstanceOf(ReconstructError);
      }
    }),
    { numRuns: 500 },
  );
});
