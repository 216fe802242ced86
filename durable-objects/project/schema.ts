/**
 * The tables of a project (its Durable Object's SQLite), and what makes those of an older Ebb the present ones.
 *
 *   project          one row
 *   branch ──► timeline             a branch has one timeline at a time; restoring gives it another
 *     │            └── origin       holds the specifications of its ancestors, oldest innermost
 *     ├── endpoint                  `travel`: an endpoint at a past LSN; its branch is hidden
 *     ├── role
 *     └── database
 *   member           a timeline's safekeepers, once any of them was replaced (members.ts)
 *   doomed           timelines whose safekeepers and layers are still to be removed
 *   stale            endpoints whose compute still runs on a timeline that its branch no longer has
 *   lease            LSNs that are kept readable until a time
 */
const TABLES = `
  CREATE TABLE IF NOT EXISTS project(
    id TEXT PRIMARY KEY, name TEXT NOT NULL, system_identifier TEXT NOT NULL,
    created_at TEXT NOT NULL, updated_at TEXT NOT NULL, history_retention_s INTEGER NOT NULL DEFAULT 604800);
  CREATE TABLE IF NOT EXISTS branch(
    id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, timeline_id TEXT NOT NULL, is_default INTEGER NOT NULL,
    created_at TEXT NOT NULL, updated_at TEXT NOT NULL, parent_id TEXT, parent_lsn TEXT, parent_timestamp TEXT,
    protected INTEGER NOT NULL DEFAULT 0, hidden INTEGER NOT NULL DEFAULT 0);
  CREATE TABLE IF NOT EXISTS timeline(
    id TEXT PRIMARY KEY, start_lsn TEXT NOT NULL, origin TEXT NOT NULL, term INTEGER NOT NULL DEFAULT 0,
    ancestor_id TEXT, created_at TEXT NOT NULL DEFAULT '1970-01-01T00:00:00.000Z', horizon INTEGER NOT NULL DEFAULT 0,
    settled INTEGER NOT NULL DEFAULT 1);
  CREATE TABLE IF NOT EXISTS endpoint(
    id TEXT PRIMARY KEY, branch_id TEXT NOT NULL, number INTEGER NOT NULL, suspend_after_s INTEGER NOT NULL,
    settings TEXT NOT NULL, created_at TEXT NOT NULL, updated_at TEXT NOT NULL);
  CREATE TABLE IF NOT EXISTS role(
    branch_id TEXT NOT NULL, name TEXT NOT NULL, secret TEXT, owner INTEGER NOT NULL, can_login INTEGER NOT NULL,
    pending INTEGER NOT NULL, dropped INTEGER NOT NULL DEFAULT 0, created_at TEXT NOT NULL, updated_at TEXT NOT NULL,
    present_only INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (branch_id, name));
  CREATE TABLE IF NOT EXISTS database(
    id INTEGER PRIMARY KEY AUTOINCREMENT, branch_id TEXT NOT NULL, name TEXT NOT NULL, owner TEXT NOT NULL,
    pending INTEGER NOT NULL, dropped INTEGER NOT NULL DEFAULT 0, created_at TEXT NOT NULL, updated_at TEXT NOT NULL,
    UNIQUE (branch_id, name));
  CREATE TABLE IF NOT EXISTS travel(
    endpoint_id TEXT PRIMARY KEY, source_branch_id TEXT NOT NULL, timeline_id TEXT NOT NULL, lsn TEXT NOT NULL,
    timestamp TEXT, ephemeral INTEGER NOT NULL, used_at INTEGER NOT NULL);
  CREATE TABLE IF NOT EXISTS member(
    timeline_id TEXT PRIMARY KEY, configuration TEXT NOT NULL, before TEXT NOT NULL);
  CREATE TABLE IF NOT EXISTS doomed(timeline_id TEXT PRIMARY KEY);
  CREATE TABLE IF NOT EXISTS stale(endpoint_id TEXT PRIMARY KEY);
  CREATE TABLE IF NOT EXISTS lease(
    id TEXT PRIMARY KEY, timeline_id TEXT NOT NULL, lsn TEXT NOT NULL, until INTEGER NOT NULL);
`;

/** Columns that tables of earlier versions lack. */
const ADDED: readonly [table: string, column: string, definition: string][] = [
  ['project', 'history_retention_s', 'INTEGER NOT NULL DEFAULT 604800'],
  ['branch', 'parent_id', 'TEXT'],
  ['branch', 'parent_lsn', 'TEXT'],
  ['branch', 'parent_timestamp', 'TEXT'],
  ['branch', 'protected', 'INTEGER NOT NULL DEFAULT 0'],
  ['branch', 'hidden', 'INTEGER NOT NULL DEFAULT 0'],
  ['timeline', 'ancestor_id', 'TEXT'],
  ['timeline', 'created_at', `TEXT NOT NULL DEFAULT '1970-01-01T00:00:00.000Z'`],
  ['timeline', 'horizon', 'INTEGER NOT NULL DEFAULT 0'],
  ['timeline', 'settled', 'INTEGER NOT NULL DEFAULT 1'],
  ['role', 'present_only', 'INTEGER NOT NULL DEFAULT 0'],
];

export const hasTables = (sql: SqlStorage): boolean =>
  sql.exec(`SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'project'`).toArray().length > 0;

/** Makes what is missing. Only for a project that exists or is being created: guessed names must cost no storage. */
export function prepareTables(sql: SqlStorage): void {
  sql.exec(TABLES);
  for (const [table, column, definition] of ADDED) {
    const has =
      sql.exec(`SELECT 1 FROM pragma_table_info(?) WHERE name = ?`, table, column).toArray().length > 0;
    if (!has) sql.exec(`ALTER TABLE ${table} ADD COLUMN ${column} ${definition}`);
  }
}
