/** Heap and Heap2. */
import type { Workload } from './workload.ts';

export const heapWorkloads: Workload[] = [
  {
    name: 'heap: insert, update, delete with every kind of tuple',
    checks: 'heap,heap2,sequence',
    reaches: [
      'Heap/INSERT',
      'Heap/INSERT+INIT',
      'Heap/UPDATE',
      'Heap/UPDATE+INIT',
      'Heap/HOT_UPDATE',
      'Heap/DELETE',
    ],
    async run(db) {
      await db.run(
        'create table rows (id int primary key, a text, b int, c text default null, d timestamptz)',
        `insert into rows select i, repeat('a', i % 200), i, nullif(repeat('c', i % 3), ''), now() from generate_series(1, 3000) i`,
        'update rows set b = b + 1 where id % 3 = 0', // HOT, common prefix and suffix
        `update rows set a = a || 'x' where id % 5 = 0`,
        'update rows set c = null, d = null where id % 7 = 0',
        'update rows set id = id + 100000 where id % 11 = 0', // not HOT
        `update rows set a = repeat('z', 1500) where id % 50 = 1`, // to other pages, new ones among them
        'delete from rows where id % 13 = 0',
        'begin',
        'insert into rows select i, null, null, null, null from generate_series(200000, 200500) i',
        'savepoint s',
        'update rows set b = 7 where id > 200400',
        'delete from rows where id > 200450',
        'rollback to s',
        'delete from rows where id > 200490',
        'commit',
        'create table wide as select i, array_fill(i, array[50]) as arr, int4range(i, i + 5) as r from generate_series(1, 500) i',
        'update wide set i = -i',
      );
    },
  },
  {
    name: 'heap: COPY and multi-insert, frozen and not',
    checks: 'heap,heap2,sequence',
    reaches: ['Heap2/MULTI_INSERT', 'Heap2/MULTI_INSERT+INIT'],
    async run(db) {
      await db.run(
        'create table bulk (i int, t text)',
        `copy bulk from program 'seq 1 5000 | sed "s/$/\\tsome text of a line/"'`,
        `copy bulk from program 'seq 1 3 | sed "s/$/\\tmore/"'`,
        'vacuum bulk',
        `copy bulk from program 'seq 1 2000 | sed "s/$/\\todd/"'`,
        'begin',
        'truncate bulk',
        `copy bulk from program 'seq 1 5000 | sed "s/$/\\tfrozen/"' with (freeze)`,
        'commit',
        'create materialized view mv as select * from bulk',
        'refresh materialized view mv',
      );
    },
  },
  {
    name: 'heap: row locks, multixacts, locks on updated versions',
    checks: 'heap,heap2,sequence',
    reaches: ['Heap/LOCK', 'Heap2/LOCK_UPDATED'],
    async run(db) {
      await db.run(
        'create table locked (id int primary key, v int)',
        'insert into locked select i, 0 from generate_series(1, 400) i',
        'vacuum (freeze) locked',
      );
      const [one, two, three] = [await db.connect(), await db.connect(), await db.connect()];
      await one.query('begin');
      await two.query('begin');
      await one.query('select * from locked where id <= 100 for key share');
      await two.query('select * from locked where id <= 150 for share');
      await three.query('begin');
      await three.query('update locked set v = 1 where id > 200 and id <= 300'); // no key update
      await one.query('select * from locked where id > 200 and id <= 250 for key share'); // locks the new versions too
      await two.query('savepoint s');
      await two.query('select * from locked where id > 350 for no key update');
      await two.query('rollback to s');
      await two.query('select * from locked where id > 360 for update');
      await two.query('delete from locked where id > 380');
      await three.query('commit');
      await one.query('update locked set v = 2 where id <= 20 and id > 10 and false');
      await one.query('commit');
      await two.query('update locked set v = 3 where id <= 50');
      await two.query('commit');
      await db.run('update locked set v = v + 1', 'vacuum (freeze) locked');
    },
  },
  {
    name: 'heap: speculative insertion, confirmed and given up',
    checks: 'heap,heap2,sequence',
    reaches: ['Heap/HEAP_CONFIRM'],
    async run(db) {
      await db.run(
        'create table upserts (id int primary key, v int)',
        'insert into upserts select i % 100, i from generate_series(0, 99) i on conflict (id) do update set v = excluded.v',
        'insert into upserts select i, i from generate_series(50, 150) i on conflict (id) do nothing',
        'insert into upserts select i, i from generate_series(50, 250) i on conflict (id) do update set v = upserts.v + 1',
      );
      const sessions = [await db.connect(), await db.connect(), await db.connect(), await db.connect()];
      for (let round = 0; round < 40; round++) {
        const upsert = `insert into upserts select i, ${round} from generate_series(${1000 + round}, ${1010 + round}) i on conflict (id) do update set v = excluded.v`;
        await Promise.all(sessions.map((session) => session.query(upsert)));
      }
      // Two sessions stop between their tuple and its index entry: the second finds the first's entry, and gives up its tuple.
      await db.run(
        'create table gated (k int, v int)',
        `create function gate(k int) returns int immutable language plpgsql as $$ declare
           calls int = coalesce(nullif(current_setting('gate.calls', true), '')::int, 0) + 1;
         begin
           perform set_config('gate.calls', calls::text, false);
           if calls = 2 then perform pg_advisory_xact_lock(7); end if;
           return k;
         end $$`,
        'create unique index on gated (gate(k))',
        'select pg_advisory_lock(7)',
      );
      const upsert = 'insert into gated values (1, 1) on conflict (gate(k)) do update set v = gated.v + 1';
      const [one, two] = sessions;
      for (const session of [one, two]) await session.query(`set gate.calls = '0'`);
      const progress = { ended: false };
      const upserts = Promise.all([one.query(upsert), two.query(upsert)]).finally(
        () => (progress.ended = true),
      );
      const waiting = `select count(*) from pg_locks where locktype = 'advisory' and objid = 7 and not granted`;
      while (!progress.ended && (await db.value(waiting)) !== '2');
      await db.run('select pg_advisory_unlock(7)');
      await upserts;
    },
  },
  {
    name: 'heap: pruning, freezing and visibility',
    checks: 'heap,heap2,sequence',
    reaches: [
      'Heap2/PRUNE_ON_ACCESS',
      'Heap2/PRUNE_VACUUM_SCAN',
      'Heap2/PRUNE_VACUUM_CLEANUP',
      'Heap2/VISIBLE',
      'Heap/INPLACE',
    ],
    async run(db) {
      await db.run(
        'create table chains (id int, v int, pad text) with (fillfactor = 60)',
        `insert into chains select i, 0, repeat('p', 60) from generate_series(1, 2000) i`,
        'create index on chains (id)',
      );
      for (let round = 0; round < 12; round++) {
        await db.run(
          `update chains set v = v + 1 where id % 4 = ${round % 4}`,
          'select count(*) from chains where v >= 0',
        );
      }
      await db.run(
        'delete from chains where id % 10 < 5',
        'vacuum chains',
        'vacuum (freeze) chains',
        'update chains set v = -1 where id % 17 = 0',
        `insert into chains select i, 0, 'again' from generate_series(1, 300) i`,
        'vacuum (freeze, index_cleanup off) chains',
        'vacuum (freeze, disable_page_skipping) chains',
        'delete from chains where id > 1000',
        'vacuum chains',
        'vacuum (analyze) pg_class',
        'create table plain (a int)', // no index: dead items become unused at once
        'insert into plain select generate_series(1, 3000)',
        'delete from plain where a % 2 = 0',
        'vacuum plain',
        'delete from plain where a > 100',
        'vacuum (freeze) plain',
      );
    },
  },
  {
    name: 'heap: TOAST, in-place updates, partition moves, cluster, vacuum full, truncate',
    checks: 'heap,heap2,sequence',
    reaches: ['Heap/INPLACE', 'Heap/TRUNCATE', 'Heap2/NEW_CID'],
    async run(db) {
      await db.run(
        'create table toasted (id int primary key, t text)',
        'alter table toasted alter t set storage external',
        `insert into toasted select i, repeat(md5(i::text), 300) from generate_series(1, 60) i`,
        `update toasted set t = repeat(md5(id::text), 400) where id % 2 = 0`,
        'delete from toasted where id % 3 = 0',
        'vacuum toasted',
        'cluster toasted using toasted_pkey',
        'vacuum full toasted',
        'create table parts (k int, v text) partition by list (k)',
        'create table parts1 partition of parts for values in (1)',
        'create table parts2 partition of parts for values in (2)',
        `insert into parts select 1, 'v' || i from generate_series(1, 100) i`,
        'update parts set k = 2',
        'update pg_class set reltuples = reltuples where false',
        'analyze parts',
        'create table gone (a int primary key)',
        'insert into gone select generate_series(1, 100)',
        'truncate gone restart identity cascade',
        'alter table toasted add column n int default 5, add column r float default random()',
        'create role somebody',
        'grant select on toasted to somebody',
        'drop table gone',
        'revoke select on toasted from somebody', // roles are the cluster's: another round makes it again
        'drop role somebody',
      );
    },
  },
  {
    name: 'heap: catalogs rewritten under a logical slot',
    checks: 'heap,heap2,sequence',
    reaches: ['Heap2/REWRITE'],
    async run(db) {
      await db.run(
        `select pg_create_logical_replication_slot('rewrite', 'pgoutput')`,
        'create table before_rewrite (a int, b text)',
      );
      // Versions of catalog rows that a slot may still need are mapped from old to new place.
      const open = await db.connect();
      await open.query('begin');
      await open.query('create table in_flight (x int)');
      await db.run('alter table before_rewrite add c int', 'alter table before_rewrite drop a');
      await open.query('commit');
      await db.run(
        'vacuum full pg_class',
        'vacuum full pg_attribute',
        'vacuum full pg_proc',
        `select pg_drop_replication_slot('rewrite')`,
      );
    },
  },
  {
    name: 'heap: sequences',
    checks: 'heap,heap2,sequence',
    reaches: ['Sequence/LOG'],
    async run(db) {
      await db.run(
        'create sequence numbers',
        `select nextval('numbers') from generate_series(1, 100)`,
        `select setval('numbers', 5000)`,
        'alter sequence numbers cache 50 increment 7',
        `select nextval('numbers') from generate_series(1, 10)`,
        'create table serials (id bigint generated always as identity, n smallserial)',
        'insert into serials default values',
        'truncate serials restart identity',
      );
    },
  },
];
