/** Roles and databases: brought to what the control plane wants, and reported as Postgres has them. */
import type { RolesReport } from '../../../lib/protocol/specs.ts';
import { ADMIN_ROLE } from '../postgres/settings.ts';
import type { Superuser } from '../postgres/superuser.ts';
import { CATALOG_QUERY, readCatalog } from './catalog.ts';
import { BLANK_DATABASE, planRoles, type RolesSpec } from './plan.ts';

export const isEmpty = (spec: RolesSpec): boolean =>
  spec.roles.length + spec.databases.length + spec.droppedRoles.length + spec.droppedDatabases.length === 0;

/**
 * Makes Postgres's roles and databases what `spec` says; returns the steps that were needed. Asks Postgres nothing
 * when `spec` is empty. Throws RolesError, or ServerError for the first step that Postgres refused (those before
 * it have taken effect: each is one statement, and applying again goes on from there).
 */
export async function applyRoles(superuser: Superuser, spec: RolesSpec): Promise<string[]> {
  if (isEmpty(spec)) return [];
  const steps = planRoles(spec, readCatalog(await superuser.query(CATALOG_QUERY)));
  for (const step of steps) {
    if (step.database === undefined) {
      await superuser.query(step.sql);
      continue;
    }
    const connection = await superuser.connect(step.database);
    try {
      await connection.query(step.sql);
    } finally {
      await connection.close();
    }
  }
  return steps.map((step) => step.description);
}

/** The snapshot first: what had ended by then is visible to the statement after it. */
const REPORT_QUERY = `
  select pg_snapshot_xmin(pg_current_snapshot()), pg_relation_filenode('pg_authid');
  select rolname, rolpassword, rolcanlogin from pg_authid
  where rolname <> '${ADMIN_ROLE}' and rolname !~ '^pg_' order by rolname;
  select datname, pg_get_userbyid(datdba) from pg_database
  where not datistemplate and datname not in ('postgres', '${BLANK_DATABASE}') order by datname`;

export interface RolesSnapshot {
  report: RolesReport;
  /** Every transaction below this FullTransactionId has ended, and is in the report if it committed. */
  xmin: number;
  /** RelFileNumber of pg_authid, which VACUUM FULL changes. */
  relNumber: number;
}

/** Reads pg_authid. Throws ServerError or ConnectionError. */
export async function readRoles(superuser: Superuser): Promise<RolesSnapshot> {
  const [snapshot, roles, databases] = await superuser.query(REPORT_QUERY);
  return {
    report: {
      roles: roles.rows.map(([name, scramSecret, canLogin]) => ({
        name: name ?? '',
        scramSecret: scramSecret ?? null,
        canLogin: canLogin === 't',
      })),
      databases: databases.rows.map(([name, owner]) => ({ name: name ?? '', owner: owner ?? '' })),
    },
    xmin: Number(snapshot.rows[0][0]),
    relNumber: Number(snapshot.rows[0][1]),
  };
}
