/**
 * Bring your own data: a stopped data directory with varied contents and a Postgres under load, imported into a running Ebb by the
 * command, and there the same by counts, contents and amcheck.
 */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startEbb, type Ebb } from '../../support/ebb.ts';
import { PostgresCluster } from '../../support/postgres-cluster.ts';

const run = promisify(execFile);
const BIN = join(import.meta.dirname, '../../../local/bin/ebb.js');
const INITDB = ['--username=postgres', '--data-checksums', '--encoding=UTF8', '--locale=C', '--no-sync'];

let ebb: Ebb;
beforeAll(async () => {
  ebb = await startEbb();
});
afterAll(() => ebb.stop());

interface Imported {
  projectId: string;
  connectionUri: string;
  hasPassword: boolean;
}
async function importInto(source: string): Promise<{ imported: Imported; log: string }> {
  const { stdout, stderr } = await run(process.execPath, [BIN, 'import', source, '--dir', ebb.dir, '--json']);
  return { imported: JSON.parse(stdout) as Imported, log: stderr };
}
async function refusal(source: string): Promise<string> {
  const failed = await run(process.execPath, [BIN, 'import', source, '--dir', ebb.dir]).then(
    () => null,
    (error: { stderr: string }) => error.stderr,
  );
  expect(failed, 'refused').not.toBeNull();
  return failed!;
}
async function withClient<T>(url: string, act: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client(url);
  await client.connect();
  try {
    return await act(client);
  } finally {
    await client.end();
  }
}
/** The URL with another database, and another role and password. */
function urlOf(imported: Imported, database: string, role?: string, password?: string): string {
  const url = new URL(imported.connectionUri);
  url.pathname = `/${database}`;
  if (role !== undefined) url.username = role;
  if (password !== undefined) url.password = password;
  return url.href;
}

/** What both sides are asked. */
const QUESTIONS = [
  `SELECT count(*)::int, sum(hashtext(t::text))::bigint FROM shop.items t`,
  `SELECT count(*)::int, sum(length(body))::bigint FROM shop.texts`,
  `SELECT count(*)::int FROM shop.log`,
  `SELECT array_agg(relname ORDER BY relname) FROM pg_class WHERE relnamespace = 'shop'::regnamespace AND relkind IN ('r','p','v','m','S','i')`,
  `SELECT nextval('shop.items_id_seq')::int`,
  `SELECT * FROM shop.summary ORDER BY 1`,
  `SELECT shop.double(21)`,
  `SELECT md5(lo_get(oid)) FROM pg_largeobject_metadata`,
];
const ask = (client: pg.Client): Promise<unknown[]> =>
  QUESTIONS.reduce<Promise<unknown[]>>(
    async (before, question) => [...(await before), (await client.query(question)).rows],
    Promise.resolve([]),
  );

/** amcheck finds nothing in any B-tree and any table of the database. */
async function expectSound(client: pg.Client): Promise<void> {
  const { rows } = await client.query(
    `SELECT count(bt_index_check(c.oid, true))::int AS indexes FROM pg_class c JOIN pg_am a ON a.oid = relam
     WHERE amname = 'btree' AND relkind = 'i' AND relpersistence = 'p'`,
  );
  expect(rows[0].indexes).toBeGreaterThan(100);
  const damaged = await client.query(
    `SELECT c.oid::regclass, v.* FROM pg_class c, LATERAL verify_heapam(c.oid) v
     WHERE relkind IN ('r', 't', 'm') AND relpersistence = 'p'`,
  );
  expect(damaged.rows).toEqual([]);
}

