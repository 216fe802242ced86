/** Btree. */
import type { Workload } from './workload.ts';

export const btreeWorkloads: Workload[] = [
  {
    name: 'btree: insertion and splits in rising, falling and random order',
    checks: 'btree',
    reaches: ['Btree/INSERT_LEAF', 'Btree/INSERT_UPPER', 'Btree/SPLIT_L', 'Btree/SPLIT_R', 'Btree/NEWROOT'],
    async run(db) {
      await db.run(
        'create table keys (k text, n int, r int)',
        'create index keys_k on keys (k)',
        'create index keys_n on keys (n desc) include (r)',
        'create unique index keys_r on keys (r, n)',
        `insert into keys select repeat(md5(i::text), 8), i, (i * 7919) % 100003 from generate_series(1, 2500) i`,
        `insert into keys select repeat(md5(i::text), 8), -i, (i * 31) % 1009 from generate_series(1, 1500) i`,
        'create table tiny (a int primary key)',
        'insert into tiny select generate_series(1, 3000)',
      );
    },
  },
  {
    name: 'btree: three levels of wide keys',
    checks: 'btree',
    reaches: ['Btree/INSERT_UPPER', 'Btree/SPLIT_R'],
    async run(db) {
      await db.run(
        'create table wide_keys (k text)',
        'create index on wide_keys (k)',
        `insert into wide_keys select md5(i::text) || repeat(md5((i + 1)::text), 50) from generate_series(1, 300) i`,
        `insert into wide_keys select lpad(i::text, 6, '0') || repeat(md5(i::text), 50) from generate_series(1, 300) i`,
      );
    },
  },
  {
    name: 'btree: duplicates, posting lists split, deleted from and vacuumed',
    checks: 'btree',
    reaches: ['Btree/DEDUP', 'Btree/INSERT_POST', 'Btree/VACUUM'],
    async run(db) {
      await db.run(
        'create table dups (v int, w text) with (fillfactor = 50)',
        'create index dups_v on dups (v)',
        'create index dups_w on dups (w)',
        `insert into dups select i % 7, repeat('w', i % 5 * 30) from generate_series(1, 6000) i`,
        'delete from dups where ctid in (select ctid from dups where random() < 0.3)',
        'vacuum dups',
        // Freed places have TIDs in the middle of existing posting lists.
        `insert into dups select i % 7, repeat('w', i % 5 * 30) from generate_series(1, 3000) i`,
        'delete from dups where v = 3',
        'vacuum dups',
        `insert into dups select null, null from generate_series(1, 2000) i`,
        `insert into dups select i % 3, repeat('w', i % 5 * 30) from generate_series(1, 3000) i`,
      );
    },
  },
  {
    name: 'btree: bottom-up and simple deletion',
    checks: 'btree',
    reaches: ['Btree/DELETE'],
    async run(db) {
      await db.run(
        'create table versions (id int primary key, v int, w int)',
        'create index on versions (v)',
        'create index on versions (w)',
        'insert into versions select i, i, i % 10 from generate_series(1, 1500) i',
      );
      for (let round = 0; round < 14; round++) {
        await db.run(
          'update versions set v = v + 1 where id % 3 = 0',
          `select count(*) from versions where w = ${round % 10}`,
        );
      }
      await db.run(
        'delete from versions where id between 300 and 700',
        'set enable_seqscan = off',
        'select count(*) from versions where id between 100 and 900', // marks index items dead
        'insert into versions select i, i, i % 10 from generate_series(300, 700) i',
        'reset enable_seqscan',
      );
    },
  },
  {
    name: 'btree: pages emptied, unlinked and reused',
    checks: 'btree',
    reaches: [
      'Btree/MARK_PAGE_HALFDEAD',
      'Btree/UNLINK_PAGE',
      'Btree/UNLINK_PAGE_META',
      'Btree/REUSE_PAGE',
      'Btree/META_CLEANUP',
      'Btree/INSERT_META',
    ],
    async run(db) {
      await db.run(
        'create table shrinking (k text primary key)',
        `insert into shrinking select lpad(i::text, 400, '0') from generate_series(1, 6000) i`,
        `delete from shrinking where k > lpad('1000', 400, '0') and k < lpad('2000', 400, '0')`,
        'vacuum shrinking',
        // All but the last page: the root is left with one child, the fast root moves down.
        `delete from shrinking where k < lpad('5990', 400, '0')`,
        'vacuum shrinking',
        'vacuum shrinking',
        `insert into shrinking select lpad(i::text, 400, '0') from generate_series(6001, 9000) i`,
        'vacuum shrinking',
        `delete from shrinking where k < lpad('8900', 400, '0')`,
        'vacuum shrinking',
        'vacuum shrinking',
        `insert into shrinking select lpad(i::text, 400, '0') from generate_series(1, 2000) i`,
        'vacuum shrinking',
      );
    },
  },
  {
    name: 'btree: splits under a vacuum',
    checks: 'btree',
    reaches: ['Btree/SPLIT_R'],
    async run(db) {
      await db.run(
        'create table vacuumed (k int, pad text)',
        'create index vacuumed_k on vacuumed (k, pad)',
        `insert into vacuumed select i, repeat('p', 100) from generate_series(1, 6000) i`,
        'delete from vacuumed where k % 2 = 0',
      );
      const vacuum = await db.connect();
      await vacuum.query('set vacuum_cost_limit = 1; set vacuum_cost_delay = 20');
      const pid = (await vacuum.query<{ pid: number }>('select pg_backend_pid() as pid')).rows[0].pid;
      const progress = { ended: false };
      const done = vacuum
        .query('vacuum vacuumed')
        .catch((error: Error) => error)
        .finally(() => (progress.ended = true));
      const phase = `select count(*) from pg_stat_progress_vacuum where pid = ${pid} and phase = 'vacuuming indexes'`;
      while (!progress.ended && (await db.value(phase)) === '0');
      // Pages split now are marked with the vacuum's cycle, which redo does not do.
      await db.run(`insert into vacuumed select i, repeat('q', 100) from generate_series(1, 6000, 3) i`);
      await db.run(`select pg_cancel_backend(${pid})`);
      await done;
    },
  },
];
