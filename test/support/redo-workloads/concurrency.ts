/**
 * Several sessions at once on a table with every kind of index, while it is vacuumed: splits that others meet half done, locks
 * that become multixacts, pages emptied and taken again, records of one page from many transactions.
 */
import type pg from 'pg';
import type { Workload } from './workload.ts';

const SESSIONS = 6;
const STATEMENTS = 80;

/** xorshift32: what is done is the same each time; in which order is the server's. */
function randomFrom(seed: number): (below: number) => number {
  let state = Math.imul(seed + 1, 0x9e3779b1) | 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

function statement(random: (below: number) => number): string {
  const [k, i] = [random(random(40) + 1), random(3000)];
  switch (random(10)) {
    case 0:
    case 1:
    case 2:
      return `insert into busy (k, t, a, p, r, pad) select ${k} + i % 3, md5((${i} + i)::text), array[${k}, i, ${i}], point(${i} + i, ${k}),
        int4range(${k}, ${k} + ${i} % 40 + i), repeat('x', ${i} % 900) from generate_series(1, 20) i`;
    case 3:
    case 4:
      return `update busy set k = k + 1, t = md5(t), a = a || ${i}, p = point(${i}, k) where id % 700 = ${i % 700}`;
    case 5:
      return `update busy set pad = pad || 'y' where id % 300 = ${i % 300}`;
    case 6:
      return `delete from busy where id between ${i} and ${i + 60}`;
    case 7:
      return `select count(*) from busy where k = ${k}`;
    case 8:
      return `begin; select from busy where id % 500 = ${i % 500} for key share; savepoint s;
        update busy set pad = 'z' where id % 501 = ${i % 501}; rollback to s;
        select from busy where id % 200 = ${i % 200} for share; commit`;
    default:
      return `begin; insert into busy (k, t) select ${k}, 'gone' || i from generate_series(1, 30) i; rollback`;
  }
}

async function session(client: pg.Client, seed: number): Promise<void> {
  const random = randomFrom(seed);
  await client.query('set enable_seqscan = off');
  for (let i = 0; i < STATEMENTS; i++) {
    try {
      await client.query(statement(random));
    } catch (error) {
      if ((error as pg.DatabaseError).code !== '40P01') throw error;
      await client.query('rollback'); // a deadlock: part of the game
    }
  }
}

export const concurrencyWorkloads: Workload[] = [
  {
    name: 'concurrency: six sessions on every kind of index, and vacuum',
    // Postgres 18.4 puts images of hash buckets into records of vacuum without a lock on them: with others writing there, the
    // CRC of such a record can be wrong, and no Postgres reads it either. Hash pages are compared at the end.
    checks: 'heap,heap2,btree,gin,gist,spgist,brin,generic,sequence',
    reaches: ['Heap/LOCK', 'MultiXact/CREATE_ID', 'Heap2/PRUNE_VACUUM_CLEANUP', 'Btree/VACUUM'],
    async run(db) {
      await db.run(
        'create extension if not exists bloom',
        `create table busy (id serial primary key, k int, t text, a int[], p point, r int4range, pad text)
         with (fillfactor = 80)`,
        'create index on busy (k, pad)',
        'create index on busy using hash (k)',
        'create index on busy using gin (a) with (gin_pending_list_limit = 64)',
        'create index on busy using gist (p)',
        'create index on busy using gist (r)',
        'create index on busy using spgist (t)',
        'create index on busy using brin (id, k) with (pages_per_range = 2)',
        'create index on busy using bloom (k, t)',
        `insert into busy (k, t, a, p, r) select i % 40, md5(i::text), array[i % 7, i], point(i, i % 9), int4range(i, i + 5)
         from generate_series(1, 1000) i`,
      );
      const clients: pg.Client[] = [];
      for (let i = 0; i < SESSIONS; i++) clients.push(await db.connect());
      const sessions = { working: true };
      const work = Promise.all(clients.map(session)).finally(() => (sessions.working = false));
      while (sessions.working) await db.run('vacuum busy');
      await work;
      await db.run(
        `set wal_consistency_checking = 'all'`,
        'vacuum (freeze) busy',
        'update busy set k = k + 1',
        'delete from busy where k < 20',
        'vacuum busy',
      );
    },
  },
];
