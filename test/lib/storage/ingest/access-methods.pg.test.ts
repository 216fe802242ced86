/**
 * Every kind of index. Those that redo does not know: their WAL is ingested, everything else stays exact, and a read
 * of one of their pages fails with the name of the resource manager.
 */
import { expect, test } from 'vitest';
import { resourceManagers } from '../../../../lib/postgres/redo/redo.ts';
import { postgres18 } from '../../../../lib/postgres/v18/wal.ts';
import { resourceManagerName } from '../../../../lib/postgres/wal/describe.ts';
import { RM } from '../../../../lib/postgres/wal/facts.ts';
import { compareGroundTruth } from '../../../support/ground-truth.ts';
import type { PostgresCluster } from '../../../support/postgres-cluster.ts';
import { RecordedTimeline } from '../../../support/recorded-timeline.ts';

const statements = `
  create extension bloom;
  create table item (id int primary key, words int[], spot point, name text, at int4range);
  create index on item using gin (words);
  create index on item using gist (spot);
  create index on item using spgist (name);
  create index on item using hash (id);
  create index on item using brin (id);
  create index on item using bloom (id);
  insert into item select i, array[i % 10, i % 7], point(i, i % 50), md5(i::text), int4range(i, i + 5)
    from generate_series(1, 4000) i;
  delete from item where id % 3 = 0;
  vacuum item;
  update item set words = '{1,2,3}' where id % 10 = 0;
  create database copied strategy file_copy template postgres;
  create table after (a int primary key);
  insert into after select generate_series(1, 500)`;

async function run(cluster: PostgresCluster): Promise<void> {
  // CREATE DATABASE needs its template without connections, but for the one that asks.
  for (const statement of statements.split(';')) await cluster.query(statement);
}

test('of indexes that redo does not know sizes are right and pages fail by name; all else is equal', async () => {
  const recorded = await RecordedTimeline.record({
    settings: { autovacuum: 'off' },
    steps: [{ name: 'indexes', run }],
  });
  const cut = recorded.cut('end');
  await using truth = await recorded.recoveredAt(cut);
  const report = await compareGroundTruth(truth, await recorded.subjectAt(cut));
  const reasons = report.differences.map((line) => /redo of (\w+)\/.*not supported$/.exec(line)?.[1] ?? line);
  const unknown = [RM.HASH, RM.GIN, RM.GIST, RM.SPGIST, RM.BRIN, RM.GENERIC].filter(
    (id) => resourceManagers[id] === undefined,
  );
  // One index of each kind, and its copy in the copied database.
  const expected = unknown.map((id) => resourceManagerName(id, postgres18));
  expect(reasons.sort()).toEqual([...expected, ...expected].sort());
});