async function fill(cluster: PostgresCluster): Promise<void> {
  await cluster.query(
    `CREATE ROLE alice LOGIN PASSWORD 'wonder'; CREATE ROLE root SUPERUSER LOGIN PASSWORD 'power'`,
  );
  await cluster.query('CREATE DATABASE shop OWNER alice');
  await cluster.query(
    `CREATE SCHEMA shop; GRANT USAGE ON SCHEMA shop TO alice;
     CREATE TYPE shop.colour AS ENUM ('red', 'green');
     CREATE TABLE shop.items(id serial PRIMARY KEY, name text UNIQUE, tags int[], colour shop.colour DEFAULT 'red', at timestamptz);
     INSERT INTO shop.items(name, tags, at) SELECT 'item ' || i, array[i, i % 7], '2026-01-01'::timestamptz + i * '1 min'::interval FROM generate_series(1, 20000) i;
     CREATE INDEX ON shop.items USING gin (tags); CREATE INDEX ON shop.items USING brin (at); CREATE INDEX ON shop.items USING hash (name);
     DELETE FROM shop.items WHERE id % 5 = 0; UPDATE shop.items SET colour = 'green' WHERE id % 3 = 0;
     CREATE TABLE shop.texts(id int, body text); ALTER TABLE shop.texts ALTER body SET STORAGE EXTERNAL;
     INSERT INTO shop.texts SELECT i, repeat(md5(i::text), 500) FROM generate_series(1, 200) i;
     CREATE TABLE shop.parts(id int, day date) PARTITION BY RANGE (day);
     CREATE TABLE shop.parts_1 PARTITION OF shop.parts FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
     CREATE UNLOGGED TABLE shop.log(id int); INSERT INTO shop.log VALUES (1);
     CREATE VIEW shop.view AS SELECT * FROM shop.items WHERE id < 10;
     CREATE MATERIALIZED VIEW shop.summary AS SELECT colour, count(*) FROM shop.items GROUP BY 1;
     CREATE FUNCTION shop.double(int) RETURNS int LANGUAGE sql AS 'SELECT $1 * 2';
     SELECT lo_from_bytea(0, decode(repeat('ab', 100000), 'hex'));
     CREATE EXTENSION amcheck; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO PUBLIC`,
    undefined,
    'shop',
  );
}

describe('a stopped data directory', () => {
  let cluster: PostgresCluster;
  let truth: unknown[];
  let imported: Imported;
  beforeAll(async () => {
    cluster = await PostgresCluster.create({ superuser: 'postgres', initdbArguments: INITDB });
    await fill(cluster);
  });
  afterAll(() => cluster.remove());

  test('that is not stopped is refused, by name, and left alone', async () => {
    expect(await refusal(cluster.dataDirectory)).toContain('was not stopped cleanly');
    await cluster.query('SELECT 1');
    expect(await refusal(tmpdir())).toContain('no data directory');
  });

  test('comes whole, with its checksums checked and left behind', async () => {
    const client = await cluster.connect('shop');
    await client.query('TRUNCATE shop.log'); // unlogged tables come empty
    truth = await ask(client);
    await cluster.query('CHECKPOINT');
    await cluster.stop();
    const { imported: made, log } = await importInto(cluster.dataDirectory);
    imported = made;
    expect(log).toMatch(/^copy: .* MiB$/m);
    expect(log).toMatch(/^import: .* MiB$/m);
    expect(imported.hasPassword).toBe(true);
    await withClient(urlOf(imported, 'shop'), async (owner) => {
      const found = await ask(owner);
      truth[4] = [{ nextval: 20_002 }]; // the source took one too
      expect(found).toEqual(truth);
      await owner.query('INSERT INTO shop.log VALUES (2)');
      await owner.query('ALTER TABLE shop.items ADD COLUMN note text');
      const { rows } = await owner.query(
        `SELECT rolsuper FROM pg_roles WHERE rolname IN ('postgres', 'root', 'alice')`,
      );
      expect(rows).toEqual([{ rolsuper: false }, { rolsuper: false }, { rolsuper: false }]);
    });
  });

  test('its indexes are sound (amcheck), and its roles have their passwords', async () => {
    await withClient(urlOf(imported, 'shop'), async (owner) => {
      await expectSound(owner);
    });
    await withClient(urlOf(imported, 'shop', 'alice', 'wonder'), async (alice) => {
      expect((await alice.query('SELECT current_user')).rows).toEqual([{ current_user: 'alice' }]);
    });
  });
});

