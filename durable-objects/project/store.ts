/**
 * The rows of one project, in its Durable Object's SQLite: the control plane's truth.
 *
 * Roles and databases are wanted here and exist in Postgres. A row is `pending` from the moment the control plane
 * changed it until a compute has applied it; a compute is sent pending rows only, so an ordinary wake applies
 * nothing. What Postgres reports of a role overrides a row that is not pending: `ALTER ROLE` by SQL counts.
 */
import type { DatabaseSpec, RoleSpec, RolesReport } from '../../lib/protocol/specs.ts';
import type { ProjectSpecForCompute } from '../contracts.ts';
import { hasTables } from './schema.ts';

export type ProjectRow = {
  id: string;
  name: string;
  system_identifier: string;
  created_at: string;
  updated_at: string;
  history_retention_s: number;
};
export type BranchRow = {
  id: string;
  name: string;
  timeline_id: string;
  is_default: number;
  created_at: string;
  updated_at: string;
  /** Null: the project's first one. */
  parent_id: string | null;
  /** Where it began in its parent. */
  parent_lsn: string | null;
  /** The time that was asked for, if one was. */
  parent_timestamp: string | null;
  protected: number;
  /** Belongs to an endpoint at a past LSN. */
  hidden: number;
};
/** An endpoint at a past LSN of `source_branch_id`; its own branch is hidden. */
export type TravelRow = {
  endpoint_id: string;
  source_branch_id: string;
  timeline_id: string;
  lsn: string;
  timestamp: string | null;
  /** Made for a connection; it goes when its compute has ended. */
  ephemeral: number;
  /** Milliseconds since 1970. */
  used_at: number;
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
  /** Pending only where Postgres has the role. */
  present_only: number;
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

export class ProjectStore {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }
  get exists(): boolean {
    return hasTables(this.#sql) && this.#all('SELECT 1 FROM project').length > 0;
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
      'INSERT INTO project VALUES (?, ?, ?, ?, ?, ?)',
      row.id,
      row.name,
      row.system_identifier,
      row.created_at,
      row.updated_at,
      row.history_retention_s,
    );
  }
  project(): ProjectRow {
    return this.#all<ProjectRow>('SELECT * FROM project')[0];
  }
  updateProject(change: { name?: string; historyRetentionSeconds?: number }, now: string): void {
    this.#sql.exec(
      'UPDATE project SET name = coalesce(?, name), history_retention_s = coalesce(?, history_retention_s), updated_at = ?',
      change.name ?? null,
      change.historyRetentionSeconds ?? null,
      now,
    );
  }
  putBranch(row: BranchRow): void {
    this.#sql.exec(
      `INSERT INTO branch(id, name, timeline_id, is_default, created_at, updated_at, parent_id, parent_lsn,
         parent_timestamp, protected, hidden) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT (id) DO UPDATE SET name = excluded.name, timeline_id = excluded.timeline_id,
         updated_at = excluded.updated_at, parent_id = excluded.parent_id, parent_lsn = excluded.parent_lsn,
         parent_timestamp = excluded.parent_timestamp, protected = excluded.protected`,
      row.id,
      row.name,
      row.timeline_id,
      row.is_default,
      row.created_at,
      row.updated_at,
      row.parent_id,
      row.parent_lsn,
      row.parent_timestamp,
      row.protected,
      row.hidden,
    );
  }
  /** Those that people see. */
  branches(): BranchRow[] {
    return this.#all('SELECT * FROM branch WHERE hidden = 0 ORDER BY created_at, id');
  }
  branch(id: string): BranchRow | null {
    return this.#first('SELECT * FROM branch WHERE id = ?', id);
  }
  branchNamed(name: string): BranchRow | null {
    return this.#first('SELECT * FROM branch WHERE name = ?', name);
  }
  defaultBranch(): BranchRow {
    return this.#all<BranchRow>('SELECT * FROM branch WHERE is_default = 1')[0];
  }
  /** Branches that were made of it, or that read its timeline. */
  children(branch: BranchRow): BranchRow[] {
    return this.#all(
      `SELECT branch.* FROM branch JOIN timeline ON timeline.id = branch.timeline_id
        WHERE branch.hidden = 0 AND branch.id <> ?1 AND (branch.parent_id = ?1 OR timeline.ancestor_id = ?2)
        ORDER BY branch.name`,
      branch.id,
      branch.timeline_id,
    );
  }
  setDefault(branchId: string, now: string): void {
    this.#sql.exec('UPDATE branch SET is_default = (id = ?)', branchId);
    this.#sql.exec('UPDATE branch SET updated_at = ? WHERE id = ?', now, branchId);
  }
  /** The branch's children become those of another. */
  moveChildren(from: string, to: string): void {
    this.#sql.exec('UPDATE branch SET parent_id = ? WHERE parent_id = ? AND id <> ?', to, from, to);
  }
  branchesOfTimeline(timelineId: string): BranchRow[] {
    return this.#all('SELECT * FROM branch WHERE timeline_id = ?', timelineId);
  }
  deleteBranch(id: string): void {
    this.#sql.exec('DELETE FROM role WHERE branch_id = ?', id);
    this.#sql.exec('DELETE FROM database WHERE branch_id = ?', id);
    this.#sql.exec('DELETE FROM branch WHERE id = ?', id);
  }

  // --- endpoints at a past LSN -----------------------------------------------------------------------------

  putTravel(row: TravelRow): void {
    this.#sql.exec(
      `INSERT OR REPLACE INTO travel(endpoint_id, source_branch_id, timeline_id, lsn, timestamp, ephemeral, used_at)
         VALUES (?, ?, ?, ?, ?, ?, ?)`,
      row.endpoint_id,
      row.source_branch_id,
      row.timeline_id,
      row.lsn,
      row.timestamp,
      row.ephemeral,
      row.used_at,
    );
  }
  travels(): TravelRow[] {
    return this.#all('SELECT * FROM travel ORDER BY endpoint_id');
  }
  travel(endpointId: string): TravelRow | null {
    return this.#first('SELECT * FROM travel WHERE endpoint_id = ?', endpointId);
  }
  deleteTravel(endpointId: string): void {
    this.#sql.exec('DELETE FROM travel WHERE endpoint_id = ?', endpointId);
  }
  stale(): string[] {
    return this.#all<{ endpoint_id: string }>('SELECT endpoint_id FROM stale').map((row) => row.endpoint_id);
  }
  setStale(endpointId: string, isStale: boolean): void {
    this.#sql.exec('DELETE FROM stale WHERE endpoint_id = ?', endpointId);
    if (isStale) this.#sql.exec('INSERT INTO stale VALUES (?)', endpointId);
  }

  /** Counts up; the caller's answer leaves this object only after it is on disk. */
  nextTerm(timelineId: string): number | null {
    this.#sql.exec('UPDATE timeline SET term = term + 1 WHERE id = ?', timelineId);
    return this.term(timelineId);
  }
  /** 0 where no compute was ever started. */
  term(timelineId: string): number | null {
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
  endpointsOf(branchId: string): EndpointRow[] {
    return this.#all('SELECT * FROM endpoint WHERE branch_id = ? ORDER BY created_at, id', branchId);
  }
  /** Of the branch whose timeline it is. */
  endpointsOfTimeline(timelineId: string): EndpointRow[] {
    return this.#all(
      `SELECT endpoint.* FROM endpoint JOIN branch ON branch.id = endpoint.branch_id
        WHERE branch.timeline_id = ? ORDER BY endpoint.created_at, endpoint.id`,
      timelineId,
    );
  }
  deleteEndpoint(id: string): void {
    this.#sql.exec('DELETE FROM stale WHERE endpoint_id = ?', id);
    this.#sql.exec('DELETE FROM endpoint WHERE id = ?', id);
  }

  // --- roles and databases ---------------------------------------------------------------------------------

  putRole(branchId: string, role: RoleSpec, now: string): void {
    this.#sql.exec(
      `INSERT INTO role(branch_id, name, secret, owner, can_login, pending, created_at, updated_at)
         VALUES (?, ?, ?, ?, ?, 1, ?, ?)
       ON CONFLICT (branch_id, name) DO UPDATE SET secret = excluded.secret, pending = 1, dropped = 0, present_only = 0,
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
        .map((row) => ({
          name: row.name,
          scramSecret: row.secret,
          owner: row.owner === 1,
          ...(row.present_only === 1 ? { presentOnly: true } : {}),
        })),
      databases: databases.filter((row) => !row.dropped).map((row) => ({ name: row.name, owner: row.owner })),
      droppedRoles: roles.filter((row) => row.dropped).map((row) => row.name),
      droppedDatabases: databases.filter((row) => row.dropped).map((row) => row.name),
    };
  }

  /** A compute has applied `spec`: what is still as it says is no longer pending. */
  applied(branchId: string, spec: ProjectSpecForCompute): void {
    for (const role of spec.roles) {
      this.#sql.exec(
        'UPDATE role SET pending = 0, present_only = 0 WHERE branch_id = ? AND name = ? AND secret IS ? AND dropped = 0',
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
        `INSERT INTO role(branch_id, name, secret, owner, can_login, pending, created_at, updated_at)
           VALUES (?, ?, ?, 0, ?, 0, ?, ?)
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
  /** Postgres's databases as they are; rows that wait to be applied are left as they are wanted. */
  reportDatabases(branchId: string, databases: readonly DatabaseSpec[], now: string): void {
    const known = new Map(
      this.#all<DatabaseRow>('SELECT * FROM database WHERE branch_id = ?', branchId).map((row) => [
        row.name,
        row,
      ]),
    );
    for (const { name, owner } of databases) {
      const row = known.get(name);
      known.delete(name);
      if (row?.pending || row?.owner === owner) continue;
      this.#sql.exec(
        `INSERT INTO database(branch_id, name, owner, pending, created_at, updated_at) VALUES (?, ?, ?, 0, ?, ?)
         ON CONFLICT (branch_id, name) DO UPDATE SET owner = excluded.owner, updated_at = excluded.updated_at`,
        branchId,
        name,
        owner,
        now,
        now,
      );
    }
    for (const gone of known.values())
      if (!gone.pending) this.#sql.exec('DELETE FROM database WHERE id = ?', gone.id);
  }

  /**
   * A new branch has its source's roles and databases. At the head they are the source's rows, changes that wait
   * included. Of the past only Postgres knows which there were: rows are a guess until its first compute reports, and
   * a role gets the password of today if it is there.
   */
  copyRoles(from: string, to: string, isPast: boolean): void {
    this.#sql.exec(
      isPast
        ? `INSERT INTO role(branch_id, name, secret, owner, can_login, pending, dropped, created_at, updated_at, present_only)
             SELECT ?2, name, secret, owner, can_login, can_login AND secret IS NOT NULL, 0, created_at, updated_at, 1
               FROM role WHERE branch_id = ?1 AND dropped = 0`
        : `INSERT INTO role(branch_id, name, secret, owner, can_login, pending, dropped, created_at, updated_at, present_only)
             SELECT ?2, name, secret, owner, can_login, pending, dropped, created_at, updated_at, present_only
               FROM role WHERE branch_id = ?1`,
      from,
      to,
    );
    this.#sql.exec(
      `INSERT INTO database(branch_id, name, owner, pending, dropped, created_at, updated_at)
         SELECT ?2, name, owner, pending, dropped, created_at, updated_at FROM database
          WHERE branch_id = ?1 ${isPast ? 'AND pending = 0' : ''} ORDER BY id`,
      from,
      to,
    );
  }
  /** What the branch has of its own is forgotten, and is now as `copyRoles` of another makes it. */
  replaceRoles(branchId: string, from: string, isPast: boolean): void {
    if (from === branchId) {
      if (isPast)
        this.#sql.exec(
          `UPDATE role SET pending = can_login AND secret IS NOT NULL, present_only = 1 WHERE branch_id = ? AND dropped = 0`,
          branchId,
        );
      return;
    }
    this.#sql.exec('DELETE FROM role WHERE branch_id = ?', branchId);
    this.#sql.exec('DELETE FROM database WHERE branch_id = ?', branchId);
    this.copyRoles(from, branchId, isPast);
  }
  #allRoles(branchId: string): RoleRow[] {
    return this.#all('SELECT * FROM role WHERE branch_id = ?', branchId);
  }
}
