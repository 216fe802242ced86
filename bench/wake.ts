/**
 * Wake: from suspended (nothing of the project runs) to the first row at a client, at two sizes of the database.
 *
 *   node bench/wake.ts [wakes per size, default 10] [sizes in MB, default 50 1000]
 */
import pg from 'pg';
import { startEbb } from '../test/support/ebb.ts';
import { median, quantile, table } from './support.ts';

const [wakes = 10, ...given] = process.argv.slice(2).map(Number);
const sizes = given.length > 0 ? given : [50, 1000];
const ebb = await startEbb();
const rows: string[][] = [];
try {
  let filled = 0;
  for (const size of sizes) {
    const client = new pg.Client(ebb.postgresUrl);
    await client.connect();
    await client.query('CREATE TABLE IF NOT EXISTS filler (id bigint PRIMARY KEY, payload text)');
    const { rows: before } = await client.query('SELECT count(*)::int AS n FROM filler');
    // About 1 kB a row with its index entry: 1,000 rows are 1 MB.
    while (filled < size) {
      const batch = Math.min(25, size - filled);
      await client.query(
        `INSERT INTO filler SELECT i, repeat(md5(i::text), 30) FROM generate_series($1::bigint, $2::bigint) i`,
        [filled * 1000 + 1, (filled + batch) * 1000],
      );
      filled += batch;
      console.error(`filled ${filled} of ${size} MB (${before[0].n} rows before)`);
    }
    await client.query('VACUUM ANALYZE filler');
    const { rows: is } = await client.query('SELECT pg_database_size(current_database())::bigint AS bytes');
    await client.end();

    const totals: number[] = [];
    let last: Record<string, unknown> = {};
    for (let i = 0; i < wakes; i++) {
      await ebb.stopContainers();
      const begin = performance.now();
      const sleeper = new pg.Client(ebb.postgresUrl);
      await sleeper.connect();
      await sleeper.query('SELECT id FROM filler WHERE id = $1', [
        1 + Math.floor(Math.random() * filled * 1000),
      ]);
      totals.push(performance.now() - begin);
      last = (await ebb.computeStatus()) as Record<string, unknown>;
      await sleeper.end();
    }
    console.error(JSON.stringify(last));
    rows.push([
      `${(Number(is[0].bytes) / 1e6).toFixed(0)} MB`,
      String(wakes),
      Math.min(...totals).toFixed(0),
      median(totals).toFixed(0),
      quantile(totals, 0.95).toFixed(0),
      JSON.stringify(last['pages'] ?? null),
    ]);
  }
  table(['database', 'wakes', 'min ms', 'median ms', 'p95 ms', 'pages'], rows);
} finally {
  await ebb.stop();
}
