/** Runs workloads on a Postgres that logs an image of every block it touched, and checks redo against them. */
import type pg from 'pg';
import { formatLsn, parseLsn, type Lsn } from '../../lib/postgres/lsn.ts';
import { formatFailure, RedoCheck, type CheckCount } from '../../lib/postgres/redo/check/check.ts';
import { MemoryPageStore } from '../../lib/postgres/redo/check/page-store.ts';
import { postgres18 } from '../../lib/postgres/v18/wal.ts';
import { newWalRecord } from '../../lib/postgres/wal/record.ts';
import { WalDecoder } from '../../lib/postgres/wal/decoder.ts';
import { PostgresCluster } from './postgres-cluster.ts';
import type { Workload, WorkloadDatabase } from './redo-workloads/workload.ts';
import { oldestWal, readWal } from './wal-files.ts';

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
export async function runWorkload(cluster: PostgresCluster, workload: Workload): Promise<void> {
  const name = `w_${workload.name.replaceAll(/[^a-z]+/g, '_').slice(0, 50)}`;
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

export interface OracleResult {
  counts: CheckCount[];
  failures: string[];
  check: RedoCheck;
  from: Lsn;
  to: Lsn;
}

/** Replays all WAL that the cluster has. */
export async function checkAllWal(cluster: PostgresCluster): Promise<OracleResult> {
  const position = async (which: string) =>
    parseLsn((await cluster.query<{ lsn: string }>(`select pg_current_wal_${which}_lsn() as lsn`))[0].lsn);
  const least = await position('insert');
  await cluster.query('checkpoint'); // flushes it
  const to = await position('flush');
  const from = oldestWal(cluster.dataDirectory, to);
  const failures: string[] = [];
  const check = new RedoCheck({
    facts: postgres18,
    pages: new MemoryPageStore(),
    onFailure: (failure) => failures.length < 50 && failures.push(formatFailure(failure)),
  });
  const decoder = new WalDecoder({ startLsn: from, facts: postgres18 });
  const record = newWalRecord();
  for (const segment of readWal(cluster.dataDirectory, from, to)) {
    decoder.push(segment);
    while (decoder.next(record)) check.check(record);
  }
  if (decoder.endLsn < least) {
    throw new Error(`decoded to ${formatLsn(decoder.endLsn)}: the log goes on to ${formatLsn(least)}`);
  }
  return { counts: check.report(), failures, check, from, to };
}

/** The table that a person reads. */
export function formatCounts(counts: readonly CheckCount[]): string {
  const lines = counts.map(({ resourceManager, type, records, blocks, compared, mismatches, errors }) =>
    [`${resourceManager}/${type}`.padEnd(36), records, blocks, compared, mismatches, errors]
      .map((cell) => String(cell).padStart(9))
      .join(' '),
  );
  const head = ['record type'.padEnd(36), 'records', 'blocks', 'compared', 'mismatch', 'errors'];
  return [head.map((cell) => cell.padStart(9)).join(' '), ...lines].join('\n');
}
