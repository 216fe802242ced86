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
import type { Workload, WorkloadDatabase } from './redo-workloads/workload.ts';

/** Keeps every byte of WAL, with an image of each touched block in each record and no other images. */
export const ORACLE_SETTINGS: Readonly<Record<string, string>> = {
  wal_consistency_checking: 'all',
  wal_level: 'logical',
  full_page_writes: 'off',
  wal_keep_size: '100GB',
  max_wal_size: '100GB',
  checkpoint_timeout: '1d',
  autovacuum: 'off',
  max_prepared_transactions: '10',
  track_commit_timestamp: 'on',
};

/** Runs one workload in a database of its own. */
export async function runWorkload(cluster: PostgresCluster, workload: Workload, round = 1): Promise<void> {
  const name = `w${round}_${workload.name.replaceAll(/[^a-z]+/g, '_').slice(0, 50)}`;
  await cluster.query(`create database ${name}`);
  const clients: pg.Client[] = [];
  const connect = async () => {
    const client = await cluster.connect(name);
    clients.push(client);
    return client;
  };
  const main = await connect();
  const db: WorkloadDatabase = {
    connect,
    async run(...statements) {
      for (const statement of statements) await main.query(statement);
    },
    async value<T>(statement: string) {
      const { rows } = (await main.query({ text: statement, rowMode: 'array' })) as { rows: T[][] };
      return rows[0][0];
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
  const wal = join(cluster.dataDirectory, 'pg_wal');
  const run = promisify(execFile)(process.execPath, [program, '--json', '--wal', wal], {
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
export async function fuzzRedo(cluster: PostgresCluster, seed: number, rounds: number): Promise<FuzzOutcome> {
  const program = join(import.meta.dirname, 'redo-fuzz.ts');
  const wal = join(cluster.dataDirectory, 'pg_wal');
  const args = [program, wal, String(seed), String(rounds)];
  const { stdout } = await promisify(execFile)(process.execPath, args, { timeout: 120_000 });
  return JSON.parse(stdout) as FuzzOutcome;
}
