/** Gist. */
import type { Workload } from './workload.ts';

export const gistWorkloads: Workload[] = [
  {
    name: 'gist: insertion, splits, buffered and plain builds',
    checks: 'gist',
    reaches: ['Gist/PAGE_UPDATE', 'Gist/PAGE_SPLIT'],
    async run(db) {
      await db.run(
        'create extension btree_gist',
        'create extension pg_trgm',
        'create table shapes (p point, b box, r int4range, n int, t text)',
        'create index shapes_p on shapes using gist (p)',
        'create index shapes_b on shapes using gist (b)',
        'create index shapes_r on shapes using gist (r, n)',
        'create index shapes_t on shapes using gist (t gist_trgm_ops)',
        `insert into shapes select point(i % 97, i % 89), box(point(i, i), point(i + 5, i % 13)), int4range(i, i + i % 50), i, md5(i::text)
         from generate_series(1, 900) i`,
        `insert into shapes select point(random() * 10, random()), null, 'empty', i, repeat(md5(i::text), 10) from generate_series(1, 200) i`,
        'create table built as select point(i % 97, i % 89) as p from generate_series(1, 5000) i',
        'create index on built using gist (p) with (buffering = on)',
        'insert into built select point(i, -i) from generate_series(1, 200) i',
        'create table booked (r tstzrange, exclude using gist (r with &&))',
        `insert into booked select tstzrange(d, d + '1 hour') from generate_series(now(), now() + '30 days', '2 hours') d`,
      );
    },
  },
  {
    name: 'gist: deletion of items and pages, reuse',
    checks: 'gist',
    reaches: ['Gist/DELETE', 'Gist/PAGE_DELETE', 'Gist/PAGE_REUSE'],
    async run(db) {
      await db.run(
        'create table moving (p point)',
        'create index moving_p on moving using gist (p)',
        'insert into moving select point(i, i) from generate_series(1, 2500) i',
        'delete from moving where p[0] between 300 and 2200',
        'vacuum moving',
        'select txid_current()',
        'vacuum moving', // the deleted pages are old enough now to be free
        'insert into moving select point(-i, i) from generate_series(1, 1800) i',
        // Items found dead by an index scan are removed when their page is full; the root does not count.
        'create table killed (p point)',
        'create index killed_p on killed using gist (p)',
        'insert into killed select point(i % 30, 1) from generate_series(1, 1000) i',
        'delete from killed',
        'set enable_seqscan = off',
        'set enable_bitmapscan = off',
        `select count(*) from killed where p <@ box '((0, 0), (40, 2))'`,
        'insert into killed select point(i % 30, 1) from generate_series(1, 800) i',
      );
    },
  },
];

/** What only `wal_level = minimal` writes, which Ebb itself never uses. */
export const gistMinimalWorkloads: Workload[] = [
  {
    name: 'gist: a new index of the same transaction, not logged',
    checks: 'gist',
    reaches: ['Gist/ASSIGN_LSN'],
    async run(db) {
      await db.run(
        'begin',
        'create table fresh (p point)',
        'create index fresh_p on fresh using gist (p)',
        'insert into fresh select point(i % 31, i % 29) from generate_series(1, 2000) i',
        'commit',
        'insert into fresh select point(i % 31, i % 29) from generate_series(1, 200) i',
      );
    },
  },
];
