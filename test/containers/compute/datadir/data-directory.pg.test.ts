/**
 * A real Postgres on a data directory whose pages come from elsewhere: on FUSE, where this machine can mount it, and on
 * the plain folder. Both must behave as the cluster that the pages are of.
 */
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { openDataDirectory } from '../../../../containers/compute/datadir/data-directory.ts';
import { mountAt } from '../../../../containers/compute/datadir/mount.ts';
import { batches, WARM_BATCH_PAGES } from '../../../../containers/compute/datadir/page-fetcher.ts';
import type { DataDirectory, DataDirectoryContent } from '../../../../containers/compute/datadir/types.ts';
import { lsn } from '../../../../lib/postgres/lsn.ts';
import { PostgresCluster } from '../../../support/postgres-cluster.ts';
import { fuseMissing } from './fuse-available.ts';
import { PostgresOn, postgresIdentity } from './postgres-on.ts';
import { describeCluster, StoppedCluster } from './stopped-cluster.ts';

const SETTINGS = { max_prepared_transactions: '5', autovacuum: 'off' };

let cluster: PostgresCluster;
let expected: Record<string, unknown>;
let folder: string;
/** What must be the same on the cluster and on a data directory made of it. */
const QUESTION = `select (select count(*)::int from t) as rows, (select sum(length(b))::int from t) as bytes,
  (select count(*)::int from t where a between 100 and 199) as by_index, (select sum(a)::int from part) as part,
  (select length(big) from toasted) as toasted`;

beforeAll(async () => {
  cluster = await PostgresCluster.create({ settings: SETTINGS });
  await cluster.query(`
    create table t as select g as a, repeat(g::text, 5) as b from generate_series(1, 30000) g;
    create index on t (a); create index on t (b);
    create table part (a int) partition by range (a);
    create table part_1 partition of part for values from (0) to (500);
    create table part_2 partition of part for values from (500) to (1000);
    insert into part select generate_series(1, 999);
    create unlogged table scratch as select generate_series(1, 1000) as a; create index on scratch (a);
    create table toasted (big text);
    insert into toasted select string_agg(md5(g::text), '') from generate_series(1, 20000) g;
    create sequence s; select nextval('s');
    create extension amcheck; create extension pg_visibility; create extension pageinspect;`);
  await cluster.query('vacuum analyze');
  [expected] = await cluster.query(QUESTION);
  await cluster.stop();
  folder = mkdtempSync(join(tmpdir(), 'ebb-datadir-pg-'));
  chmodSync(folder, 0o711);
});
afterAll(async () => {
  await cluster.remove();
  rmSync(folder, { recursive: true, force: true });
});

let made = 0;
interface World {
  directory: DataDirectory;
  source: StoppedCluster;
  home: string;
  errors: { fields: Record<string, unknown>; message: string }[];
}
async function open(mode: 'fuse' | 'plain', more: Partial<DataDirectoryContent> = {}): Promise<World> {
  const home = join(folder, String(made++));
  mkdirSync(home);
  const source = new StoppedCluster(cluster.dataDirectory);
  const errors: World['errors'] = [];
  const silent = (): void => undefined;
  const directory = await openDataDirectory({
    mode,
    mountPoint: join(home, 'mount'),
    backingDir: join(home, 'backing'),
    ...(await postgresIdentity()),
    log: {
      info: silent,
      warn: silent,
      error: (fields, message) => errors.push({ fields: fields as Record<string, unknown>, message }),
    },
    ...describeCluster(cluster.dataDirectory),
    pages: source,
    lsn: lsn(0x300_0000),
    ...more,
  });
  onTestFinished(() => directory.close());
  return { directory, source, home, errors };
}
async function start(directory: DataDirectory, settings: Record<string, string> = {}): Promise<PostgresOn> {
  const server = await PostgresOn.start(directory.path, { ...SETTINGS, ...settings });
  let stopped = false;
  const stop = server.stop.bind(server);
  server.stop = async () => {
    if (!stopped) {
      stopped = true;
      await stop();
    }
  };
  onTestFinished(() => server.stop());
  return server;
}

