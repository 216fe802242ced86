/**
 * The rows of one project, in its Durable Object's SQLite: the control plane's truth.
 *
 * Roles and databases are wanted here and exist in Postgres. A row is `pending` from the moment the control plane
 * changed it until a compute has applied it; a compute is sent pending rows only, so an ordinary wake applies
 * nothing. What Postgres reports of a role overrides a row that is not pending: `ALTER ROLE` by SQL counts.
 */
import type {
  DatabaseSpec,
  RoleSpec,
  RolesReport,
  TimelineOrigin,
  TimelineSpec,
} from '../../lib/protocol/specs.ts';
import type { ProjectSpecForCompute } from '../contracts.ts';

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS project(
    id TEXT PRIMARY KEY, name TEXT NOT NULL, system_identifier TEXT NOT NULL,
    created_at TEXT NOT NULL, updated_at TEXT NOT NULL);
  CREATE TABLE IF NOT EXISTS branch(
    id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, timeline_id TEXT NOT NULL, is_default INTEGER NOT NULL,
    created_at TEXT NOT NULL, updated_at TEXT NOT NULL);
  CREATE TABLE IF NOT EXISTS timeline(
    id TEXT PRIMARY KEY, start_lsn TEXT NOT NULL, origin TEXT NOT NULL, term INTEGER NOT NULL DEFAULT 0);
  CREATE TABLE IF NOT EXISTS endpoint(
    id TEXT PRIMARY KEY, branch_id TEXT NOT NULL, number INTEGER NOT NULL, suspend_after_s INTEGER NOT NULL,
    settings TEXT NOT NULL, created_at TEXT NOT NULL, updated_at TEXT NOT NULL);
  CREATE TABLE IF NOT EXISTS role(
    branch_id TEXT NOT NULL, name TEXT NOT NULL, secret TEXT, owner INTEGER NOT NULL, can_login INTEGER NOT NULL,
    pending INTEGER NOT NULL, dropped INTEGER NOT NULL DEFAULT 0, created_at TEXT NOT NULL, updated_at TEXT NOT NULL,
    PRIMARY KEY (branch_id, name));
  CREATE TABLE IF NOT EXISTS database(
    id INTEGER PRIMARY KEY AUTOINCREMENT, branch_id TEXT NOT NULL, name TEXT NOT NULL, owner TEXT NOT NULL,
    pending INTEGER NOT NULL, dropped INTEGER NOT NULL DEFAULT 0, created_at TEXT NOT NULL, updated_at TEXT NOT NULL,
    UNIQUE (branch_id, name));
