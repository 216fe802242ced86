import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  DIRECTORY,
  directoryKind,
  directoryPath,
} from '../../../../containers/compute/datadir/file-names.ts';
import { RemoteFiles } from '../../../../containers/compute/datadir/remote-files.ts';
import type { BootManifest } from '../../../../lib/protocol/pages.ts';
import { touchedRuns } from '../../../../containers/compute/datadir/warm-pages.ts';
import { emptyManifest } from './harness.ts';

const build = (part: Partial<BootManifest>): RemoteFiles =>
  RemoteFiles.build({ ...emptyManifest(), ...part });
const paths = (files: RemoteFiles): string[] =>
  Array.from({ length: files.count }, (_, index) => files.path(index)).sort();
const find = (files: RemoteFiles, path: string): number => {
  const slash = path.lastIndexOf('/');
  const { kind, oid } = directoryKind(path.slice(0, slash));
  return files.find(kind, oid, path.slice(slash + 1));
};

test('relations become segment files, SLRUs segments', () => {
  const files = build({
    relations: [
      [1663, 5, 16_384, 0, 131_072 * 2 + 7],
      [1663, 5, 16_384, 1, 3],
      [1663, 5, 16_384, 2, 131_072],
      [1664, 0, 1262, 0, 1],
      [1663, 5, 9, 0, 0],
    ],
    slrus: [
      { kind: 'pg_xact', segment: 10, blocks: 32 },
      { kind: 'pg_multixact/offsets', segment: 0x1_2345, blocks: 1 },
    ],
  });
  expect(paths(files)).toEqual([
    'base/5/16384',
    'base/5/16384.1',
    'base/5/16384.2',
    'base/5/16384_fsm',
    'base/5/16384_vm',
    'base/5/9',
    'global/1262',
    'pg_multixact/offsets/12345',
    'pg_xact/000A',
  ]);
  expect(files.blocks(find(files, 'base/5/16384.2'))).toBe(7);
  expect(files.run(find(files, 'base/5/16384.2'), 3, 4)).toMatchObject({
    block: 131_072 * 2 + 3,
    count: 4,
    fork: 0,
  });
  expect(files.run(find(files, 'global/1262'), 0, 1)).toMatchObject({ spcOid: 1664, dbOid: 0 });
  expect(files.run(find(files, 'pg_xact/000A'), 31, 1)).toEqual({
    kind: 'slru',
    slru: 'pg_xact',
    segment: 10,
    block: 31,
    count: 1,
  });
});

test('names that are none of them', () => {
  const files = build({
    relations: [[1663, 5, 16_384, 0, 1]],
    slrus: [{ kind: 'pg_xact', segment: 0, blocks: 1 }],
  });
  for (const path of [
    'base/5/16385',
    'base/5/016384',
    'base/5/16384.0',
    'base/5/16384_',
    'base/5/16384_fsm',
    'base/5/t3_16384',
    'base/5/pg_filenode.map',
    'base/6/16384',
    'global/16384',
    'pg_xact/000',
    'pg_xact/000a',
    'pg_xact/0001',
    'pg_wal/0000',
  ])
    expect([path, find(files, path)]).toEqual([path, -1]);
});

test('the main fork of an unlogged relation is its init fork', () => {
  const files = build({
    relations: [
      [1663, 5, 20, 0, 100],
      [1663, 5, 20, 1, 3],
      [1663, 5, 20, 3, 1],
      [1663, 6, 20, 0, 4],
      [1663, 5, 21, 3, 0],
    ],
  });
  expect(paths(files)).toEqual(['base/5/20', 'base/5/20_init', 'base/5/21', 'base/5/21_init', 'base/6/20']);
  expect(files.blocks(find(files, 'base/5/20'))).toBe(1);
  expect(files.run(find(files, 'base/5/20'), 0, 1)).toMatchObject({ relNumber: 20, fork: 3 });
  expect(files.run(find(files, 'base/6/20'), 0, 1)).toMatchObject({ relNumber: 20, fork: 0 });
});

test('a manifest that contradicts itself is refused', () => {
  const bad = (part: Partial<BootManifest>) => () => build(part);
  const rel = (...row: [number, number, number, number, number]) => ({ relations: [row] });
  expect(bad(rel(1665, 5, 1, 0, 1))).toThrow('a relation in tablespace 1665, database 5');
  expect(bad(rel(1664, 5, 1, 0, 1))).toThrow('tablespace 1664, database 5');
  expect(bad(rel(1663, 0, 1, 0, 1))).toThrow('database 0');
  expect(bad(rel(1663, 5, 1, 4, 1))).toThrow('fork 4');
  expect(bad(rel(1663, 5, 1, 0, -1))).toThrow('-1 blocks');
  expect(
    bad({
      relations: [
        [1663, 5, 1, 0, 1],
        [1663, 5, 1, 0, 2],
      ],
    }),
  ).toThrow('names base/5/1 twice');
  expect(bad({ slrus: [{ kind: 'pg_xact', segment: 0, blocks: 33 }] })).toThrow('33 blocks');
});

test('every file is found by its path, and every run leads back to its file', () => {
  const relation = fc.tuple(
    fc.constantFrom(1, 5, 16_384, 4_294_967_295),
    fc.integer({ min: 1, max: 4_294_967_295 }),
    fc.constantFrom(0, 1, 2),
    fc.constantFrom(0, 1, 131_071, 131_072, 131_073, 300_000),
  );
  fc.assert(
    fc.property(
      fc.uniqueArray(relation, { maxLength: 200, selector: ([db, rel, fork]) => `${db}/${rel}/${fork}` }),
      (rows) => {
        const files = build({
          relations: rows.map(([db, rel, fork, blocks]) => [1663, db, rel, fork, blocks]),
        });
        for (let index = 0; index < files.count; index++) {
          expect(find(files, files.path(index))).toBe(index);
          const blocks = files.blocks(index);
          if (blocks === 0) continue;
          expect(files.locate(files.run(index, blocks - 1, 5))).toEqual({
            index,
            block: blocks - 1,
            count: 1,
          });
        }
      },
    ),
    { numRuns: 50 },
  );
});

test('directories', () => {
  for (const path of ['base/5', 'global', 'pg_multixact/members', 'pg_commit_ts']) {
    const { kind, oid } = directoryKind(path);
    expect(directoryPath(kind, oid)).toBe(path);
  }
  expect(directoryKind('base')).toEqual({ kind: DIRECTORY.BASE, oid: 0 });
  for (const path of ['base/pgsql_tmp', 'base/05', 'pg_multixact', 'base/5/x'])
    expect(directoryKind(path).kind).toBe(DIRECTORY.OTHER);
});

test('warm pages: what was read, once each, in order, bounded', () => {
  const toRun = (id: number, block: number, count: number) =>
    ({ kind: 'slru', slru: 'pg_xact', segment: id, block, count }) as const;
  const reads = [
    { id: 1, block: 0, count: 2 },
    { id: 1, block: 2, count: 1 },
    { id: 2, block: 5, count: 1 },
    { id: 1, block: 1, count: 4 },
    { id: 2, block: 6, count: 10 },
  ];
  expect(touchedRuns(reads, toRun, 8)).toEqual([
    toRun(1, 0, 3),
    toRun(2, 5, 1),
    toRun(1, 3, 2),
    toRun(2, 6, 2),
  ]);
});
