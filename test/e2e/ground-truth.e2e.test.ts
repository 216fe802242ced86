/**
 * Ground truth: after everything that a client or an administrator can do to Postgres's storage, over two computes of
 * which the first was killed, the pageserver's pages and files at an LSN are those of a real Postgres that recovered
 * the safekeepers' WAL from Ebb's template to that LSN. Then all disks are lost, and what Postgres's own checkers
 * say of the database on a third compute is: nothing.
 */
import { execFile, spawnSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { formatLsn, type Lsn } from '../../lib/postgres/lsn.ts';
import { postgres18 } from '../../lib/postgres/v18/wal.ts';
import { newWalRecord } from '../../lib/postgres/wal/decode-record.ts';
import { WalDecoder } from '../../lib/postgres/wal/decoder.ts';
import { recordTypeName, resourceManagerName } from '../../lib/postgres/wal/describe.ts';
import { startEbb, type Ebb } from '../support/ebb.ts';
import { compareGroundTruth } from '../support/ground-truth.ts';
import { inspectedSubject, inspectedWal, type InspectedTimeline } from '../support/inspected.ts';
import { partOf, superuser } from '../support/inside.ts';
import { leaveUnfinished, mixedWorkload, type WorkloadTarget } from '../support/mixed-workload.ts';
import { recover } from '../support/recovered-postgres.ts';

const havePgbench = spawnSync('pgbench', ['--version']).status === 0;
if (!havePgbench) console.log('pgbench is not installed: that part is left out (Debian: postgresql-contrib)');
const run = promisify(execFile);

/** The steps after this one run on the second compute. */
const KILLED_AFTER = 'TPC-B, four clients';
const PREPARED = ['stays', 'stays too, with a longer name'];

let ebb: Ebb;
let timeline: InspectedTimeline;
beforeAll(async () => {
  ebb = await startEbb();
  const { project, timeline: timelineId } = await ebb.inspectProject();
  timeline = { projectId: project.id, timelineId };
});
afterAll(() => ebb?.stop());

const urlOf = (database: string): string => {
  const url = new URL(ebb.postgresUrl);
  url.pathname = `/${database}`;
  return url.href;
};
async function client(database = 'main'): Promise<pg.Client> {
  const connected = new pg.Client(urlOf(database));
  connected.on('error', () => undefined); // its compute may be killed under it
  await connected.connect();
  return connected;
}
const target = (connect: WorkloadTarget['connect']): WorkloadTarget => ({
  connect,
  query: async <Row extends object>(sql: string, parameters?: unknown[], database?: string) => {
    const connected = await connect(database);
    const { rows } = await connected.query<Row>(sql, parameters);
    await connected.end();
    return rows;
  },
});
const clients = target(client);
const administrator = target((database) => superuser(ebb.pid, database ?? 'main'));

/** Postgres's own access methods beside the B-tree; each is filled, split, emptied and vacuumed. */
const OTHER_INDEXES = `
  create table searched (id int, words tsvector, tags int[], place point, range int4range, label text);
  create index searched_hash on searched using hash (id);
  create index searched_words on searched using gin (words);
  create index searched_tags on searched using gin (tags) with (fastupdate = off);
  create index searched_place on searched using gist (place);
  create index searched_range on searched using spgist (range);
  create index searched_label on searched using spgist (label);
  create index searched_brin on searched using brin (id) with (pages_per_range = 4, autosummarize = on);
  insert into searched select i, to_tsvector('simple', 'w' || i % 97 || ' v' || i), array[i % 13, i], point(i % 71, i),
    int4range(i, i + 5), md5(i::text) from generate_series(1, 4000) i;
  delete from searched where id % 3 = 0;
  vacuum searched;
  insert into searched select i, to_tsvector('simple', 'z' || i), array[i], point(i, 1), int4range(i, i + 9), 'l' || i
    from generate_series(4000, 5000) i;
  reindex table searched`;

async function workload(): Promise<void> {
  for (const step of mixedWorkload) {
    await step.run(step.superuser ? administrator : clients);
    if (step.name !== KILLED_AFTER) continue;
    for (const statement of OTHER_INDEXES.split(/;\n/)) await clients.query(statement);
    if (havePgbench) {
      await clients.query('create database bench');
      await run('pgbench', ['-i', '-q', urlOf('bench')]);
      await run('pgbench', ['-n', '-c', '4', '-t', '80', urlOf('bench')]);
    }
    await leaveUnfinished(clients);
    for (const { pid } of [...partOf(ebb.pid, 'compute'), ...partOf(ebb.pid, 'postgres')])
      process.kill(pid, 'SIGKILL');
    await clients.query('select 1');
  }
}

interface Records {
  firstLsn: Lsn;
  middleLsn: Lsn;
  endLsn: Lsn;
  /** `Heap/INSERT` and so on. */
  types: Map<string, number>;
}
/** Where records begin and end: the first, one in the middle, the last whole one. */
function survey(startLsn: Lsn, wal: Uint8Array): Records {
  const decoder = new WalDecoder({ startLsn, facts: postgres18 });
  decoder.push(wal);
  const record = newWalRecord();
  const types = new Map<string, number>();
  let firstLsn: Lsn | undefined;
  let middleLsn = startLsn;
  while (decoder.next(record)) {
    firstLsn ??= record.lsn;
    if (record.endLsn < startLsn + wal.length / 2) middleLsn = record.endLsn;
    const { resourceManager, info } = record;
    const type = `${resourceManagerName(resourceManager, postgres18)}/${recordTypeName(resourceManager, info, postgres18)}`;
    types.set(type, (types.get(type) ?? 0) + 1);
  }
  return { firstLsn: firstLsn!, middleLsn, endLsn: decoder.endLsn, types };
}

/** What is wanted of the workload: were one of these missing, the comparison would show less than it says. */
const NEEDED = [
  'XLOG/CHECKPOINT_SHUTDOWN XLOG/NEXTOID XLOG/SWITCH',
  'Transaction/COMMIT Transaction/ABORT Transaction/PREPARE Transaction/COMMIT_PREPARED Transaction/ABORT_PREPARED',
  'Storage/CREATE Storage/TRUNCATE Database/CREATE_FILE_COPY Database/CREATE_WAL_LOG Database/DROP',
  'CLOG/ZEROPAGE MultiXact/CREATE_ID MultiXact/ZERO_OFF_PAGE RelMap/UPDATE Standby/RUNNING_XACTS Sequence/LOG',
  'Heap/INSERT Heap/UPDATE Heap/HOT_UPDATE Heap/DELETE Heap/LOCK Heap/INPLACE',
  'Heap2/MULTI_INSERT Heap2/VISIBLE Heap2/LOCK_UPDATED Heap2/PRUNE_ON_ACCESS Heap2/PRUNE_VACUUM_SCAN',
  'Btree/INSERT_LEAF Btree/SPLIT_L Btree/SPLIT_R Btree/DEDUP Btree/VACUUM Btree/UNLINK_PAGE Btree/NEWROOT',
]
  .join(' ')
  .split(' ');

interface Sequence {
  name: string;
  last: string;
  increment: string;
}
const SEQUENCES = `
  select format('%I.%I', schemaname, sequencename) as name, last_value::text as last, increment_by::text as increment
    from pg_sequences s join pg_class c on c.oid = format('%I.%I', schemaname, sequencename)::regclass
   where relpersistence = 'p' and last_value is not null order by 1`;
let sequences: Sequence[];

test('pages and files at an LSN are those of a Postgres that recovered the same WAL', async () => {
  const startedAt = performance.now();
  await clients.query('select 1');
  await workload();
  sequences = await clients.query<Sequence>(SEQUENCES);
  const worked = performance.now();

  const { startLsn, wal } = await inspectedWal(ebb, timeline);
  const { firstLsn, middleLsn, endLsn, types } = survey(startLsn, wal);
  const count = [...types.values()].reduce((sum, each) => sum + each, 0);
  console.log(
    `${count} records of ${types.size} types in ${(wal.length / 2 ** 20).toFixed(1)} MiB, ${formatLsn(startLsn)} to ${formatLsn(endLsn)}: ` +
      [...types.keys()].sort().join(' '),
  );
  expect(NEEDED.filter((type) => !types.has(type))).toEqual([]);

  for (const at of [endLsn, middleLsn]) {
    const subject = await inspectedSubject(ebb, timeline, at);
    await using truth = await recover({
      base: join(ebb.dir, 'template/18'),
      checkPointLsn: firstLsn,
      startLsn,
      wal,
      toLsn: at,
      systemIdentifier: BigInt(subject.manifest.systemIdentifier),
      settings: { max_prepared_transactions: '20' },
    });
    const report = await compareGroundTruth(truth, subject);
    console.log(
      `at ${formatLsn(at)}: ${report.relations} relation forks, ${report.pages} pages, ` +
        `${report.slruPages} SLRU pages, ${report.files} files; ${report.differences.length} differences`,
    );
    expect(report.differences).toEqual([]);
    expect(report.pages).toBeGreaterThan(4000);
  }
  console.log(
    `workload ${Math.round(worked - startedAt)} ms, comparison ${Math.round(performance.now() - worked)} ms`,
  );
});

const PREPARED_NOW =
  'select gid from pg_prepared_xacts where database = current_database() order by prepared';

test('after all disks are lost Postgres finds nothing wrong in any database', async () => {
  await ebb.stopContainers();
  rmSync(join(ebb.dir, 'disks'), { recursive: true, force: true });
  await clients.query('select 1');

  await administrator.query('alter database template0 allow_connections true');
  const databases = await administrator.query<{ name: string }>('select datname as name from pg_database');
  expect(databases.map(({ name }) => name)).toEqual(
    expect.arrayContaining(['main', 'template0', 'template1', 'file_copy', 'third', 'fourth']),
  );
  for (const { name } of databases) {
    const admin = await superuser(ebb.pid, name);
    await admin.query('create extension if not exists amcheck; create extension if not exists pg_visibility');
    const rows = async <Row extends object>(sql: string): Promise<Row[]> =>
      (await admin.query<Row>(sql)).rows;
    const indexes = await rows<{ method: string; checked: number }>(`
      select amname as method, count(case amname when 'btree' then bt_index_check(c.oid, true, true)::text
                                                 else gin_index_check(c.oid)::text end)::int as checked
        from pg_class c join pg_am a on a.oid = c.relam join pg_index i on i.indexrelid = c.oid
       where amname in ('btree', 'gin') and relkind = 'i' and relpersistence <> 't' and indisvalid group by 1 order by 1`);
    const heaps = `pg_class c where relkind in ('r', 'm', 't') and relpersistence <> 't'`;
    const wrong = async (sql: string) => rows(`select relation::text, found::text from (${sql}) each`);
    expect(
      await wrong(`select c.oid::regclass as relation, v as found from pg_class c, lateral verify_heapam(c.oid) v
                    where relkind in ('r', 'm', 't', 'S') and relpersistence <> 't'`),
    ).toEqual([]);
    expect(
      await wrong(`select oid::regclass as relation, pg_check_frozen(oid) as found from ${heaps}`),
    ).toEqual([]);
    expect(
      await wrong(`select oid::regclass as relation, pg_check_visible(oid) as found from ${heaps}`),
    ).toEqual([]);
    const [{ tables, visible, frozen }] = await rows<Record<string, string>>(`
      select count(*) as tables, sum((s).all_visible) as visible, sum((s).all_frozen) as frozen
        from (select pg_visibility_map_summary(oid) as s from ${heaps}) each`);
    console.log(
      `${name}: ${indexes.map(({ method, checked }) => `${checked} ${method} indexes`).join(', ')}, ${tables} tables, ` +
        `${visible} pages all-visible, ${frozen} all-frozen`,
    );
    await admin.end();
  }
});

test('prepared transactions can be ended, unlogged relations are empty, sequences give nothing twice', async () => {
  const rowsOf = async (sql: string, database?: string) => clients.query(sql, undefined, database);
  expect(await rowsOf(PREPARED_NOW)).toEqual(PREPARED.map((gid) => ({ gid })));
  expect(await rowsOf('select a from pinned order by 1')).toEqual([]);
  await clients.query(`commit prepared '${PREPARED[0]}'`);
  expect(await rowsOf('select a from pinned order by 1')).toEqual([{ a: 5 }, { a: 6 }]);
  await clients.query(`rollback prepared '${PREPARED[1]}'`);
  expect(await rowsOf('select a from pinned order by 1')).toEqual([{ a: 5 }, { a: 6 }]);
  expect(await rowsOf(PREPARED_NOW)).toEqual([]);

  for (const [table, database] of [['quick'], ['slow'], ['here_unlogged', 'file_copy']])
    expect(await rowsOf(`select count(*)::int as rows from ${table}`, database)).toEqual([{ rows: 0 }]);
  expect(await rowsOf('select a from quick2')).toEqual([{ a: 1 }]);
  expect(await rowsOf(`insert into quick (body) values ('again') returning id`)).toEqual([{ id: 1 }]);
  expect(await rowsOf(`select nextval('quick_counter')::int as next`)).toEqual([{ next: 1 }]);

  // It was restarted and has given nothing since.
  expect(await rowsOf(`select nextval('counter')::int as next`)).toEqual([{ next: 7 }]);
  expect(sequences.length).toBeGreaterThanOrEqual(2);
  for (const { name, last, increment } of sequences) {
    const [{ next }] = await administrator.query<{ next: string }>(`select nextval('${name}')::text as next`);
    // WAL has them 32 ahead (SEQ_LOG_VALS in commands/sequence.c).
    const steps = (Number(next) - Number(last)) / Number(increment);
    expect(steps, `${name}: ${next} after ${last}`).toBeGreaterThanOrEqual(1);
    expect(steps, `${name}: ${next} after ${last}`).toBeLessThanOrEqual(33);
  }
  // What was unfinished at the kill has not happened.
  expect(await rowsOf(`select to_regclass('never') as relation`)).toEqual([{ relation: null }]);
  expect(await rowsOf('select b from nested where a = 9999')).toEqual([{ b: 'last' }]);
});
