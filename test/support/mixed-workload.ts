/**
 * A workload that touches as much of Postgres's storage as a test has time for: DDL and rewrites, TOAST, sequences,
 * subtransactions, multixacts, prepared transactions, truncation, vacuum and freezing, COPY, databases made both
 * ways, unlogged relations, large objects. Its steps run in order; a test may look at the WAL between them.
 *
 * Needs max_prepared_transactions; some steps need a superuser.
 */
import type { PostgresCluster } from './postgres-cluster.ts';

/** Where a workload runs; without a database, in the one that is meant for it. */
export type WorkloadTarget = Pick<PostgresCluster, 'connect' | 'query'>;

export interface WorkloadStep {
  name: string;
  /** It does what only a superuser may: rewrites catalogs, copies from a program. */
  superuser?: boolean;
  run(target: WorkloadTarget): Promise<void>;
}

const sql = (
  name: string,
  text: string,
  { database, superuser = false }: { database?: string; superuser?: boolean } = {},
): WorkloadStep => ({
  name,
  superuser,
  run: async (cluster) => {
    // One statement at a time: several in one query would be one transaction.
    const client = await cluster.connect(database);
    for (const statement of text.split(/;\s*\n/)) if (statement.trim() !== '') await client.query(statement);
    await client.end();
  },
});

