/** `ebb inspect` in a running Ebb: a row is found on its page, in the WAL, and its way is seen in the tables. */
import { once } from 'node:events';
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { spawnEbb, startEbb, type Ebb } from '../../support/ebb.ts';

let ebb: Ebb;
let before: string;
beforeAll(async () => {
  ebb = await startEbb();
  const client = new pg.Client(ebb.postgresUrl);
  await client.connect();
  await client.query('CREATE TABLE rust_meetups (name text PRIMARY KEY, date date)');
  const { rows } = await client.query<{ lsn: string }>('SELECT pg_current_wal_lsn()::text AS lsn');
  before = rows[0].lsn;
  await client.query(`INSERT INTO rust_meetups VALUES ('RustAU Sydney', '2024-04-17')`);
  await client.end();
});
afterAll(() => ebb.stop());

async function inspect(...args: string[]): Promise<string> {
  const child = spawnEbb(['inspect', ...args, `--dir=${ebb.dir}`]);
  let [stdout, stderr] = ['', ''];
  child.stdout!.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr!.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  await once(child, 'close');
  if (child.exitCode !== 0) throw new Error(stderr);
  return stdout;
}

test('page, by name: the tuple, decoded', async () => {
  const text = await inspect('page', '--relation', 'rust_meetups');
  expect(text).toContain('page of a heap');
  expect(text).toMatch(/xmin \d+, xmax 0, .*ctid \(0,1\), 2 attributes/);
  expect(text).toContain('RustAU');
});

test('page, by name and LSN: before the INSERT it is not there', async () => {
  const text = await inspect('page', '--relation', 'rust_meetups_pkey', '--block', '1');
  expect(text).toContain('page of a btree');
  expect(text).toMatch(/heap \(0,1\)[^]*RustAU/);
  await expect(inspect('page', '--relation', 'rust_meetups', '--lsn', before)).rejects.toThrow(
    /no such page as of/,
  );
});

test('wal: the records, by resource manager and type', async () => {
  const text = await inspect('wal', '--from', before);
  expect(text).toMatch(/Heap\/INSERT\+INIT +xid \d+/);
  expect(text).toMatch(/Btree\/INSERT_LEAF[^]*Transaction\/COMMIT/);
  expect(text).toMatch(/block 0: 1663\/\d+\/\d+ block 0, \d+ bytes of data/);
  const { records } = JSON.parse(await inspect('wal', '--from', before, '--json')) as { records: unknown[] };
  expect(records.length).toBeGreaterThanOrEqual(4);
});

test('safekeepers: the three, at one position', async () => {
  const rows = JSON.parse(await inspect('safekeepers', '--json')) as { term: number; commitLsn: string }[];
  expect(rows).toHaveLength(3);
  expect(await inspect('safekeepers')).toMatch(/safekeeper +term +flushLsn/);
});

test('layers: a table', async () => {
  expect(await inspect('layers')).toMatch(/lastRecordLsn: 0\/[0-9A-F]+/);
});

test('what cannot be had is said in one line', async () => {
  for (const [args, words] of [
    [['page', '--relation', 'nowhere'], /relation "nowhere" does not exist/],
    [['page', '--rel', '1/2'], /1663\/16384\/16385/],
    [['page'], /--relation or --rel/],
    [['wal', '--from', 'here'], /--from: not an LSN/],
    [['safekeepers', '--branch', 'none'], /no branch none/],
  ] as const) {
    await expect(inspect(...args), args.join(' ')).rejects.toThrow(words);
  }
});

test('the pageserver’s metrics, for Prometheus, with the account’s key', async () => {
  const listed = await fetch(`${ebb.httpUrl}/api/v2/projects`, {
    headers: { Authorization: `Bearer ${ebb.apiKey}` },
  });
  const { projects } = (await listed.json()) as { projects: { id: string }[] };
  const url = `${ebb.httpUrl}/inspect/projects/${projects[0].id}/metrics`;
  expect((await fetch(url)).status).toBe(401);
  const response = await fetch(url, { headers: { Authorization: `Bearer ${ebb.apiKey}` } });
  expect(response.headers.get('content-type')).toContain('text/plain');
  const text = await response.text();
  expect(text).toMatch(/^ebb_pageserver_up 1$/m);
  expect(text).toMatch(/^ebb_pageserver_ingested_records_total [1-9]\d*$/m);
  expect(text).toMatch(/^ebb_pageserver_last_record_lsn\{timeline="[0-9a-f]{32}"\} [1-9]\d*$/m);
});
