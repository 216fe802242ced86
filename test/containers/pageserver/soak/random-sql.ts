/** Statements at random over a few tables: what a busy and careless application does. */
import type { PostgresCluster } from '../../../support/postgres-cluster.ts';
import type { Random } from './random.ts';

const TABLES = ['one', 'two', 'three'] as const;

const make = (table: string): string =>
  `create table if not exists ${table} (id int primary key, n int not null default 0, body text);
   create index if not exists ${table}_n on ${table} (n)`;

function statement(random: Random): string {
  const table = random.pick(TABLES);
  const [from, some] = [random.below(3_000), 1 + random.below(400)];
  switch (random.below(16)) {
    case 0:
    case 1:
    case 2:
      return `insert into ${table} select i, i % 97, repeat(md5(i::text), 1 + i % 5)
        from generate_series(${from}, ${from + some}) i on conflict (id) do update set n = ${table}.n + 1`;
    case 3:
    case 4:
    case 5:
    case 6:
    case 7:
      return `update ${table} set n = n + 1, body = md5(body) || repeat('y', ${random.below(100)})
        where id between ${from} and ${from + some}`;
    case 8:
    case 9:
      return `delete from ${table} where id between ${from} and ${from + some / 2}`;
    case 10:
      return `vacuum ${table}`;
    case 11:
      return `begin; savepoint a; update ${table} set n = -1 where id < 50; rollback to a;
        update ${table} set n = n where id < 20 and id > 10; commit`;
    case 12:
      return random.chance(0.3)
        ? `truncate ${table}`
        : `select * from ${table} where id = ${from} for update`;
    case 13:
      return random.chance(0.3)
        ? `drop table ${table}; ${make(table)}`
        : `begin; drop table ${table}; rollback`;
    case 14:
      return random.chance(0.4) ? `reindex table ${table}` : `vacuum (freeze) ${table}`;
    default:
      return 'checkpoint';
  }
}

/** Runs `count` statements, each for itself. */
export async function runRandomSql(cluster: PostgresCluster, random: Random, count: number): Promise<void> {
  const client = await cluster.connect();
  const run = async (text: string) => {
    for (const each of text.split(';')) await client.query(each);
  };
  for (const table of TABLES) await run(make(table));
  for (let i = 0; i < count; i++) await run(statement(random));
  await client.end();
}
