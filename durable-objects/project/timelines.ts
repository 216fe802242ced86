/**
 * Timelines of a project, as rows: what each began as, how much of its history is kept, and which are to be removed.
 *
 * The rule that lets a pageserver drop history: below a recorded horizon no branch and no lease is ever made. All of
 * this is synchronous in one object, so nothing comes between the look and the record.
 */
import { lsn as asLsn, formatLsn, parseLsn, type Lsn } from '../../lib/postgres/lsn.ts';
import type { HorizonAnswer, TimelineOrigin, TimelineSpec } from '../../lib/protocol/specs.ts';

type TimelineRow = {
  id: string;
  start_lsn: string;
  origin: string;
  ancestor_id: string | null;
  created_at: string;
  horizon: number;
  settled: number;
};

export interface Timeline {
  spec: TimelineSpec;
  createdAt: string;
  /** Below it nothing is promised to be readable; 0/0 when nothing was ever dropped. */
  horizonLsn: Lsn;
  /** The ancestor's safekeepers know for good that the branch point is committed. */
  isSettled: boolean;
}

export class Timelines {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }
  #rows<T extends Record<string, SqlStorageValue>>(query: string, ...values: SqlStorageValue[]): T[] {
    return this.#sql.exec<T>(query, ...values).toArray();
  }

  insert(spec: TimelineSpec, createdAt: string, isSettled: boolean): void {
    this.#sql.exec(
      'INSERT INTO timeline(id, start_lsn, origin, ancestor_id, created_at, settled) VALUES (?, ?, ?, ?, ?, ?)',
      spec.timelineId,
      spec.startLsn,
      JSON.stringify(spec.origin),
      spec.origin.kind === 'branch' ? spec.origin.ancestor.timelineId : null,
      createdAt,
      isSettled ? 1 : 0,
    );
  }
  get(id: string): Timeline | null {
    const row = this.#rows<TimelineRow>('SELECT * FROM timeline WHERE id = ?', id)[0];
    if (row === undefined) return null;
    const [project] = this.#rows<{ id: string; system_identifier: string }>('SELECT * FROM project');
    return {
      spec: {
        projectId: project.id,
        timelineId: row.id,
        postgresMajor: 18,
        systemIdentifier: project.system_identifier,
        startLsn: row.start_lsn,
        origin: JSON.parse(row.origin) as TimelineOrigin,
      },
      createdAt: row.created_at,
      horizonLsn: asLsn(row.horizon),
      isSettled: row.settled === 1,
    };
  }
  /** Every one that still has storage. */
  all(): string[] {
    return this.#rows<{ id: string }>(
      'SELECT id FROM timeline UNION SELECT timeline_id AS id FROM doomed ORDER BY id',
    ).map(({ id }) => id);
  }
  settled(id: string): void {
    this.#sql.exec('UPDATE timeline SET settled = 1 WHERE id = ?', id);
  }
  /** Branches read it, whatever became of the branch that it was of. */
  isAncestor(id: string): boolean {
    return this.#rows('SELECT 1 FROM timeline WHERE ancestor_id = ? LIMIT 1', id).length > 0;
  }

  /** Records that history below `horizonLsn` may be dropped, and says what of it may not. */
  recordHorizon(id: string, horizonLsn: Lsn, nowMs: number): HorizonAnswer | null {
    const timeline = this.get(id);
    if (timeline === null) return null;
    const horizon = Math.max(horizonLsn, timeline.horizonLsn);
    this.#sql.exec('UPDATE timeline SET horizon = ? WHERE id = ?', horizon, id);
    this.#sql.exec('DELETE FROM lease WHERE until <= ?', nowMs);
    const points = this.#rows<{ lsn: string }>(
      'SELECT start_lsn AS lsn FROM timeline WHERE ancestor_id = ?1 UNION SELECT lsn FROM lease WHERE timeline_id = ?1',
      id,
    ).map(({ lsn }) => parseLsn(lsn));
    return {
      horizonLsn: formatLsn(asLsn(horizon)),
      retainedLsns: points
        .filter((point) => point < horizon)
        .sort((a, b) => a - b)
        .map(formatLsn),
    };
  }

  /** Keeps `at` readable until `untilMs`; false below the horizon. */
  lease(lease: { id: string; timelineId: string; at: Lsn; untilMs: number }): boolean {
    const timeline = this.get(lease.timelineId);
    if (timeline === null || lease.at < timeline.horizonLsn) return false;
    this.#sql.exec(
      'INSERT INTO lease VALUES (?, ?, ?, ?)',
      lease.id,
      lease.timelineId,
      formatLsn(lease.at),
      lease.untilMs,
    );
    return true;
  }

  /** No row names it any more; its storage is removed when somebody gets round to it (`doomed`). */
  doom(id: string): void {
    this.#sql.exec('DELETE FROM timeline WHERE id = ?', id);
    this.#sql.exec('DELETE FROM lease WHERE timeline_id = ?', id);
    this.#sql.exec('INSERT OR IGNORE INTO doomed VALUES (?)', id);
  }
  doomed(): string[] {
    return this.#rows<{ timeline_id: string }>('SELECT timeline_id FROM doomed').map(
      (row) => row.timeline_id,
    );
  }
  removed(id: string): void {
    this.#sql.exec('DELETE FROM doomed WHERE timeline_id = ?', id);
  }
}
