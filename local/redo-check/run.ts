/** `ebb redo-check --run`: a Postgres of its own, the workloads of the tests, and the check of what they wrote. */
import { join } from 'node:path';
import { PostgresCluster } from '../../test/support/postgres-cluster.ts';
import { ORACLE_SETTINGS, runWorkload } from '../../test/support/redo-oracle.ts';
import { redoWorkloads } from '../../test/support/redo-workloads/index.ts';
import { checkFolder, type CheckFolderResult } from './check-folder.ts';

const LONG_ROUNDS = 5;

export async function runAndCheck(options: {
  long: boolean;
  tell: (line: string) => void;
}): Promise<CheckFolderResult> {
  await using cluster = await PostgresCluster.create({ settings: ORACLE_SETTINGS });
  for (let round = 1; round <= (options.long ? LONG_ROUNDS : 1); round++) {
    for (const workload of redoWorkloads) {
      const started = performance.now();
      await runWorkload(cluster, workload, round);
      options.tell(`${workload.name}: ${Math.round(performance.now() - started)} ms`);
    }
  }
  await cluster.stop();
  return checkFolder({ wal: join(cluster.dataDirectory, 'pg_wal') });
}
