/**
 * Workloads that make Postgres write particular record types, for the oracle of redo.
 *
 * A workload says which record types it is there for; the oracle's tests demand that each was seen, and
 * docs/formats/wal-record-types.md lists them.
 */
import type pg from 'pg';

export interface WorkloadDatabase {
  /** Runs statements one by one, each as its own implicit transaction unless they open one. */
  run(...statements: string[]): Promise<void>;
  /** First column of the first row. */
  value<T = string>(statement: string): Promise<T>;
  /** Another session, closed when the workload ends; in the workload's own database unless another is named. */
  connect(database?: string): Promise<pg.Client>;
  /** Every database that takes connections, but for the workload's own. */
  otherDatabases(): Promise<string[]>;
}

export interface Workload {
  name: string;
  /** `Heap/INSERT` …: the record types that this workload is there to reach. */
  reaches: readonly string[];
  /** wal_consistency_checking of its sessions: `all` unless said otherwise. Images of other pages are most of the WAL. */
  checks?: string;
  run(db: WorkloadDatabase): Promise<void>;
}
