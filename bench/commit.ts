/**
 * Commits through three safekeepers, against the same Postgres with two real synchronous standbys (standbys.ts), in
 * interleaved rounds: latency and rate of one-row INSERTs at 1, 8 and 32 clients, and bulk WAL.
 *
 *   node bench/commit.ts [seconds per round, default 3] [rounds, default 3] [--socket]
 *
 * Ebb is the whole of `ebb start`, reached by its TCP entrance; with `--socket` by the compute's own unix socket, which
 * leaves out the proxy and leaves the path of a commit: walsender, proposer, safekeepers. The baseline is reached by TCP.
 */
import { execFile } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs, promisify } from 'node:util';
import pg from 'pg';
import { startEbb } from '../test/support/ebb.ts';
import { startWithStandbys } from './standbys.ts';
import { median, quantile, table } from './support.ts';

const run = promisify(execFile);
const { values, positionals } = parseArgs({
  options: { socket: { type: 'boolean', default: false } },
  allowPositionals: true,
});
const [seconds = 3, rounds = 3] = positionals.map(Number);
const CLIENTS = [1, 8, 32];
const BULK_ROWS = 60_000;

const folder = mkdtempSync(join(tmpdir(), 'ebb-bench-'));
const script = join(folder, 'commit.sql');
writeFileSync(script, `INSERT INTO commits (payload) VALUES ('x');\n`);

/** Latencies of every transaction in ms, from pgbench's own log, and its rate. */
async function commits(url: string, clients: number): Promise<{ times: number[]; tps: number }> {
  const prefix = join(folder, 'log');
  const jobs = String(Math.min(clients, 2));
  const load = ['-n', '-f', script, '-c', String(clients), '-j', jobs, '-T', String(seconds)];
  const { stdout } = await run('pgbench', [...load, '--log', `--log-prefix=${prefix}`, url]);
  const tps = Number(/tps = ([\d.]+) \(without initial/.exec(stdout)?.[1]);
  const times: number[] = [];
  for (const name of readdirSync(folder).filter((file) => file.startsWith('log'))) {
    for (const line of readFileSync(join(folder, name), 'utf8').split('\n')) {
      if (line !== '') times.push(Number(line.split(' ')[2]) / 1000);
    }
    rmSync(join(folder, name));
  }
  return { times, tps };
}

/** MiB of WAL per second of one large transaction, until its commit has returned. */
async function bulk(url: string): Promise<number> {
  const client = new pg.Client(url);
  await client.connect();
  await client.query('TRUNCATE bulk');
  const before = (await client.query('SELECT pg_current_wal_insert_lsn() AS lsn')).rows[0].lsn as string;
  const begin = performance.now();
  await client.query(
    `INSERT INTO bulk SELECT n, repeat(md5(n::text), 30) FROM generate_series(1, ${BULK_ROWS}) n`,
  );
  const elapsedS = (performance.now() - begin) / 1000;
  const { rows } = await client.query('SELECT pg_current_wal_insert_lsn() - $1::pg_lsn AS bytes', [before]);
  await client.end();
  return Number(rows[0].bytes) / 2 ** 20 / elapsedS;
}

/** The owner on the compute's own unix socket. */
function computeSocketUrl(): string {
  const disks = join(ebb.dir, 'disks');
  const files = readdirSync(disks, { recursive: true, encoding: 'utf8' });
  const socket = files.find((file) => file.startsWith('compute-') && file.endsWith('/.s.PGSQL.5432'));
  if (socket === undefined) throw new Error('no compute runs');
  const { username, password, pathname } = new URL(ebb.postgresUrl);
  const host = encodeURIComponent(join(disks, socket, '..'));
  return `postgres://${username}:${password}@${pathname}?host=${host}&port=5432`;
}

const ebb = await startEbb();
const standbys = await startWithStandbys();
try {
  const sides = { Ebb: ebb.postgresUrl, standbys: standbys.url };
  for (const url of Object.values(sides)) {
    const client = new pg.Client(url);
    await client.connect();
    await client.query('CREATE TABLE commits (id bigserial PRIMARY KEY, payload text)');
    await client.query('CREATE TABLE bulk (id int, payload text)');
    await client.end();
  }
  if (values.socket) sides.Ebb = computeSocketUrl();
  const rows: string[][] = [];
  for (const clients of CLIENTS) {
    const times = { Ebb: [] as number[], standbys: [] as number[] };
    const pairs: { Ebb: number; standbys: number }[] = [];
    for (let round = 0; round < rounds; round++) {
      const pair = { Ebb: 0, standbys: 0 };
      for (const name of round % 2 === 0 ? (['Ebb', 'standbys'] as const) : (['standbys', 'Ebb'] as const)) {
        const result = await commits(sides[name], clients);
        times[name].push(...result.times);
        pair[name] = result.tps;
      }
      pairs.push(pair);
      console.error(`${clients} clients: ${pair.Ebb.toFixed(0)} / ${pair.standbys.toFixed(0)} tps`);
    }
    rows.push([
      String(clients),
      ...[times.Ebb, times.standbys].flatMap((list) => [
        quantile(list, 0.5).toFixed(2),
        quantile(list, 0.99).toFixed(2),
      ]),
      median(pairs.map((pair) => pair.Ebb)).toFixed(0),
      median(pairs.map((pair) => pair.standbys)).toFixed(0),
      median(pairs.map((pair) => pair.Ebb / pair.standbys)).toFixed(2),
    ]);
  }
  const speeds: { Ebb: number; standbys: number }[] = [];
  for (let round = 0; round < rounds; round++) {
    speeds.push({ Ebb: await bulk(sides.Ebb), standbys: await bulk(sides.standbys) });
    console.error(`bulk: ${speeds[round].Ebb.toFixed(1)} / ${speeds[round].standbys.toFixed(1)} MiB/s`);
  }
  table(
    ['clients', 'Ebb p50 ms', 'p99 ms', 'standbys p50 ms', 'p99 ms', 'Ebb tps', 'standbys tps', 'ratio'],
    rows,
  );
  const bulkOf = (name: 'Ebb' | 'standbys') => median(speeds.map((pair) => pair[name])).toFixed(1);
  console.log(`\nbulk WAL, MiB/s: Ebb ${bulkOf('Ebb')}, standbys ${bulkOf('standbys')}`);
} finally {
  await ebb.stop();
  await standbys.stop();
  rmSync(folder, { recursive: true, force: true });
}
