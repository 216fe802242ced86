/**
 * The data directory's two kinds, one story: what is written comes back after a suspend, after a kill and after the
 * loss of every disk, whether Postgres's files are pages fetched on demand (FUSE) or a folder filled before it starts
 * (where FUSE cannot be had).
 */
import { existsSync, lstatSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { formatLsn, parseLsn } from '../../lib/postgres/lsn.ts';
import { maskHeapPage } from '../../lib/postgres/redo/heap-mask.ts';
import { pageOver } from '../../lib/postgres/page/page.ts';
import { ENV } from '../../lib/protocol/specs.ts';
import { startEbb, type Ebb } from '../support/ebb.ts';
import { partOf, runningCompute, superuser } from '../support/inside.ts';

const haveFuse = existsSync('/dev/fuse');
if (!haveFuse) console.log('/dev/fuse is not here: the story is told with a plain folder only');

describe.each(haveFuse ? (['fuse', 'plain'] as const) : (['plain'] as const))('on a %s directory', (mode) => {
  let ebb: Ebb;
  beforeAll(async () => {
    ebb = await startEbb({ suspendAfter: 2, environment: { [ENV.dataDirectory]: mode } });
  });
  afterAll(() => ebb?.stop());

  async function withClient<T>(use: (client: pg.Client) => Promise<T>): Promise<T> {
    const client = new pg.Client(ebb.postgresUrl);
    client.on('error', () => undefined); // its compute is killed under it
    await client.connect();
    try {
      return await use(client);
    } finally {
      await client.end().catch(() => undefined);
    }
  }
  const rows = (sql: string) => withClient(async (client) => (await client.query(sql)).rows as unknown[]);
  const asleep = () => ebb.waitFor(() => runningCompute(ebb.pid) === null, 30_000, 'the compute to suspend');

  test('boots on it', async () => {
    expect(await rows('select 1 as one')).toEqual([{ one: 1 }]);
    expect(await ebb.computeStatus()).toMatchObject({ dataDirectory: { mode } });
    const { pid, dataDirectory } = runningCompute(ebb.pid)!;
    const mounted = readFileSync(`/proc/${pid}/mounts`, 'utf8')
      .split('\n')
      .some((line) => line.includes(ebb.dir) && line.split(' ')[2].startsWith('fuse'));
    expect(mounted).toBe(mode === 'fuse');
    expect(lstatSync(join(dataDirectory, 'base')).isSymbolicLink()).toBe(mode === 'fuse');
  });

  test('an INSERT comes to its page in the pageserver', async () => {
    const { project, timeline } = await ebb.inspectProject();
    await withClient(async (client) => {
      await client.query('create table rust_meetups (name text, date date)');
      await client.query(`insert into rust_meetups (name, date) values ('RustAU Sydney', '2024-04-17')`);
      const admin = await superuser(ebb.pid, 'main');
      await admin.query('create extension if not exists pageinspect');
      const [found] = (
        await admin.query<{ lsn: string; db: string; rel: string; page: Buffer }>(
          `select pg_current_wal_insert_lsn() as lsn, get_raw_page('rust_meetups', 0) as page,
                  pg_relation_filenode('rust_meetups') as rel, oid as db
             from pg_database where datname = current_database()`,
        )
      ).rows;
      await admin.end();
      const query = `spc=1663&db=${found.db}&rel=${found.rel}&block=0&lsn=${formatLsn(parseLsn(found.lsn))}`;
      const response = await ebb.inspect(`/projects/${project.id}/pageserver/${timeline}/page?${query}`);
      const page = Buffer.from(await response.arrayBuffer());
      expect(page.includes('RustAU Sydney')).toBe(true);
      for (const each of [page, found.page]) maskHeapPage(pageOver(each), 0);
      expect(page.equals(found.page)).toBe(true);
    });
  });

  /** Of tables that grow, shrink, move and vanish. */
  const CONTENTS = `
    select (select count(*)::int from grown) as grown, (select sum(length(body))::int from grown) as bytes,
           (select count(*)::int from shrunk) as shrunk, (select count(*)::int from moved) as moved,
           (select count(*)::int from volatile) as volatile, to_regclass('dropped') as dropped,
           (select count(*)::int from grown where id between 100 and 199) as indexed`;

  test('what was written is there after a suspend', async () => {
    await withClient(async (client) => {
      for (const statement of [
        `create table grown (id int primary key, body text)`,
        `insert into grown select i, repeat('g', 500) from generate_series(1, 2000) i`,
        `insert into grown select i, string_agg(md5((i * j)::text), '') from generate_series(2001, 2020) i, generate_series(1, 400) j group by i`,
        `create table shrunk as select i as id, repeat('s', 500) as body from generate_series(1, 2000) i`,
        `create table moved as select i as id from generate_series(1, 5000) i`,
        `create table dropped as select 1`,
        `create unlogged table volatile (id int primary key)`,
        `insert into volatile select generate_series(1, 100)`,
      ])
        await client.query(statement);
    });
    const before = runningCompute(ebb.pid)!.pid;
    await asleep();
    // A new compute has only what is in the WAL: an unlogged table begins anew, after a clean stop too.
    const expected = { grown: 2020, bytes: 1_256_000, shrunk: 2000, moved: 5000, volatile: 0, indexed: 100 };
    expect((await rows(CONTENTS))[0]).toMatchObject(expected);
    expect(runningCompute(ebb.pid)!.pid).not.toBe(before);

    await withClient(async (client) => {
      for (const statement of [
        `delete from shrunk where id > 20`,
        `vacuum shrunk`,
        `delete from moved where id > 1000`,
        `vacuum full moved`,
        `drop table dropped`,
        `insert into grown select i, 'later' from generate_series(3001, 4000) i`,
        `insert into volatile values (7)`,
      ])
        await client.query(statement);
    });
    await asleep();
    expect((await rows(CONTENTS))[0]).toEqual({
      ...expected,
      grown: 3020,
      bytes: 1_261_000,
      shrunk: 20,
      moved: 1000,
      dropped: null,
    });
  });

  test('what was acknowledged is there after a kill', async () => {
    await withClient((client) => client.query('create table visits (n int)'));
    let acknowledged = 0;
    for (const part of ['postgres', 'compute'] as const) {
      await withClient(async (client) => {
        for (let i = 0; i < 20; i++) await client.query('insert into visits values ($1)', [++acknowledged]);
        await client.query('begin; insert into visits values (-1)');
        const victims = partOf(ebb.pid, part);
        expect(victims.length).toBeGreaterThan(0);
        for (const { pid } of victims) process.kill(pid, 'SIGKILL');
      });
    }
    expect(await rows('select n from visits order by n')).toEqual(
      Array.from({ length: acknowledged }, (_, i) => ({ n: i + 1 })),
    );
  });

  test('all of it is there, and sound, after every disk is lost', async () => {
    await ebb.stopContainers();
    rmSync(join(ebb.dir, 'disks'), { recursive: true, force: true });
    expect(await rows('select name, date::text from rust_meetups')).toEqual([
      { name: 'RustAU Sydney', date: '2024-04-17' },
    ]);
    expect((await rows(CONTENTS))[0]).toMatchObject({
      grown: 3020,
      bytes: 1_261_000,
      shrunk: 20,
      moved: 1000,
    });
    expect(await ebb.computeStatus()).toMatchObject({ dataDirectory: { mode } });
    await withClient(async () => {
      const admin = await superuser(ebb.pid, 'main');
      await admin.query('create extension if not exists amcheck');
      await admin.query(
        `select bt_index_check(i.indexrelid, true) from pg_index i join pg_class c on c.oid = i.indexrelid
          where c.relam = 403 and c.relkind = 'i'`,
      );
      const { rows: wrong } = await admin.query(
        `select c.oid::regclass::text, v.* from pg_class c, lateral verify_heapam(c.oid) v where relkind in ('r', 'm', 't')`,
      );
      expect(wrong).toEqual([]);
      await admin.end();
    });
  });
});
