/**
 * Commit latency (one-row INSERT, autocommit) at 1 and 8 clients, and one `SELECT 1` by `/sql`, by a connection
 * through Ebb, and by a direct connection to the same Postgres build; interleaved.
 *
 *   node bench/latency.ts [queries, default 500]
 */
import { neon } from '@neondatabase/serverless';
import pg from 'pg';
import { startEbb } from '../test/support/ebb.ts';
import { pointNeonAt } from '../test/support/neon.ts';
import { quantile, startAlone, table } from './support.ts';

const [queries = 500] = process.argv.slice(2).map(Number);
const ebb = await startEbb();
const { url: alone, cluster } = await startAlone();

async function connected(url: string): Promise<pg.Client> {
  const client = new pg.Client(url);
  await client.connect();
  return client;
}
async function time(run: () => Promise<unknown>): Promise<number> {
  const begin = performance.now();
  await run();
  return performance.now() - begin;
}
const summary = (name: string, times: readonly number[]): string[] => [
  name,
  quantile(times, 0.5).toFixed(2),
  quantile(times, 0.99).toFixed(2),
];

try {
  const rows: string[][] = [];
  const urls = { Ebb: ebb.postgresUrl, alone };
  for (const url of Object.values(urls)) {
    const client = await connected(url);
    await client.query('CREATE TABLE commits (id bigserial PRIMARY KEY, payload text)');
    await client.end();
  }
  for (const clients of [1, 8]) {
    const times: Record<string, number[]> = { Ebb: [], alone: [] };
    const pools = Object.fromEntries(
      await Promise.all(
        Object.entries(urls).map(async ([name, url]) => [
          name,
          await Promise.all(Array.from({ length: clients }, () => connected(url))),
        ]),
      ),
    ) as Record<string, pg.Client[]>;
    for (let done = 0; done < queries; done += 50) {
      for (const [name, members] of Object.entries(pools)) {
        await Promise.all(
          members.map(async (client) => {
            for (let i = 0; i < 50; i++) {
              times[name].push(await time(() => client.query(`INSERT INTO commits(payload) VALUES ('x')`)));
            }
          }),
        );
      }
    }
    for (const [name, list] of Object.entries(times))
      rows.push(summary(`commit, ${clients} clients, ${name}`, list));
    await Promise.all(Object.values(pools).flatMap((members) => members.map((client) => client.end())));
  }

  pointNeonAt(ebb.httpUrl);
  const sql = neon(ebb.postgresUrl);
  const through = await connected(ebb.postgresUrl);
  const direct = await connected(alone);
  const times: Record<string, number[]> = {
    '/sql': [],
    'connection through Ebb': [],
    'direct connection': [],
  };
  for (let i = 0; i < queries; i++) {
    times['/sql'].push(await time(() => sql`SELECT 1`));
    times['connection through Ebb'].push(await time(() => through.query('SELECT 1')));
    times['direct connection'].push(await time(() => direct.query('SELECT 1')));
  }
  for (const [name, list] of Object.entries(times)) rows.push(summary(`SELECT 1, ${name}`, list));
  await through.end();
  await direct.end();
  table(['what', 'p50 ms', 'p99 ms'], rows);
} finally {
  await ebb.stop();
  await cluster.remove();
}
