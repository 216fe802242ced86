import fc from 'fast-check';
import { expect, test } from 'vitest';
import { databaseSizesRange, formatKey, relationSizeKey, type Key } from '../../../../lib/storage/key.ts';
import { FileTable } from '../../../../lib/storage/state/files.ts';
import { decodeSize, plainContent, startsChain, type Value } from '../../../../lib/storage/value.ts';

const FORK = { spcOid: 1663, dbOid: 5, relNumber: 16_384, fork: 0 };

function recorder() {
  const emitted: string[] = [];
  const emit = (key: Key, value: Value): void => {
    const content = plainContent(value);
    if (content === undefined) expect(startsChain(value)).toBe(true);
    const what = content === undefined ? 'zeros' : content === null ? 'absent' : decodeSize(content);
    emitted.push(`${formatKey(key).replace('relation 1663/5/16384 main ', '')}: ${what}`);
  };
  return { emitted, emit, taken: () => emitted.splice(0) };
}

test('a block beyond the end makes zeros of those between, and its size is said once', () => {
  const files = new FileTable();
  const { emit, taken } = recorder();
  const file = files.fork(FORK);
  expect(files.extendOver(file, 0, emit)).toBe(true);
  expect(files.extendOver(file, 3, emit)).toBe(true);
  expect(files.extendOver(file, 2, emit)).toBe(false);
  expect(taken()).toEqual(['block 1: zeros', 'block 2: zeros']);
  files.emitChanged(emit);
  expect(taken()).toEqual(['size: 4']);
  files.emitChanged(emit);
  expect(taken()).toEqual([]);
});

test('what was cut off comes back as zeros', () => {
  const files = new FileTable();
  const { emit, taken } = recorder();
  const file = files.fork(FORK);
  files.load(file.sizeKey, 10);
  files.truncate(file, 20);
  files.truncate(file, 2);
  files.emitChanged(emit);
  expect(taken()).toEqual(['size: 2']);
  expect(files.extendOver(file, 4, emit)).toBe(true);
  expect(taken()).toEqual(['block 2: zeros', 'block 3: zeros']);
});

test('a dropped file is absent, and a new one of the same name begins empty', () => {
  const files = new FileTable();
  const { emit, taken } = recorder();
  files.create(files.fork(FORK));
  files.extendOver(files.fork(FORK), 0, emit);
  files.emitChanged(emit);
  taken();
  files.drop(files.fork(FORK));
  files.drop(files.fork({ ...FORK, fork: 2 }));
  files.truncate(files.fork(FORK), 0);
  files.emitChanged(emit);
  expect(taken()).toEqual(['size: absent']);
  expect([...files.existing()]).toEqual([]);
  expect(files.fork(FORK).blocks).toBe(-1);
  files.create(files.fork(FORK));
  files.emitChanged(emit);
  expect(taken()).toEqual(['size: 0']);
});

test('lookups through the cache are those of the map', () => {
  const small = fc.nat({ max: 6 });
  const fork = fc.record({
    spcOid: fc.constant(1663),
    dbOid: fc.nat({ max: 2 }),
    relNumber: small.map((n) => n * 512 + 1),
    fork: fc.nat({ max: 3 }),
  });
  fc.assert(
    fc.property(fc.array(fc.tuple(fork, fc.boolean(), fc.nat({ max: 3 })), { maxLength: 60 }), (steps) => {
      const files = new FileTable();
      const model = new Map<Key, number>();
      for (const [of, drop, block] of steps) {
        const key = relationSizeKey(of);
        if (drop) {
          files.drop(files.fork(of));
          model.delete(key);
        } else {
          files.extendOver(files.fork(of), block, () => undefined);
          model.set(key, Math.max(model.get(key) ?? 0, block + 1));
        }
        files.emitChanged(() => undefined);
      }
      const found = [...files.existing()].map(({ sizeKey, blocks }) => [sizeKey, blocks] as const);
      expect(new Map(found)).toEqual(model);
      const { first, last } = databaseSizesRange(1663, 1);
      const inDatabase = [...model.keys()].filter((key) => key >= first && key <= last).sort();
      expect([...files.ofDatabase(1663, 1)].map(({ sizeKey }) => sizeKey).sort()).toEqual(inDatabase);
    }),
  );
});