export const mixedWorkload: WorkloadStep[] = [
  sql(
    'tables and indexes',
    `
    create table account (id int primary key, balance bigint not null default 0, note text);
    insert into account select i, 0, repeat('x', i % 50) from generate_series(1, 5000) i;
    create index account_note on account (note, balance);
    create table history (id bigserial primary key, account int references account, delta int, at timestamptz default now());
    insert into history (account, delta) select 1 + i % 5000, i from generate_series(1, 3000) i;
    alter table account add column created date default '2024-04-17';
    alter table account rename column note to remark;
    create view rich as select * from account where balance > 10;
    create materialized view summary as select account, sum(delta) from history group by 1;
    create unique index on summary (account);
    refresh materialized view concurrently summary;
    create type mood as enum ('sad', 'ok');
    alter type mood add value 'happy';
    create table partitioned (k int, v mood) partition by range (k);
    create table part1 partition of partitioned for values from (0) to (100);
    create table part2 (k int, v mood);
    alter table partitioned attach partition part2 for values from (100) to (200);
    insert into partitioned select i % 200, 'ok' from generate_series(1, 2000) i;
    update partitioned set k = k + 100 where k between 50 and 60;
    create function twice(i int) returns int language sql immutable as 'select 2 * i';
    create index account_twice on account (twice(id));
    comment on table account is 'accounts';
    drop view rich;
    drop table part1`,
  ),
  sql(
    'updates, HOT chains, deletes, upserts',
    `
    update account set balance = balance + 1 where id % 3 = 0;
    update account set balance = balance + 1 where id % 3 = 0;
    update account set remark = remark || 'y' where id % 7 = 0;
    delete from history where id % 2 = 0;
    insert into account (id, balance) select i, 1 from generate_series(4990, 5100) i on conflict (id) do update set balance = excluded.balance;
    select count(*) from account where remark > 'x';
    insert into account (id) values (1) on conflict do nothing;
    merge into account a using (select 5050 as id) s on a.id = s.id when matched then delete;
    select balance from account where id < 100 for update`,
  ),
  sql(
    'TOAST and large objects',
    `
    create table blob (id int primary key, body text, plain text);
    alter table blob alter column plain set storage external;
    insert into blob select i, string_agg(md5((i * j)::text), ''), repeat('p', 3000 * i) from generate_series(1, 30) i, generate_series(1, 300) j group by i;
    update blob set body = body || 'tail' where id < 10;
    delete from blob where id > 25;
    select lo_from_bytea(0, convert_to(repeat('large ', 5000), 'UTF8'));
    vacuum blob`,
  ),
  sql(
    'sequences',
    `
    create sequence counter;
    select nextval('counter') from generate_series(1, 100);
    select setval('counter', 5000);
    select nextval('counter');
    alter sequence counter restart with 7 increment by 3;
    create table identity (id int generated always as identity, x int);
    insert into identity (x) select 1 from generate_series(1, 50);
    select pg_logical_emit_message(true, 'ebb', 'hello')`,
  ),
  {
    name: 'subtransactions',
    run: async (cluster) => {
      const client = await cluster.connect();
      await client.query('create table nested (a int, b text)');
      await client.query('begin');
      for (let i = 0; i < 80; i++)
        await client.query(`savepoint s${i}; insert into nested values (${i}, 'in')`);
      await client.query("rollback to s70; insert into nested values (1000, 'after')");
      await client.query('commit');
      await client.query('begin; insert into nested values (2000); savepoint a; create table gone (a int)');
      await client.query('rollback to a; create table kept (a int primary key); commit');
      await client.query('begin; create table gone2 (a serial); insert into gone2 default values; rollback');
      await client.end();
    },
  },
  sql(
    'enough transactions for a second pg_xact page',
    `
    create table many (a int);
    do $$ begin for i in 1..20000 loop begin insert into many values (i); if i % 4 = 0 then raise 'no'; end if; exception when others then null; end; end loop; end $$;
    do $$ begin for i in 1..15000 loop begin insert into many values (i); exception when others then null; end; end loop; end $$`,
  ),
  {
    name: 'multixacts',
    run: async (cluster) => {
      await cluster.query(
        'create table locked (id int primary key, v int); insert into locked select i, 0 from generate_series(1, 2300) i',
      );
      const clients = await Promise.all([1, 2, 3].map(() => cluster.connect()));
      for (const client of clients) await client.query('begin');
      await clients[0].query('select count(*) from (select * from locked for key share) l');
      // Each row is locked by another subtransaction, so each gets a multixact of its own: two pages of them.
      await clients[1].query(
        'do $$ begin for i in 1..2200 loop begin perform * from locked where id = i for key share; exception when others then null; end; end loop; end $$',
      );
      await clients[0].query('update locked set v = 1 where id <= 300');
      // Locks the old row, and as that has been updated also its new version.
      await clients[2].query('select count(*) from (select * from locked where id <= 50 for key share) l');
      await clients[0].query('commit');
      await clients[1].query('rollback');
      await clients[2].query('commit');
      for (const client of clients) await client.end();
      await cluster.query('update locked set v = v + 1 where id % 2 = 0');
    },
  },
  {
    name: 'TPC-B, four clients',
    run: async (cluster) => {
      await cluster.query(`
        create table pgbench_branches (bid int primary key, bbalance int not null default 0, filler char(88));
        create table pgbench_tellers (tid int primary key, bid int, tbalance int not null default 0, filler char(84));
        create table pgbench_accounts (aid int primary key, bid int, abalance int not null default 0, filler char(84));
        create table pgbench_history (tid int, bid int, aid int, delta int, mtime timestamp, filler char(22));
        insert into pgbench_branches select i from generate_series(1, 2) i;
        insert into pgbench_tellers select i, 1 + i % 2 from generate_series(1, 20) i;
        insert into pgbench_accounts select i, 1 + i % 2 from generate_series(1, 10000) i`);
      await cluster.query('vacuum pgbench_accounts');
      await Promise.all(
        [1, 2, 3, 4].map(async (who) => {
          const client = await cluster.connect();
          for (let i = 1; i <= 100; i++) {
            const [aid, tid, delta] = [1 + ((i * 7919 * who) % 10_000), 1 + ((i * who) % 20), (i % 100) - 50];
            await client.query(`
              begin;
              update pgbench_accounts set abalance = abalance + ${delta} where aid = ${aid};
              update pgbench_tellers set tbalance = tbalance + ${delta} where tid = ${tid};
              update pgbench_branches set bbalance = bbalance + ${delta} where bid = ${1 + (tid % 2)};
              insert into pgbench_history values (${tid}, ${1 + (tid % 2)}, ${aid}, ${delta}, now());
              commit`);
          }
          await client.end();
        }),
      );
    },
  },
  sql(
    'truncate, vacuum, freeze, visibility',
    `
    create table tail (id int primary key, filler text) with (autovacuum_enabled = off);
    insert into tail select i, repeat('f', 400) from generate_series(1, 4000) i;
    vacuum (freeze) tail;
    update tail set filler = 'u' where id in (5, 500, 1500);
    delete from tail where id = 77;
    insert into tail values (90001, 'n');
    select * from tail where id = 900 for update;
    vacuum tail;
    delete from tail where id > 1000;
    vacuum tail;
    insert into tail select i, repeat('g', 400) from generate_series(5000, 7000) i;
    create table emptied as select * from tail;
    truncate emptied;
    insert into emptied select * from tail where id < 50;
    begin;
    truncate emptied;
    insert into emptied values (1);
    rollback;
    vacuum (analyze);
    analyze account`,
  ),
  sql(
    'COPY',
    `
    create table copied (a int);
    copy copied from program 'seq 1 20000';
    begin;
    create table frozen (a int);
    copy frozen from program 'seq 1 5000' with (freeze);
    commit;
    delete from frozen where a = 17;
    create temp table scratch as select * from copied;
    drop table scratch`,
    { superuser: true },
  ),
  sql(
    'B-tree splits, page deletions, duplicates',
    `
    create table tree (k text, d int);
    create index tree_k on tree (k);
    create index tree_d on tree (d);
    insert into tree select md5(i::text), i % 10 from generate_series(1, 8000) i;
    delete from tree where k > '4';
    vacuum tree;
    vacuum tree;
    insert into tree select md5(i::text), 3 from generate_series(8000, 12000) i;
    reindex table tree;
    set wal_compression = pglz;
    reindex index tree_k;
    reset wal_compression;
    create index concurrently tree_both on tree (d, k);
    drop index concurrently tree_both;
    reindex index concurrently tree_d`,
    { superuser: true },
  ),
  {
    name: 'prepared transactions',
    run: async (cluster) => {
      const client = await cluster.connect();
      const prepare = (name: string, body: string) =>
        client.query(`begin; ${body}; prepare transaction '${name}'`);
      await client.query('create table dropped_by_prepared (a int primary key); create table pinned (a int)');
      await prepare(
        'commits',
        "insert into nested values (1, 'p'); savepoint a; insert into nested values (2); create table made_by_prepared (a int); drop table dropped_by_prepared",
      );
      await prepare(
        'aborts',
        'insert into nested values (3); create table lost_by_prepared (a int primary key); savepoint b; insert into nested values (4)',
      );
      await prepare('stays', 'insert into pinned values (5); savepoint c; insert into pinned values (6)');
      await client.query('checkpoint');
      await prepare(
        'stays too, with a longer name',
        'insert into pinned values (1), (2); update pinned set a = 3 where a = 1',
      );
      await client.query("commit prepared 'commits'");
      await client.query("rollback prepared 'aborts'");
      await client.end();
    },
  },
  sql(
    'rewrites and mapped relations',
    `
    alter table account alter column balance type numeric;
    cluster account using account_pkey;
    vacuum full history;
    vacuum full pg_class;
    reindex table pg_type;
    vacuum full pg_database;
    alter table tail set (fillfactor = 50);
    select pg_switch_wal()`,
    { superuser: true },
  ),
  sql(
    'unlogged relations',
    `
    create unlogged table quick (id serial primary key, body text);
    insert into quick (body) select repeat('q', 3000) from generate_series(1, 100) i;
    create unlogged sequence quick_counter;
    select nextval('quick_counter');
    create unlogged table quick2 (a int primary key);
    insert into quick2 values (1);
    alter table quick2 set logged;
    create table slow (a int primary key);
    insert into slow values (1);
    alter table slow set unlogged;
    create unlogged table quick3 (a int);
    drop table quick3`,
  ),
  sql(
    'databases',
    `
    create database logged_copy strategy wal_log;
    create database file_copy strategy file_copy;
    create database dropped strategy file_copy;
    create role someone`,
  ),
  sql(
    'in a copied database',
    `
    create table here (a int primary key, b text);
    insert into here select i, repeat('h', 100) from generate_series(1, 1000) i;
    create unlogged table here_unlogged (a int primary key);
    vacuum full pg_class;
    update here set b = 'x' where a < 100`,
    { database: 'file_copy', superuser: true },
  ),
  sql(
    'in a logged database',
    `
    create table there (a serial primary key, b text);
    insert into there (b) select repeat('t', 100) from generate_series(1, 1000) i;
    create unlogged table there_unlogged (a int primary key);
    drop table if exists nothing`,
    { database: 'logged_copy' },
  ),
  sql(
    'copies of copies, drops',
    `
    drop database dropped;
    create database third template file_copy strategy wal_log;
    create database fourth template logged_copy strategy file_copy;
    drop database logged_copy;
    checkpoint`,
  ),
];

/** Begins what a crash will find unfinished; the clients stay open. */
export async function leaveUnfinished(cluster: WorkloadTarget): Promise<void> {
  const clients = await Promise.all([1, 2].map(() => cluster.connect()));
  await clients[0].query(
    'begin; create table never (a int primary key); insert into never select generate_series(1, 3000)',
  );
  await clients[1].query(
    'begin; delete from history where id < 500; savepoint x; update account set balance = -1 where id < 50',
  );
  const late = await cluster.connect();
  await late.query("insert into nested values (9999, 'last')");
}
