/**
 * Runs workloads on a Postgres that logs an image of every block it touched, and checks redo against them.
 *
 * The check runs in a process of its own, as people run it: the test runner's transformed modules make it ten times slower.
 */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type pg from 'pg';
import type { CheckFolderResult } from '../../local/redo-check/check-folder.ts';
import { PostgresCluster } from './postgres-cluster.ts';
import type { MaskProof, PlantedError } from './redo-proof.ts';
import type { Workload, WorkloadDatabase } from './redo-workloads/workload.ts';

/** Keeps every byte of WAL, with an image of each touched block in each record. */
export const ORACLE_SETTINGS: Readonly<Record<string, string>> = {
  wal_consistency_checking: 'all',
  wal_level: 'logical',
  wal_keep_size: '100GB',
  max_wal_size: '100GB',
  checkpoint_timeout: '1d',
  autovacuum: 'off',
  max_prepared_transactions: '230',
  track_commit_timestamp: 'on',
};

export interface RunOptions {
  /** Distinguishes the databases of one workload that runs several times. */
  round?: number;
  /** A checkpoint before each statement of the main session. */
  checkpoints?: boolean;
  /** In a schema of `postgres` instead of a database, and without images for the oracle: little WAL. */
  inSchema?: boolean;
}

/** Runs one workload in a database (or schema) of its own. */
export async function runWorkload(
  cluster: Pick<PostgresCluster, 'connect' | 'query'>,
  workload: Workload,
  { round = 1, checkpoints = false, inSchema = false }: RunOptions = {},
): Promise<void> {
  const name = `w${round}_${workload.name.replaceAll(/[^a-z]+/g, '_').slice(0, 50)}`;
  await cluster.query(`create ${inSchema ? 'schema' : 'database'} ${name}`);
  const clients: pg.Client[] = [];
  const connect = async (database = inSchema ? 'postgres' : name) => {
    const client = await cluster.connect(database);
    await client.query(
      inSchema ? `set search_path = ${name}` : `set wal_consistency_checking = '${workload.checks ?? 'all'}'`,
    );
    clients.push(client);
    return client;
  };
  const main = await connect();
  const checkpointer = await connect();
  const db: WorkloadDatabase = {
    connect,
    async run(...statements) {
      for (const statement of statements) {
        if (checkpoints) await checkpointer.query('checkpoint');
        await main.query(statement);
      }
    },
    async value<T>(statement: string) {
      const { rows } = (await main.query({ text: statement, rowMode: 'array' })) as { rows: T[][] };
      return rows[0][0];
    },
    async otherDatabases() {
      const sql = 'select datname from pg_database where datallowconn and datname <> current_database()';
      const { rows } = await main.query<{ datname: string }>(sql);
      return rows.map(({ datname }) => datname);
    },
  };
  try {
    await workload.run(db);
  } finally {
    await Promise.all(clients.map((client) => client.end()));
  }
}

/** Checks the WAL of a stopped cluster with `redo-check --wal`. */
export async function checkWal(cluster: PostgresCluster): Promise<CheckFolderResult> {
  const program = join(import.meta.dirname, '../../local/redo-check/main.ts');
  const run = promisify(execFile)(process.execPath, [program, '--json', '--wal', walOf(cluster)], {
    maxBuffer: 64 << 20,
  });
  const { stdout } = await run.catch(
    (error: Error & { stdout?: string; stderr?: string; code?: unknown }) => {
      if (error.code === 1 && error.stdout) return { stdout: error.stdout }; // mismatches are the caller's to judge
      throw new Error(`redo-check: ${error.stderr ?? error.message}`, { cause: error });
    },
  );
  return JSON.parse(stdout) as CheckFolderResult;
}

const runScript = async (name: string, args: string[], timeout: number): Promise<unknown> => {
  const { stdout } = await promisify(execFile)(process.execPath, [join(import.meta.dirname, name), ...args], {
    timeout,
    maxBuffer: 16 << 20,
  });
  return JSON.parse(stdout);
};
const walOf = (cluster: PostgresCluster): string => join(cluster.dataDirectory, 'pg_wal');

/** What test/support/redo-fuzz.ts prints. */
export interface FuzzOutcome {
  samples: number;
  types: number;
  rounds: number;
  applied: number;
  refused: number;
  undecodable: number;
}

/** Damages records and pages of a stopped cluster's WAL; rejects when redo does anything but refuse or apply. */
export const fuzzRedo = async (
  cluster: PostgresCluster,
  seed: number,
  rounds: number,
): Promise<FuzzOutcome> =>
  (await runScript('redo-fuzz.ts', [walOf(cluster), String(seed), String(rounds)], 150_000)) as FuzzOutcome;

/** One error in the redo of each record type: whether the check found it. Rejects when it found others. */
export const plantErrors = async (cluster: PostgresCluster): Promise<PlantedError[]> =>
  (await runScript('redo-proof.ts', ['planted', walOf(cluster)], 150_000)) as PlantedError[];

/** Each mask: whether pages differ without it. */
export const proveMasks = async (cluster: PostgresCluster): Promise<MaskProof[]> =>
  (await runScript('redo-proof.ts', ['masks', walOf(cluster)], 150_000)) as MaskProof[];