/** amcheck of every table and every B-tree of a database; throws where one is corrupt. */
async function checkDatabase(server: PostgresOn, database: string): Promise<void> {
  const corrupt = await server.query(
    `select c.relname, v.* from pg_class c, lateral verify_heapam(c.oid) v
     where c.relkind in ('r', 't', 'm') and c.relpersistence <> 't'`,
    database,
  );
  expect(corrupt).toEqual([]);
  await server.query(
    `select bt_index_check(i.indexrelid, true) from pg_index i join pg_class c on c.oid = i.indexrelid
     join pg_am am on am.oid = c.relam where am.amname = 'btree' and c.relpersistence <> 't' and i.indisvalid
     and c.relkind = 'i'`,
    database,
  );
  const unset = await server.query(
    `select c.relname from pg_class c, lateral pg_check_visible(c.oid) v where c.relkind in ('r', 't')
     and c.relpersistence = 'p' limit 1`,
    database,
  );
  expect(unset).toEqual([]);
}

describe.each(['fuse', 'plain'] as const)('on %s', (mode) => {
  const unavailable = mode === 'fuse' ? fuseMissing : undefined;
  const why = unavailable ? `: ${unavailable}` : '';
  test.skipIf(unavailable)(`Postgres works as on its own files${why}`, async () => {
    const { directory, errors } = await open(mode);
    const server = await start(directory);
    expect(await server.query(QUESTION)).toEqual([expected]);
    // The unlogged table is empty, as after a crash, and can be used.
    expect(await server.query('select count(*)::int as n from scratch')).toEqual([{ n: 0 }]);
    await server.query('insert into scratch select generate_series(1, 5000)');
    expect(await server.query('select count(*)::int as n from scratch where a > 10')).toEqual([{ n: 4990 }]);
    await checkDatabase(server, 'postgres');

    const client = await server.connect();
    const n = async (sql: string): Promise<unknown> =>
      ((await client.query(sql)).rows[0] as { n: unknown }).n;
    await client.query(
      'create table made as select g as a, md5(g::text) as b from generate_series(1, 20000) g',
    );
    await client.query(
      'create index on made (b); create index on made using gin (to_tsvector($$simple$$, b))',
    );
    await client.query('create index on made using brin (a); create index on made using hash (a)');
    expect(await n(`select count(*)::int as n from made where b = md5('77')`)).toBe(1);
    await client.query('update t set b = b || $$!$$ where a % 3 = 0; delete from t where a > 25000');
    await client.query('vacuum t');
    await client.query('vacuum full t');
    expect(await n('select count(*)::int as n from t')).toBe(25_000);
    await client.query('begin; truncate part_1; insert into part values (7)');
    expect(await n('select count(*)::int as n from part_1')).toBe(1);
    await client.query('rollback');
    await client.query('truncate part_2; insert into part_2 values (600)');
    expect(await n('select count(*)::int as n from part')).toBe(500);
    await client.query(`begin; insert into part values (3); prepare transaction 'p'`);
    await client.query(`commit prepared 'p'`);
    expect(await n('select count(*)::int as n from part')).toBe(501);
    await client.query(`select setval('s', 500)`);
    await client.query('set work_mem = 64; create temp table temporary as select * from made order by b');
    expect(await n('select count(*)::int as n from (select b from temporary order by b) x')).toBe(20_000);
    await client.query('drop table made');
    await client.end();
    await server.query('create database copied_files template postgres strategy file_copy', 'template1');
    await server.query('create database copied_wal template postgres strategy wal_log', 'template1');
    for (const database of ['copied_files', 'copied_wal']) {
      expect(await server.query('select count(*)::int as n from t', database)).toEqual([{ n: 25_000 }]);
      await checkDatabase(server, database);
      await server.query('create table in_it as select * from t', database);
    }
    await server.query('drop database copied_files', 'template1');
    await checkDatabase(server, 'postgres');
    await server.stop();

    // What was written through the data directory is what a later start on it reads.
    const again = await start(directory);
    expect(await again.query('select count(*)::int as n from t')).toEqual([{ n: 25_000 }]);
    expect(await again.query(`select nextval('s')::int as n`)).toEqual([{ n: 501 }]);
    expect(await again.query('select count(*)::int as n from in_it', 'copied_wal')).toEqual([{ n: 25_000 }]);
    await checkDatabase(again, 'postgres');
    await checkDatabase(again, 'copied_wal');
    await again.stop();
    await directory.close();
    expect(errors).toEqual([]);
  });

  test.skipIf(unavailable)(`a crash of Postgres recovers from the local WAL${why}`, async () => {
    const { directory } = await open(mode);
    const server = await start(directory);
    await server.query('create table kept as select generate_series(1, 10000) as a');
    const client = await server.connect();
    client.on('error', () => undefined);
    const [{ pid }] = (await client.query<{ pid: number }>('select pg_backend_pid() as pid')).rows;
    const gone = new Promise((resolve) => client.once('end', resolve));
    process.kill(pid, 'SIGKILL'); // the postmaster restarts everything
    await gone;
    await server.waitForLog('all server processes terminated; reinitializing');
    await server.waitForLog('database system is ready to accept', 2);
    expect(await server.query('select count(*)::int as n from kept')).toEqual([{ n: 10_000 }]);
    expect(await server.query(QUESTION)).toEqual([expected]);
    await server.stop();
  });
});

