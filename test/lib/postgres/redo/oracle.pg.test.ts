/** Redo against the images that Postgres put beside each change: no record type may differ in one byte. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { PostgresCluster } from '../../../support/postgres-cluster.ts';
import { checkAllWal, formatCounts, ORACLE_SETTINGS, runWorkload } from '../../../support/redo-oracle.ts';
import { btreeWorkloads } from '../../../support/redo-workloads/btree.ts';
import { heapWorkloads } from '../../../support/redo-workloads/heap.ts';

const workloads = [...heapWorkloads, ...btreeWorkloads];
let cluster: PostgresCluster;
beforeAll(async () => {
  cluster = await PostgresCluster.create({ settings: ORACLE_SETTINGS });
});
afterAll(() => cluster?.remove());

test.each(workloads)('$name', async (workload) => {
  await runWorkload(cluster, workload);
});

test('redo of everything above equals the pages of Postgres', async () => {
  const { counts, failures, check } = await checkAllWal(cluster);
  const seen = counts.filter(({ records }) => records > 0);
  console.log(
    `${formatCounts(counts)}\nadopted ${check.adopted}, unknown ${check.unknown}, ahead ${check.ahead}`,
  );
  expect(failures).toEqual([]);
  const names = new Set(seen.map(({ resourceManager, type }) => `${resourceManager}/${type}`));
  const missing = workloads.flatMap(({ name, reaches }) =>
    reaches.filter((type) => !names.has(type)).map((type) => `${type} (${name})`),
  );
  expect(missing).toEqual([]);
});
