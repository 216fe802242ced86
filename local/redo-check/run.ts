/** `ebb redo-check --run`: Postgres clusters of its own, the workloads of the tests, and the check of what they wrote. */
import { join } from 'node:path';
import { PostgresCluster } from '../../test/support/postgres-cluster.ts';
import { ORACLE_SETTINGS, runWorkload } from '../../test/support/redo-oracle.ts';
import { oracleClusters, type OracleCluster } from '../../test/support/redo-workloads/index.ts';
import { checkFolder, type CheckFolderResult } from './check-folder.ts';

const LONG_ROUNDS = 5;

export interface RunOptions {
  /** Every workload several times, on what it left before. */
  long: boolean;
  tell: (line: string) => void;
}

/** One result for each cluster, as it becomes known. */
export async function* runAndCheck(options: RunOptions): AsyncGenerator<[OracleCluster, CheckFolderResult]> {
  for (const kind of oracleClusters) yield [kind, await runCluster(kind, options)];
}

async function runCluster(kind: OracleCluster, { long, tell }: RunOptions): Promise<CheckFolderResult> {
  await using cluster = await PostgresCluster.create({ settings: { ...ORACLE_SETTINGS, ...kind.settings } });
  for (let round = 1; round <= (long ? LONG_ROUNDS : 1); round++) {
    for (const workload of kind.workloads) {
      const started = performance.now();
      await runWorkload(cluster, workload, { round, checkpoints: kind.checkpoints });
      tell(`${workload.name}: ${Math.round(performance.now() - started)} ms`);
    }
  }
  await cluster.stop();
  return checkFolder({ wal: join(cluster.dataDirectory, 'pg_wal') });
}