`;

export type ProjectRow = {
  id: string;
  name: string;
  system_identifier: string;
  created_at: string;
  updated_at: string;
};
export type BranchRow = {
  id: string;
  name: string;
  timeline_id: string;
  is_default: number;
  created_at: string;
  updated_at: string;
};
export type EndpointRow = {
  id: string;
  branch_id: string;
  number: number;
  suspend_after_s: number;
  settings: string;
  created_at: string;
  updated_at: string;
};
export type RoleRow = {
  branch_id: string;
  name: string;
  secret: string | null;
  owner: number;
  can_login: number;
  pending: number;
  dropped: number;
  created_at: string;
  updated_at: string;
};
export type DatabaseRow = {
  id: number;
  branch_id: string;
  name: string;
  owner: string;
  pending: number;
  dropped: number;
  created_at: string;
  updated_at: string;
};
type TimelineRow = { id: string; start_lsn: string; origin: string; term: number };

export class ProjectStore {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }
  /** Makes the tables; only a project that is being created may call it. */
  initialise(): void {
    this.#sql.exec(SCHEMA);
  }
  get exists(): boolean {
    const tables = this.#sql
      .exec(`SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'project'`)
      .toArray();
    return tables.length > 0 && this.#all('SELECT 1 FROM project').length > 0;
  }
  #all<T extends Record<string, SqlStorageValue>>(query: string, ...values: SqlStorageValue[]): T[] {
    return this.#sql.exec<T>(query, ...values).toArray();
  }
  #first<T extends Record<string, SqlStorageValue>>(query: string, ...values: SqlStorageValue[]): T | null {
    return this.#all<T>(query, ...values)[0] ?? null;
  }

  // --- project, branches, timelines ------------------------------------------------------------------------

  insertProject(row: ProjectRow): void {
    this.#sql.exec(
      'INSERT INTO project VALUES (?, ?, ?, ?, ?)',
      row.id,
      row.name,
      row.system_identifier,
      row.created_at,
      row.updated_at,
    );
  }
  project(): ProjectRow {
    return this.#all<ProjectRow>('SELECT * FROM project')[0];
  }
  renameProject(name: string, now: string): void {
    this.#sql.exec('UPDATE project SET name = ?, updated_at = ?', name, now);
  }
  insertBranch(row: BranchRow, startLsn: string, origin: TimelineOrigin): void {
    this.#sql.exec(
      'INSERT INTO timeline(id, start_lsn, origin) VALUES (?, ?, ?)',
      row.timeline_id,
      startLsn,
      JSON.stringify(origin),
    );
    this.#sql.exec(
      'INSERT INTO branch VALUES (?, ?, ?, ?, ?, ?)',
      row.id,
      row.name,
      row.timeline_id,
      row.is_default,
      row.created_at,
      row.updated_at,
    );
  }
  branches(): BranchRow[] {
    return this.#all('SELECT * FROM branch ORDER BY created_at, id');
  }
  branch(id: string): BranchRow | null {
    return this.#first('SELECT * FROM branch WHERE id = ?', id);
  }
  timelineSpec(timelineId: string): TimelineSpec | null {
    const row = this.#first<TimelineRow>('SELECT * FROM timeline WHERE id = ?', timelineId);
    if (!row) return null;
    const project = this.project();
    return {
      projectId: project.id,
      timelineId: row.id,
      postgresMajor: 18,
      systemIdentifier: project.system_identifier,
      startLsn: row.start_lsn,
      origin: JSON.parse(row.origin) as TimelineOrigin,
    };
  }
  timelines(): string[] {
    return this.#all<{ id: string }>('SELECT id FROM timeline ORDER BY id').map((row) => row.id);
  }
  /** Counts up; the caller's answer leaves this object only after it is on disk. */
  nextTerm(timelineId: string): number | null {
    this.#sql.exec('UPDATE timeline SET term = term + 1 WHERE id = ?', timelineId);
    return this.#first<{ term: number }>('SELECT term FROM timeline WHERE id = ?', timelineId)?.term ?? null;
  }

  // --- endpoints -------------------------------------------------------------------------------------------

  putEndpoint(row: EndpointRow): void {
    this.#sql.exec(
      'INSERT OR REPLACE INTO endpoint VALUES (?, ?, ?, ?, ?, ?, ?)',
      row.id,
      row.branch_id,
      row.number,
      row.suspend_after_s,
      row.settings,
      row.created_at,
      row.updated_at,
    );
  }
  endpoints(): EndpointRow[] {
    return this.#all('SELECT * FROM endpoint ORDER BY created_at, id');
  }
  endpoint(id: string): EndpointRow | null {
    return this.#first('SELECT * FROM endpoint WHERE id = ?', id);
  }
  deleteEndpoint(id: string): void {
    this.#sql.exec('DELETE FROM endpoint WHERE id = ?', id);
  }

  // --- roles and databases ---------------------------------------------------------------------------------

  putRole(branchId: string, role: RoleSpec, now: string): void {
    this.#sql.exec(
      `INSERT INTO role VALUES (?, ?, ?, ?, ?, 1, 0, ?, ?)
       ON CONFLICT (branch_id, name) DO UPDATE SET secret = excluded.secret, pending = 1, dropped = 0,
         updated_at = excluded.updated_at`,
      branchId,
      role.name,
      role.scramSecret,
      role.owner ? 1 : 0,
      role.scramSecret === null ? 0 : 1,
      now,
      now,
    );
  }
  roles(branchId: string): RoleRow[] {
    return this.#all('SELECT * FROM role WHERE branch_id = ? AND dropped = 0 ORDER BY name', branchId);
  }
  role(branchId: string, name: string): RoleRow | null {
    return this.#first('SELECT * FROM role WHERE branch_id = ? AND name = ? AND dropped = 0', branchId, name);
  }
  dropRole(branchId: string, name: string): void {
    this.#sql.exec(
      'UPDATE role SET dropped = 1, pending = 1 WHERE branch_id = ? AND name = ?',
      branchId,
      name,
    );
  }
  putDatabase(branchId: string, database: DatabaseSpec, now: string): DatabaseRow {
    this.#sql.exec(
      `INSERT INTO database(branch_id, name, owner, pending, created_at, updated_at) VALUES (?, ?, ?, 1, ?, ?)
       ON CONFLICT (branch_id, name) DO UPDATE SET owner = excluded.owner, pending = 1, dropped = 0,
         updated_at = excluded.updated_at`,
      branchId,
      database.name,
      database.owner,
      now,
      now,
    );
    return this.database(branchId, database.name)!;
  }
  databases(branchId: string): DatabaseRow[] {
    return this.#all('SELECT * FROM database WHERE branch_id = ? AND dropped = 0 ORDER BY id', branchId);
  }
  database(branchId: string, name: string): DatabaseRow | null {
    return this.#first(
      'SELECT * FROM database WHERE branch_id = ? AND name = ? AND dropped = 0',
      branchId,
      name,
    );
  }
  dropDatabase(branchId: string, name: string): void {
    this.#sql.exec(
      'UPDATE database SET dropped = 1, pending = 1 WHERE branch_id = ? AND name = ?',
      branchId,
      name,
    );
  }

  // --- between the control plane and Postgres --------------------------------------------------------------

  pending(branchId: string): ProjectSpecForCompute {
    const roles = this.#all<RoleRow>(
      'SELECT * FROM role WHERE branch_id = ? AND pending = 1 ORDER BY name',
      branchId,
    );
    const databases = this.#all<DatabaseRow>(
      'SELECT * FROM database WHERE branch_id = ? AND pending = 1 ORDER BY id',
      branchId,
    );
    return {
      roles: roles
        .filter((row) => !row.dropped)
        .map((row) => ({ name: row.name, scramSecret: row.secret, owner: row.owner === 1 })),
      databases: databases.filter((row) => !row.dropped).map((row) => ({ name: row.name, owner: row.owner })),
      droppedRoles: roles.filter((row) => row.dropped).map((row) => row.name),
      droppedDatabases: databases.filter((row) => row.dropped).map((row) => row.name),
    };
  }

  /** A compute has applied `spec`: what is still as it says is no longer pending. */
  applied(branchId: string, spec: ProjectSpecForCompute): void {
    for (const role of spec.roles) {
      this.#sql.exec(
        'UPDATE role SET pending = 0 WHERE branch_id = ? AND name = ? AND secret IS ? AND dropped = 0',
        branchId,
        role.name,
        role.scramSecret,
      );
    }
    for (const database of spec.databases) {
      this.#sql.exec(
        'UPDATE database SET pending = 0 WHERE branch_id = ? AND name = ? AND owner = ? AND dropped = 0',
        branchId,
        database.name,
        database.owner,
      );
    }
    for (const name of spec.droppedRoles) {
      this.#sql.exec('DELETE FROM role WHERE branch_id = ? AND name = ? AND dropped = 1', branchId, name);
    }
    for (const name of spec.droppedDatabases) {
      this.#sql.exec('DELETE FROM database WHERE branch_id = ? AND name = ? AND dropped = 1', branchId, name);
    }
  }

  /** Postgres's roles as they are; rows that wait to be applied are left as they are wanted. */
  reportRoles(branchId: string, report: RolesReport, now: string): void {
    const known = new Map(this.#allRoles(branchId).map((row) => [row.name, row]));
    for (const role of report.roles) {
      const row = known.get(role.name);
      known.delete(role.name);
      if (row?.pending) continue;
      this.#sql.exec(
        `INSERT INTO role VALUES (?, ?, ?, 0, ?, 0, 0, ?, ?)
         ON CONFLICT (branch_id, name) DO UPDATE SET secret = excluded.secret, can_login = excluded.can_login,
           updated_at = CASE WHEN secret IS excluded.secret THEN updated_at ELSE excluded.updated_at END`,
        branchId,
        role.name,
        role.scramSecret,
        role.canLogin ? 1 : 0,
        now,
        now,
      );
    }
    for (const gone of known.values()) {
      if (!gone.pending) {
        this.#sql.exec(
          'DELETE FROM role WHERE branch_id = ? AND name = ? AND pending = 0',
          branchId,
          gone.name,
        );
      }
    }
  }
  #allRoles(branchId: string): RoleRow[] {
    return this.#all('SELECT * FROM role WHERE branch_id = ?', branchId);
  }
}
