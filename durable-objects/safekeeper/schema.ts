/**
 * SQLite tables of a safekeeper.
 *
 *   safekeeper  one row: whose log it is, term and vote, positions
 *   history     term history: one row per term
 *   wal         the log: contiguous rows of at most 1 MiB, each with the end of the last whole record up to its end
 *
 * LSNs are INTEGERs below 2^53. Where there is no WAL row, the last whole record ends at `log_lsn`, and the log goes on at
 * `begin_lsn` if that is later: what lies between is in object storage. `configuration` is JSON, NULL before the first.
 */
import type { TimelineSpec } from '../../lib/protocol/specs.ts';

/** Bytes of one row; Durable Objects allow 2 MB. */
export const ROW_BYTES_MAX = 1 << 20;

export function createTables(sql: SqlStorage): void {
  sql.exec(`CREATE TABLE IF NOT EXISTS safekeeper (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    timeline TEXT NOT NULL,
    number INTEGER NOT NULL,
    term INTEGER NOT NULL,
    voted_for TEXT,
    log_lsn INTEGER NOT NULL,
    commit_lsn INTEGER NOT NULL,
    truncate_lsn INTEGER NOT NULL,
    backup_lsn INTEGER NOT NULL,
    partial_lsn INTEGER NOT NULL,
    remote_consistent_lsn INTEGER NOT NULL,
    begin_lsn INTEGER NOT NULL DEFAULT 0,
    configuration TEXT
  )`);
  sql.exec(`CREATE TABLE IF NOT EXISTS history (term INTEGER PRIMARY KEY, lsn INTEGER NOT NULL)`);
  sql.exec(`CREATE TABLE IF NOT EXISTS wal (
    begin_lsn INTEGER PRIMARY KEY,
    record_end_lsn INTEGER NOT NULL,
    bytes BLOB NOT NULL
  )`);
}

/** Adds what tables of an earlier version lack. */
export function migrateTables(sql: SqlStorage): void {
  const columns = sql.exec(`SELECT 1 FROM pragma_table_info('safekeeper') WHERE name = 'configuration'`);
  if (columns.toArray().length > 0) return;
  sql.exec(`ALTER TABLE safekeeper ADD COLUMN begin_lsn INTEGER NOT NULL DEFAULT 0`);
  sql.exec(`ALTER TABLE safekeeper ADD COLUMN configuration TEXT`);
}

/** True when this object was ever told which timeline it is for. Creates nothing. */
export const hasTables = (sql: SqlStorage): boolean =>
  sql.exec(`SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'safekeeper'`).toArray().length > 0;

export interface SafekeeperRow extends Record<string, SqlStorageValue> {
  timeline: string;
  number: number;
  term: number;
  voted_for: string | null;
  log_lsn: number;
  commit_lsn: number;
  truncate_lsn: number;
  backup_lsn: number;
  partial_lsn: number;
  remote_consistent_lsn: number;
  begin_lsn: number;
  configuration: string | null;
}

/** Throws RangeError when the header does not hold a TimelineSpec. */
export function parseTimeline(json: string): TimelineSpec {
  const spec = JSON.parse(json) as Partial<TimelineSpec>;
  if (
    typeof spec.projectId !== 'string' ||
    typeof spec.timelineId !== 'string' ||
    !/^[0-9a-f]{32}$/.test(spec.timelineId) ||
    typeof spec.systemIdentifier !== 'string' ||
    !/^\d{1,20}$/.test(spec.systemIdentifier) ||
    typeof spec.startLsn !== 'string' ||
    typeof spec.postgresMajor !== 'number'
  ) {
    throw new RangeError(`not a timeline: ${json.slice(0, 200)}`);
  }
  return spec as TimelineSpec;
}
