/** Redo against the images that Postgres put beside each change: no record type may differ in one byte. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { formatCounts } from '../../../../local/redo-check/report.ts';
import { PostgresCluster } from '../../../support/postgres-cluster.ts';
import { checkWal, fuzzRedo, ORACLE_SETTINGS, runWorkload } from '../../../support/redo-oracle.ts';
import { redoWorkloads } from '../../../support/redo-workloads/index.ts';

let cluster: PostgresCluster;
beforeAll(async () => {
  cluster = await PostgresCluster.create({ settings: ORACLE_SETTINGS });
});
afterAll(() => cluster?.remove());

test.each(redoWorkloads)('$name', async (workload) => {
  await runWorkload(cluster, workload);
});

test('redo of everything above equals the pages of Postgres', async () => {
  await cluster.stop();
  const result = await checkWal(cluster);
  console.log(formatCounts(result.counts));
  expect(result.failures).toEqual([]);
  expect(result).toMatchObject({ mismatches: 0, errors: 0, undecodable: null });
  const seen = result.counts.filter(({ records }) => records > 0);
  const names = new Set(seen.map(({ resourceManager, type }) => `${resourceManager}/${type}`));
  const missing = redoWorkloads.flatMap(({ name, reaches }) =>
    reaches.filter((type) => !names.has(type)).map((type) => `${type} (${name})`),
  );
  expect(missing).toEqual([]);
});

test('a damaged record or page is refused or applied, and nothing else', async () => {
  const seed = Math.floor(Math.random() * 1_000_000);
  const outcome = await fuzzRedo(cluster, seed, 100_000);
  console.log(`seed ${seed}: ${JSON.stringify(outcome)}`);
  expect(outcome.refused).toBeGreaterThan(1000);
  expect(outcome.undecodable).toBeGreaterThan(1000);
});