describe.skipIf(fuseMissing)(`pages${fuseMissing ? `: ${fuseMissing}` : ''}`, () => {
  test('only what is read is fetched, and the next session asks for it before anything is read', async () => {
    const first = await open('fuse');
    const server = await start(first.directory);
    await server.query('select a from t where a = 77');
    const cold = first.directory.statistics();
    expect(cold.pagesFetched).toBeLessThan(400);
    const warmPages = first.directory.takeWarmPages();
    await server.stop();
    await first.directory.close();

    const second = await open('fuse', { warmPages });
    const warm = await start(second.directory);
    await warm.query('select a from t where a = 77');
    const asked = batches(warmPages, WARM_BATCH_PAGES);
    expect(second.source.requests.slice(0, asked.length)).toEqual(asked);
    const { misses, fetchesFailed } = second.directory.statistics();
    expect(fetchesFailed).toBe(0);
    expect(misses).toBeLessThan(cold.misses / 2);
    await warm.stop();
  });

  test('a page that cannot be had is an error of its query, and of no other', async () => {
    const { directory, source, errors } = await open('fuse');
    const server = await start(directory);
    const [{ node }] = await server.query<{ node: number }>(`select pg_relation_filenode('t')::int as node`);
    source.fail = (run) =>
      run.kind === 'relation' && run.relNumber === node && run.fork === 0
        ? new Error(`redo of ${node} failed`)
        : undefined;
    await expect(server.query('select count(*) from t')).rejects.toMatchObject({ code: '58030' });
    expect(await server.query('select count(*)::int as n from part')).toEqual([{ n: 999 }]);
    expect(errors[0].fields['path']).toMatch(new RegExp(`^base/\\d+/${node}$`));
    expect(String(errors[0].fields['err'])).toContain(`redo of ${node} failed`);
    source.fail = undefined;
    expect(await server.query(QUESTION)).toEqual([expected]);
    await server.stop();
  });

  test('closing under a running Postgres gives it errors, and leaves no mount', async () => {
    const { directory, source, home } = await open('fuse');
    const server = await start(directory);
    const client = await server.connect();
    client.on('error', () => undefined);
    source.delayMs = 600_000; // an answer that does not come
    const asked = source.nextRequest();
    const query = client.query('select count(*) from t').then(
      () => 'answered',
      () => 'failed',
    );
    await asked;
    await directory.close();
    expect(await query).toBe('failed');
    expect(mountAt(join(home, 'mount'))).toBeUndefined();
    expect(existsSync(join(home, 'mount')) && readdirSync(join(home, 'mount'))).toEqual([]);
    await client.end().catch(() => undefined);
  });
});
