/** Hash. */
import type { Workload } from './workload.ts';

export const hashWorkloads: Workload[] = [
  {
    name: 'hash: insertion, overflow pages, bucket splits',
    checks: 'hash',
    reaches: [
      'Hash/INIT_META_PAGE',
      'Hash/INIT_BITMAP_PAGE',
      'Hash/INSERT',
      'Hash/ADD_OVFL_PAGE',
      'Hash/SPLIT_ALLOCATE_PAGE',
      'Hash/SPLIT_PAGE',
      'Hash/SPLIT_COMPLETE',
    ],
    async run(db) {
      await db.run(
        'create table hashed (k int, t text)',
        'create index hashed_k on hashed using hash (k) with (fillfactor = 10)',
        'create index hashed_t on hashed using hash (t)',
        `insert into hashed select i, 't' || i from generate_series(1, 2000) i`,
        `insert into hashed select 7, 'same' from generate_series(1, 1000) i`,
        'create table prefilled as select i from generate_series(1, 20000) i',
        'create index on prefilled using hash (i)', // sized for what is there
        'insert into prefilled select i from generate_series(1, 300) i',
        // More than 512 buckets from the beginning: their numbers grow in quarters then.
        'create index on prefilled using hash (i) with (fillfactor = 10)',
      );
    },
  },
  {
    name: 'hash: vacuum, squeezed buckets, dead items removed by inserts',
    checks: 'hash',
    reaches: [
      'Hash/DELETE',
      'Hash/MOVE_PAGE_CONTENTS',
      'Hash/SQUEEZE_PAGE',
      'Hash/SPLIT_CLEANUP',
      'Hash/UPDATE_META_PAGE',
      'Hash/VACUUM_ONE_PAGE',
    ],
    async run(db) {
      await db.run(
        'create table squeezed (k int)',
        'create index squeezed_k on squeezed using hash (k)',
        'insert into squeezed select i % 5 from generate_series(1, 5000) i',
        'delete from squeezed where ctid in (select ctid from squeezed where random() < 0.75)',
        'vacuum squeezed',
        'insert into squeezed select i % 3 from generate_series(1, 2500) i',
        'delete from squeezed where k = 1',
        'vacuum squeezed',
        'insert into squeezed select i from generate_series(1, 1000) i',
        'vacuum squeezed',
        // Items found dead by a scan are removed when their page is full.
        'create table killed (k int) with (autovacuum_enabled = off)',
        'create index killed_k on killed using hash (k)',
        'insert into killed select 1 from generate_series(1, 900) i',
        'delete from killed',
        'set enable_seqscan = off',
        'set enable_bitmapscan = off',
        'select count(*) from killed where k = 1',
        'insert into killed select 1 from generate_series(1, 900) i',
        'delete from killed where ctid in (select ctid from killed limit 500)',
        'select count(*) from killed where k = 1',
        'insert into killed select 1 from generate_series(1, 500) i',
        // Or by VACUUM, which then takes the mark off the page.
        'delete from killed',
        'select count(*) from killed where k = 1',
        'vacuum killed',
      );
      // Moved item by item: deletions spread over long chains leave pages that are neither full nor empty.
      await db.run(
        'create table chained (k int, n int)',
        'create index chained_k on chained using hash (k)',
        'insert into chained select 1, i from generate_series(1, 2500) i',
        'delete from chained where n % 5 in (0, 1)',
        'vacuum chained',
        'delete from chained where n % 3 = 0 and n > 800',
        'vacuum chained',
      );
    },
  },
];
