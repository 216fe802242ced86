/** Everything that is no page of a relation: transactions, SLRUs, databases, tablespaces, messages. */
import type { Workload } from './workload.ts';

/** A loop of subtransactions: each runs `statement` under an id of its own. */
const subtransactions = (count: number, statement: string): string =>
  `do $$ begin for i in 1..${count} loop begin ${statement}; exception when division_by_zero then null; end; end loop; end $$`;

export const serverWorkloads: Workload[] = [
  {
    name: 'server: transactions of every kind',
    reaches: [
      'Transaction/COMMIT',
      'Transaction/ABORT',
      'Transaction/PREPARE',
      'Transaction/COMMIT_PREPARED',
      'Transaction/ABORT_PREPARED',
      'Transaction/ASSIGNMENT',
      'Transaction/INVALIDATION',
    ],
    async run(db) {
      await db.run(
        'create table t (i int primary key, v text)',
        'begin',
        'insert into t select generate_series(1, 100)',
        'create table given_up (a int)',
        'rollback',
        subtransactions(3000, 'insert into t values (i)'),
        'begin',
        'insert into t values (-1)',
        'create table prepared (a int)',
        `select pg_notify('c', 'm')`,
        'savepoint s',
        'insert into t values (-2)',
        'commit',
        'begin',
        'insert into t values (-3)',
        'create index on prepared (a)',
        `prepare transaction 'one'`,
        'begin',
        'delete from t where i = 5',
        'create table never_made (a int)',
        `prepare transaction 'two'`,
        `rollback prepared 'two'`,
        `commit prepared 'one'`,
        'drop table prepared',
      );
    },
  },
  {
    name: 'server: multixacts of every size',
    reaches: ['MultiXact/CREATE_ID', 'MultiXact/ZERO_MEM_PAGE', 'Heap/LOCK'],
    async run(db) {
      await db.run('create table popular (id int)', 'insert into popular values (1)');
      // Each holder makes the multixact of all before it anew, with itself in it: 2 to 220 members, over pages of 1636.
      for (let i = 1; i <= 220; i++) {
        await db.run('begin', 'select * from popular for key share', `prepare transaction 'holder ${i}'`);
      }
      await db.run('begin', 'update popular set id = id', `prepare transaction 'updater'`);
      for (let i = 1; i <= 220; i++) {
        await db.run(`${i % 3 === 0 ? 'rollback' : 'commit'} prepared 'holder ${i}'`);
      }
      await db.run(`commit prepared 'updater'`, 'update popular set id = 2', 'vacuum (freeze) popular');
    },
  },
  {
    name: 'server: messages, switches, backups, restore points, origins',
    reaches: [
      'LogicalMessage/MESSAGE',
      'XLOG/SWITCH',
      'XLOG/BACKUP_END',
      'XLOG/RESTORE_POINT',
      'XLOG/NEXTOID',
      'XLOG/CHECKPOINT_ONLINE',
      'XLOG/CHECKPOINT_REDO',
      'XLOG/FPI',
      'ReplicationOrigin/SET',
      'ReplicationOrigin/DROP',
      'Standby/LOCK',
      'Standby/RUNNING_XACTS',
      'Standby/INVALIDATIONS',
    ],
    async run(db) {
      await db.run(
        `select pg_logical_emit_message(true, 'prefix', 'text')`,
        `select pg_logical_emit_message(false, 'prefix', repeat('x', 100000))`,
        `select pg_create_restore_point('here')`,
        `select pg_backup_start('b', true)`,
        'select pg_backup_stop(false)',
        'select pg_switch_wal()',
        `select pg_replication_origin_create('origin')`,
        `select pg_replication_origin_advance('origin', '0/100')`,
        `select pg_replication_origin_session_setup('origin')`,
        'create table replicated (a int)',
        'insert into replicated select generate_series(1, 100)',
        'select pg_replication_origin_session_reset()',
        `select pg_replication_origin_drop('origin')`,
        'select pg_log_standby_snapshot()',
        'begin',
        'lock table replicated in access exclusive mode',
        'alter table replicated set (fillfactor = 50)',
        'commit',
        // NEXTOID is written every 8192 object ids; a table's are in a loop the cheapest.
        `select lo_create(0) from generate_series(1, 9000)`,
        'select count(lo_unlink(oid)) from pg_largeobject_metadata',
        'checkpoint',
      );
    },
  },
  {
    name: 'server: databases and tablespaces',
    reaches: [
      'Database/CREATE_FILE_COPY',
      'Database/CREATE_WAL_LOG',
      'Database/DROP',
      'Tablespace/CREATE',
      'Tablespace/DROP',
      'Storage/CREATE',
      'Storage/TRUNCATE',
      'RelMap/UPDATE',
    ],
    async run(db) {
      await db.run(
        'create database copied strategy file_copy template template0',
        'create database logged strategy wal_log template template0',
        'set allow_in_place_tablespaces = on',
        `create tablespace elsewhere location ''`,
        'create table there (a int primary key) tablespace elsewhere',
        'insert into there select generate_series(1, 2000)',
        'alter table there set tablespace pg_default',
        'alter database copied set tablespace elsewhere',
        'alter database copied set tablespace pg_default',
        'drop database copied',
        'drop database logged',
        'alter index there_pkey set tablespace pg_default',
        'drop tablespace elsewhere',
        'delete from there where a > 100',
        'vacuum there',
        'truncate there',
        'vacuum full pg_class',
        'create unlogged table unlogged (a int primary key)',
        'insert into unlogged select generate_series(1, 100)',
        'alter table unlogged set logged',
        'alter table unlogged set unlogged',
        'create temp table temporary (a int)',
      );
    },
  },
];

