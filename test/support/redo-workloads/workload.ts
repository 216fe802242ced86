/**
 * Workloads that make Postgres write particular record types, for the oracle of redo.
 *
 * A workload says which record types it is there for; the oracle's tests demand that each was seen.
 */
import type pg from 'pg';

export interface WorkloadDatabase {
  /** Runs statements one by one, each as its own implicit transaction unless they open one. */
  run(...statements: string[]): Promise<void>;
  /** First column of the first row. */
  value<T = string>(statement: string): Promise<T>;
  /** Another session, closed when the workload ends. */
  connect(): Promise<pg.Client>;
}

export interface Workload {
  name: string;
  /** `Heap/INSERT` …: the record types that this workload is there to reach. */
  reaches: readonly string[];
  run(db: WorkloadDatabase): Promise<void>;
}
