/** Gin. */
import type { Workload } from './workload.ts';

export const ginWorkloads: Workload[] = [
  {
    name: 'gin: entries and posting trees, with splits of both',
    checks: 'gin',
    reaches: ['Gin/INSERT', 'Gin/SPLIT', 'Gin/CREATE_PTREE'],
    async run(db) {
      await db.run(
        'create table arrays (a int[], t tsvector)',
        'create index arrays_a on arrays using gin (a) with (fastupdate = off)',
        'create index arrays_t on arrays using gin (t) with (fastupdate = off)',
        // Few keys with many TIDs: posting trees of several levels.
        `insert into arrays select array[i % 3, i % 11, i], to_tsvector('simple', 'common w' || i % 50 || ' u' || i)
         from generate_series(1, 1200) i`,
        // More TIDs under one key than an entry has room for.
        'insert into arrays (a) select array[1] from generate_series(1, 2500) i',
        'delete from arrays where random() < 0.4',
        'vacuum arrays',
        // Into the middle of what is there: additions to segments, replaced segments, splits.
        `insert into arrays select array[1, 2, i % 7], to_tsvector('simple', 'common again') from generate_series(1, 700) i`,
        'insert into arrays values (null, null), (array[]::int[], $$$$::tsvector), (array[null::int], null)',
        `create table documents as select jsonb_build_object('k' || i % 20, i, 'tags', array[md5(i::text), 'x']) as j
         from generate_series(1, 600) i`,
        'create index on documents using gin (j)',
        'create index on documents using gin (j jsonb_path_ops) with (fastupdate = off)',
        `insert into documents select jsonb_build_object(repeat(md5(i::text), 20), i) from generate_series(1, 150) i`,
      );
    },
  },
  {
    name: 'gin: posting trees and entry trees of three levels',
    checks: 'gin',
    reaches: ['Gin/INSERT', 'Gin/SPLIT'],
    async run(db) {
      await db.run(
        // Leaves of a posting tree that are not its root split, and their links go into inner pages.
        'create table popular (a int[])',
        'create index popular_a on popular using gin (a) with (fastupdate = off)',
        'insert into popular select array[1] from generate_series(1, 45000) i',
        'delete from popular where random() < 0.3',
        'vacuum popular',
        'insert into popular select array[1] from generate_series(1, 20000) i',
        // Wide keys that do not compress: a dozen to a page, so that inner pages of the entry tree split too.
        'create table wide_entries (t text[])',
        'create index wide_entries_t on wide_entries using gin (t) with (fastupdate = off)',
        `insert into wide_entries select array[string_agg(md5((i * 1000 + j)::text), '')]
         from generate_series(1, 500) i, generate_series(1, 18) j group by i`,
      );
    },
  },
  {
    name: 'gin: the pending list',
    checks: 'gin',
    reaches: ['Gin/UPDATE_META_PAGE', 'Gin/INSERT_LISTPAGE', 'Gin/DELETE_LISTPAGE'],
    async run(db) {
      await db.run(
        'create table pending (a int[])',
        'create index pending_a on pending using gin (a) with (fastupdate = on, gin_pending_list_limit = 64)',
        'insert into pending values (array[1, 2, 3])',
        'insert into pending values (array[4, 5])',
        `insert into pending select array_agg(i) from generate_series(1, 5000) i`, // more than a page at once
        `insert into pending select array[i, i + 1, i % 5] from generate_series(1, 2000) i`,
        `select gin_clean_pending_list('pending_a')`,
        `insert into pending select array[i] from generate_series(1, 300) i`,
        'vacuum pending',
      );
    },
  },
  {
    name: 'gin: vacuum of entries, posting lists and whole pages',
    checks: 'gin',
    reaches: ['Gin/VACUUM_PAGE', 'Gin/VACUUM_DATA_LEAF_PAGE', 'Gin/DELETE_PAGE'],
    async run(db) {
      await db.run(
        'create table emptied (a int[], n int)',
        'insert into emptied select array[1, i % 4, 1000 + i % 700], i from generate_series(1, 40000) i',
        'create index emptied_a on emptied using gin (a) with (fastupdate = off)',
        'delete from emptied where n % 3 = 0',
        'vacuum emptied',
        'delete from emptied where n between 5000 and 35000', // whole leaves of the posting trees
        'vacuum emptied',
        'insert into emptied select array[1, 2], i from generate_series(1, 500) i',
        'delete from emptied',
        'vacuum emptied',
      );
    },
  },
];