/** Needs a cluster of few databases: all of them are frozen so that old segments of SLRUs can go. */
export const counterWorkloads: Workload[] = [
  {
    name: 'counters: transaction ids and multixacts by the hundred thousand',
    reaches: [
      'CLOG/ZEROPAGE',
      'CLOG/TRUNCATE',
      'MultiXact/ZERO_OFF_PAGE',
      'MultiXact/ZERO_MEM_PAGE',
      'MultiXact/CREATE_ID',
      'MultiXact/TRUNCATE_ID',
      'CommitTs/ZEROPAGE',
      'CommitTs/TRUNCATE',
    ],
    async run(db) {
      await db.run(
        'create table shared_rows (id int)',
        'insert into shared_rows select generate_series(1, 10)',
      );
      const holder = await db.connect();
      await holder.query('begin');
      await holder.query('select * from shared_rows for key share');
      // Each subtransaction is another member, so each makes another multixact; it gives its lock back when it aborts.
      const lock = 'perform 1 from shared_rows where id = 1 for key share; raise division_by_zero';
      await db.run(subtransactions(6000, lock));
      await holder.query('commit');
      for (let i = 0; i < 10; i++) {
        await db.run(subtransactions(105_000, `perform pg_logical_emit_message(true, '', '')`));
      }
      await db.run(`update pg_database set datallowconn = true where datname = 'template0'`);
      for (const name of await db.otherDatabases()) {
        const other = await db.connect(name);
        await other.query('vacuum freeze');
      }
      await db.run('vacuum freeze', 'vacuum freeze', 'checkpoint');
    },
  },
];

/** For a cluster with wal_log_hints: setting a hint bit first logs the page. */
export const hintWorkloads: Workload[] = [
  {
    name: 'hints: pages logged for the sake of a hint bit, full-page writes switched',
    reaches: ['XLOG/FPI_FOR_HINT', 'XLOG/FPW_CHANGE', 'XLOG/PARAMETER_CHANGE'],
    async run(db) {
      await db.run(
        'create table hinted (a int primary key, t text)',
        `insert into hinted select i, repeat('compressible ', i % 30) from generate_series(1, 3000) i`,
        'checkpoint',
        'select count(*) from hinted',
        'delete from hinted where a % 3 = 0',
        'checkpoint',
        'select count(*) from hinted',
        'vacuum (freeze) hinted',
        'alter system set full_page_writes = off',
        'select pg_reload_conf()',
        'checkpoint',
        'update hinted set t = t || t',
        'alter system reset full_page_writes',
        'select pg_reload_conf()',
        'checkpoint',
        'update hinted set a = -a',
      );
    },
  },
];

/** What no workload can make Postgres 18 write, and why. */
export const UNREACHABLE: Readonly<Record<string, string>> = {
  'XLOG/NOOP': 'no code of Postgres writes it',
  'XLOG/OVERWRITE_CONTRECORD':
    'needs a crash in the middle of a record: test/lib/postgres/wal/decoder.test.ts builds one',
  'XLOG/END_OF_RECOVERY': 'needs a promotion: test/lib/postgres/redo/oracle.pg.test.ts promotes a standby',
  'XLOG/CHECKPOINT_SHUTDOWN': 'written whenever a cluster stops, as each of these does at its end',
  'Heap/HOT_UPDATE+INIT': 'a new page has no old version to be updated on it',
};
