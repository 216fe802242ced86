/**
 * pgbench through the proxy, then a kill and a cold start: the balances of TPC-B still agree.
 */
import { execFile, spawnSync } from 'node:child_process';
import { promisify } from 'node:util';
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startEbb, type Ebb } from '../support/ebb.ts';
import { partOf } from '../support/inside.ts';

const havePgbench = spawnSync('pgbench', ['--version']).status === 0;
if (!havePgbench) console.log('pgbench is not installed: its test is skipped (Debian: postgresql-contrib)');

let ebb: Ebb;
beforeAll(async () => {
  if (havePgbench) ebb = await startEbb();
});
afterAll(() => ebb?.stop());

const run = promisify(execFile);

test.skipIf(!havePgbench)('pgbench scale 10, 8 clients, 30 s; a kill; consistent balances', async () => {
  await run('pgbench', ['-i', '-s', '10', '-q', ebb.postgresUrl]);
  const { stdout } = await run('pgbench', ['-n', '-c', '8', '-j', '2', '-T', '30', ebb.postgresUrl]);
  console.log(
    stdout
      .split('\n')
      .filter((line) => /^(tps|latency|number of trans)/.test(line))
      .join('; '),
  );
  expect(stdout).toMatch(/number of failed transactions: 0 /);
  const processed = Number(/actually processed: (\d+)/.exec(stdout)![1]);

  for (const { pid } of [...partOf(ebb.pid, 'compute'), ...partOf(ebb.pid, 'postgres')])
    process.kill(pid, 'SIGKILL');

  const client = new pg.Client(ebb.postgresUrl);
  await client.connect();
  const { rows } = await client.query(`
    SELECT (SELECT sum(abalance) FROM pgbench_accounts)::int AS accounts,
           (SELECT sum(bbalance) FROM pgbench_branches)::int AS branches,
           (SELECT sum(tbalance) FROM pgbench_tellers)::int AS tellers,
           (SELECT sum(delta) FROM pgbench_history)::int AS history,
           (SELECT count(*) FROM pgbench_history)::int AS transactions,
           (SELECT count(*) FROM pgbench_accounts)::int AS rows`);
  const sums = rows[0] as Record<string, number>;
  expect(sums['rows']).toBe(1_000_000);
  expect(sums['transactions']).toBe(processed);
  expect([sums['branches'], sums['tellers'], sums['accounts']]).toEqual([
    sums['history'],
    sums['history'],
    sums['history'],
  ]);
  await client.end();
});
