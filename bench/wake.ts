/**
 * Wake: from suspended (neither compute nor pageserver runs, their disks are gone) to the first row at a client, at
 * some sizes of the database; with only the compute suspended; and a new project, from the API's POST to its first row.
 *
 *   node bench/wake.ts [wakes per size, default 10] [sizes in MB, default 50 1000]
 *     --dir FOLDER      kept, so that filling and measuring can be two runs
 *     --relations N     so many tables with an index each besides
 *     --fill-only       measures nothing
 */
import { parseArgs } from 'node:util';
import pg from 'pg';
import { startEbb } from '../test/support/ebb.ts';
import { median, quantile, table } from './support.ts';
import { printTimeline, traceWake, type Stations } from './wake-timeline.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { dir: { type: 'string' }, relations: { type: 'string' }, 'fill-only': { type: 'boolean' } },
});
const [wakes = 10, ...given] = positionals.map(Number);
const tables = Number(values.relations ?? 0);
const sizes = given.length > 0 ? given : [50, 1000];
const NEW_PROJECTS = 5;
const begun = performance.now();
const ebb = await startEbb(values.dir === undefined ? {} : { dir: values.dir });
console.error(`ebb start: ${(performance.now() - begun).toFixed(0)} ms`);
const rows: string[][] = [];

interface Status {
  bootMs: Record<string, number>;
  dataDirectory: { pagesFetched: number; misses: number };
}

async function firstRow(url: string, text: string, values: unknown[] = []): Promise<number> {
  const begin = performance.now();
  const client = new pg.Client(url);
  await client.connect();
  await client.query(text, values);
  const ms = performance.now() - begin;
  await client.end();
  return ms;
}

function report(what: string, times: readonly number[], pages = ''): void {
  const ms = [Math.min(...times), median(times), quantile(times, 0.95)].map((value) => value.toFixed(0));
  rows.push([what, String(times.length), ...ms, pages]);
}

/** In batches: a transaction holds a lock for each. */
async function makeTables(): Promise<void> {
  const client = new pg.Client(ebb.postgresUrl);
  await client.connect();
  const { rows: found } = await client.query(
    "SELECT count(*)::int AS n FROM pg_class WHERE relname ~ '^many_[0-9]+$' AND relkind = 'r'",
  );
  for (let n = Number(found[0].n); n < tables; n += 500) {
    const last = Math.min(n + 500, tables);
    await client.query(`DO $$ BEGIN FOR i IN ${n + 1}..${last} LOOP
      EXECUTE format('CREATE TABLE many_%s (id bigint PRIMARY KEY)', i); END LOOP; END $$`);
    console.error(`made ${last} of ${tables} tables`);
  }
  await client.end();
}

async function newProject(): Promise<number> {
  const begin = performance.now();
  const response = await fetch(`${ebb.httpUrl}/api/v2/projects`, {
    method: 'POST',
    headers: { authorization: `Bearer ${ebb.apiKey}`, 'content-type': 'application/json' },
    body: JSON.stringify({ project: { name: 'bench' } }),
  });
  const created = (await response.json()) as { connection_uris: { connection_uri: string }[] };
  await firstRow(created.connection_uris[0].connection_uri, 'SELECT 1');
  return performance.now() - begin;
}

try {
  const inspected = await ebb.inspectProject();
  const status = async (): Promise<Status> => {
    const path = `/projects/${inspected.project.id}/endpoints/${inspected.endpoint.id}`;
    return (await (await ebb.inspect(path)).json()) as Status;
  };
  let filled = 0;
  await makeTables();
  for (const size of sizes) {
    const client = new pg.Client(ebb.postgresUrl);
    await client.connect();
    await client.query('CREATE TABLE IF NOT EXISTS filler (id bigint PRIMARY KEY, payload text)');
    const { rows: held } = await client.query('SELECT coalesce(max(id), 0)::bigint AS id FROM filler');
    filled = Number(held[0].id) / 1000;
    // About 1 kB a row with its index entry: 1,000 rows are 1 MB.
    while (filled < size) {
      const batch = Math.min(25, size - filled);
      await client.query(
        `INSERT INTO filler SELECT i, repeat(md5(i::text), 30) FROM generate_series($1::bigint, $2::bigint) i`,
        [filled * 1000 + 1, (filled + batch) * 1000],
      );
      filled += batch;
      console.error(`filled ${filled} of ${size} MB`);
    }
    await client.query('VACUUM ANALYZE filler');
    const { rows: is } = await client.query('SELECT pg_database_size(current_database())::bigint AS bytes');
    await client.end();
    if (values['fill-only'] === true) continue;
    const relations = tables === 0 ? '' : `, ${tables} tables`;
    const database = `${(Number(is[0].bytes) / 1e6).toFixed(0)} MB${relations}`;

    const wake = async (): Promise<number> =>
      firstRow(ebb.postgresUrl, 'SELECT id FROM filler WHERE id = $1', [
        1 + Math.floor(Math.random() * filled * 1000),
      ]);
    // The list of what a session reads first is kept after some seconds of one that is as those that follow.
    await ebb.suspendContainers();
    await wake();
    await new Promise((resolve) => setTimeout(resolve, 3000));

    for (const [what, suspend] of [
      ['compute and pageserver', () => ebb.suspendContainers()],
      ['compute only', () => ebb.suspendContainers(['compute'])],
    ] as const) {
      const times: number[] = [];
      let last: Status | undefined;
      for (let i = 0; i < wakes; i++) {
        await suspend();
        times.push(await wake());
        last = await status();
        await new Promise((resolve) => setTimeout(resolve, 1000)); // what a boot leaves to be done is done
      }
      console.error(JSON.stringify(last?.bootMs));
      const { pagesFetched, misses } = last!.dataDirectory;
      const pages = `${pagesFetched} (${((pagesFetched * 8192) / 1e6).toFixed(1)} MB), ${misses} waited for`;
      report(`wake, ${database}, ${what}`, times, pages);
      const traced: Stations[] = [];
      for (let i = 0; i < Math.min(wakes, 5); i++) {
        await suspend();
        traced.push(await traceWake(ebb, 'SELECT id FROM filler WHERE id = $1', [1 + i * 997]));
        await new Promise((resolve) => setTimeout(resolve, 1000));
      }
      const end = (stations: Stations): number => stations['client: first query'][1];
      const middle = traced.toSorted((a, b) => end(a) - end(b))[traced.length >> 1];
      console.log(`\nTimeline of the median of ${traced.length}: ${database}, ${what}`);
      printTimeline(middle);
    }
  }
  const times: number[] = [];
  for (let i = 0; i < NEW_PROJECTS && values['fill-only'] !== true; i++) {
    await ebb.suspendContainers();
    times.push(await newProject());
  }
  if (times.length > 0) report('new project', times);
  table(['what', 'times', 'min ms', 'median ms', 'p95 ms', 'pages fetched'], rows);
} finally {
  await ebb.stop();
}