test('what is not an import’s is refused by the control plane', async () => {
  const put = async (project: string, name: string): Promise<unknown> => {
    const response = await fetch(`${ebb.httpUrl}/api/v2/projects/${project}/import/${name}`, {
      method: 'PUT',
      headers: { Authorization: `Bearer ${ebb.apiKey}` },
      body: 'x',
    });
    return [response.status, ((await response.json()) as { code: string }).code];
  };
  const listed = await fetch(`${ebb.httpUrl}/api/v2/projects`, {
    headers: { Authorization: `Bearer ${ebb.apiKey}` },
  });
  const { projects } = (await listed.json()) as { projects: { id: string; name: string }[] };
  const first = projects.find(({ name }) => name === 'main')!.id;
  const imported = projects.find(({ name }) => name !== 'main')!.id;
  expect(await put(first, 'index-00000000.json')).toEqual([409, 'NOT_AN_IMPORT']);
  expect(await put(imported, 'index-00000000.json')).toEqual([409, 'IMPORTED']);
  expect(await put(imported, 'something')).toEqual([400, 'BAD_REQUEST']);
  expect(await put('none', 'index-00000000.json')).toEqual([404, 'NOT_FOUND']);
});

describe('a running Postgres', () => {
  let cluster: PostgresCluster;
  let load: ChildProcess | null = null;
  beforeAll(async () => {
    cluster = await PostgresCluster.create({
      superuser: 'postgres',
      initdbArguments: [
        '--username=postgres',
        '--no-data-checksums',
        '--encoding=UTF8',
        '--locale=C',
        '--no-sync',
      ],
      settings: { full_page_writes: 'on', max_wal_senders: '5', wal_level: 'replica' },
    });
    await cluster.query(`CREATE ROLE copier LOGIN REPLICATION PASSWORD 'carbon'`);
    await cluster.query('CREATE DATABASE bank');
    await cluster.query(
      'CREATE EXTENSION amcheck; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO PUBLIC',
      undefined,
      'bank',
    );
    writeFileSync(
      join(cluster.dataDirectory, 'pg_hba.conf'),
      'local replication copier scram-sha-256\nlocal all postgres trust\n',
    );
    await cluster.query('SELECT pg_reload_conf()');
    await run('pgbench', ['-h', cluster.socketDirectory, '-U', 'postgres', '-i', '-s', '2', '-q', 'bank']);
  });
  afterAll(async () => {
    load?.kill();
    await cluster.remove();
  });

  test('under load comes as it was at one moment', async () => {
    load = spawn(
      'pgbench',
      ['-h', cluster.socketDirectory, '-U', 'postgres', '-c', '4', '-T', '600', '-n', 'bank'],
      { stdio: 'ignore' },
    );
    const client = await cluster.connect('bank');
    const history = async (): Promise<number> =>
      Number((await client.query('SELECT count(*) FROM pgbench_history')).rows[0].count);
    await expect.poll(history, { timeout: 30_000 }).toBeGreaterThan(50);
    const before = await history();
    const url = `postgres://copier:carbon@/?host=${encodeURIComponent(cluster.socketDirectory)}`;
    const { imported, log } = await importInto(url);
    const after = await history();
    load.kill();
    await once(load, 'exit');
    expect(log).toMatch(/^backup: .* MiB$/m);
    await withClient(urlOf(imported, 'bank'), async (owner) => {
      const { rows } = await owner.query(`
        SELECT (SELECT count(*) FROM pgbench_history)::int AS history,
          (SELECT sum(abalance) FROM pgbench_accounts)::bigint AS accounts,
          (SELECT sum(bbalance) FROM pgbench_branches)::bigint AS branches,
          (SELECT sum(tbalance) FROM pgbench_tellers)::bigint AS tellers,
          (SELECT sum(delta) FROM pgbench_history)::bigint AS deltas,
          (SELECT count(*) FROM pgbench_accounts)::int AS count`);
      const [{ history: count, accounts, branches, tellers, deltas, count: accountCount }] = rows;
      expect(count).toBeGreaterThanOrEqual(before);
      expect(count).toBeLessThanOrEqual(after);
      expect(accountCount).toBe(200_000);
      expect([accounts, branches, tellers]).toEqual([deltas, deltas, deltas]);
      await expectSound(owner);
    });
    const wrong = `postgres://copier:wrong@/?host=${encodeURIComponent(cluster.socketDirectory)}`;
    expect(await refusal(wrong)).toContain('28P01');
  });
});
