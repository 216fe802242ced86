/** Redo against the images that Postgres put beside each change: no record type may differ in one byte. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { formatCounts } from '../../../../local/redo-check/report.ts';
import { changesPages18 } from '../../../../lib/postgres/v18/page-changes.ts';
import { PostgresCluster } from '../../../support/postgres-cluster.ts';
import {
  checkWal,
  fuzzRedo,
  ORACLE_SETTINGS,
  plantErrors,
  proveMasks,
  runWorkload,
} from '../../../support/redo-oracle.ts';
import {
  imagesCluster,
  mainCluster,
  minimalCluster,
  type OracleCluster,
} from '../../../support/redo-workloads/index.ts';
import { recordTypes } from '../../../support/redo-workloads/table.ts';

const withBlocks = new Set(
  [...recordTypes()].filter(({ manager, info }) => changesPages18(manager, info)).map(({ name }) => name),
);

/**
 * Always images that are restored whole. (Of Heap2/VISIBLE the heap's page is compared; Postgres masks the map's page as
 * unused space: test/lib/storage/ingest/ compares that with a recovered Postgres.)
 */
const NOTHING_TO_COMPARE = ['Gin/VACUUM_PAGE', 'Hash/SPLIT_PAGE'];

/** Runs the workloads of a kind of cluster, then checks all of its WAL. */
function oracleOf(
  kind: OracleCluster,
  more: (cluster: () => PostgresCluster) => void = () => undefined,
): void {
  describe(kind.name, () => {
    let cluster: PostgresCluster;
    beforeAll(async () => {
      cluster = await PostgresCluster.create({ settings: { ...ORACLE_SETTINGS, ...kind.settings } });
    });
    afterAll(() => cluster?.remove());

    test.each(kind.workloads)('$name', async (workload) => {
      await runWorkload(cluster, workload, { checkpoints: kind.checkpoints });
    });

    test('redo of everything above equals the pages of Postgres', async () => {
      await cluster.stop();
      const result = await checkWal(cluster);
      console.log(formatCounts(result.counts));
      expect(result.failures).toEqual([]);
      expect(result).toMatchObject({ mismatches: 0, errors: 0, undecodable: null });
      const seen = result.counts.filter(({ records }) => records > 0);
      const names = new Set(seen.map(({ resourceManager, type }) => `${resourceManager}/${type}`));
      const missing = kind.workloads.flatMap(({ name, reaches }) =>
        reaches.filter((type) => !names.has(type)).map((type) => `${type} (${name})`),
      );
      expect(missing).toEqual([]);
      expect(
        seen.filter(({ blocks, type, resourceManager }) => {
          const name = `${resourceManager}/${type}`;
          return blocks > 0 !== withBlocks.has(name);
        }),
      ).toEqual([]);
    });

    more(() => cluster);
  });
}

oracleOf(mainCluster, (cluster) => {
  test('one wrong byte in the redo of any record type is found', async () => {
    const planted = await plantErrors(cluster());
    expect(planted.filter(({ found }) => !found)).toEqual([]);
    const left = new Set(mainCluster.workloads.flatMap(({ reaches }) => reaches));
    for (const { type } of planted) left.delete(type);
    expect([...left].filter((type) => withBlocks.has(type)).sort()).toEqual(NOTHING_TO_COMPARE);
  });

  test('each mask is needed', async () => {
    const masks = await proveMasks(cluster());
    expect(masks.length).toBeGreaterThan(30);
    expect(masks.filter(({ needed }) => !needed)).toEqual([]);
  });

  test('a damaged record or page is refused or applied, and nothing else', async () => {
    const seed = Math.floor(Math.random() * 1_000_000);
    const outcome = await fuzzRedo(cluster(), seed, 30_000);
    console.log(`seed ${seed}: ${JSON.stringify(outcome)}`);
    expect(outcome.refused).toBeGreaterThan(1000);
    expect(outcome.undecodable).toBeGreaterThan(1000);
  });
});

oracleOf(minimalCluster);

oracleOf(imagesCluster, (cluster) => {
  test('WAL goes on over a promotion to another timeline', async () => {
    const { dataDirectory } = cluster();
    writeFileSync(join(dataDirectory, 'standby.signal'), '');
    await cluster().start();
    await cluster().query('select pg_promote()');
    await cluster().query('create table after_promotion as select generate_series(1, 1000) i');
    await cluster().stop();
    const result = await checkWal(cluster());
    expect(result).toMatchObject({ mismatches: 0, errors: 0, undecodable: null });
    const promotion = result.counts.find(({ type }) => type === 'END_OF_RECOVERY');
    expect(promotion?.records).toBe(1);
  });
});
