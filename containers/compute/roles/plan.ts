/**
 * From what the control plane wants and what Postgres has, the statements that make the one the other.
 *
 * Nothing is stated that is so already: a wake writes no WAL for its roles, and applying twice does nothing twice.
 *
 * What an owner is. It administers its database and roles without being a superuser: whatever reaches files,
 * processes or libraries of the container stays with the reserved superuser (COPY to files and programs, untrusted
 * languages and extensions, server-side large object files, tablespaces, ALTER SYSTEM, subscriptions).
 */
import type { DatabaseSpec, RoleSpec } from '../../../lib/protocol/specs.ts';
import { quoteIdentifier, quoteLiteral } from '../postgres/quote.ts';
import { ADMIN_ROLE } from '../postgres/settings.ts';
import type { Catalog, RoleState } from './catalog.ts';

export interface RolesSpec {
  roles: RoleSpec[];
  databases: DatabaseSpec[];
  droppedRoles: string[];
  droppedDatabases: string[];
}

/** One statement; `database` where it must run in a certain one. `description` holds no secret. */
export interface Step {
  sql: string;
  description: string;
  database?: string;
}

/** Predefined roles that an owner has, and may give on (user-manag.sgml, "Predefined Roles"). */
export const OWNER_MEMBERSHIPS: readonly string[] = [
  'pg_monitor',
  'pg_read_all_data',
  'pg_write_all_data',
  'pg_signal_backend',
  'pg_checkpoint',
  'pg_maintain',
  'pg_signal_autovacuum_worker',
];
/** The database that the initdb template has ready: the first one that is wanted is made of it, in no time. */
export const BLANK_DATABASE = 'ebb_blank';
/** Databases that belong to Ebb. */
const SYSTEM_DATABASES: ReadonlySet<string> = new Set(['postgres', 'template0', 'template1', BLANK_DATABASE]);
const SCRAM_SECRET = /^SCRAM-SHA-256\$\d+:[A-Za-z0-9+/=]+\$[A-Za-z0-9+/=]+:[A-Za-z0-9+/=]+$/;

/** What the control plane asks for cannot be. */
export class RolesError extends Error {
  override readonly name = 'RolesError';
}

/** Throws RolesError for reserved names and malformed secrets. */
export function planRoles(spec: RolesSpec, catalog: Catalog): Step[] {
  return [
    ...spec.droppedDatabases.flatMap((name) => dropDatabase(name, catalog)),
    ...spec.roles.flatMap((role) => applyRole(role, catalog.roles.get(role.name))),
    ...applyDatabases(spec.databases, catalog),
    ...spec.droppedRoles.flatMap((name) => dropRole(name, spec, catalog)),
  ];
}

function checkRoleName(name: string): void {
  if (name === ADMIN_ROLE || name === 'public' || name === 'none' || name.startsWith('pg_'))
    throw new RolesError(`role name ${JSON.stringify(name)} is reserved`);
}

function applyRole(wanted: RoleSpec, found: RoleState | undefined): Step[] {
  checkRoleName(wanted.name);
  if (wanted.presentOnly === true && found === undefined) return [];
  if (found?.superuser === true) throw new RolesError(`role ${wanted.name} is a superuser`);
  const { scramSecret: secret } = wanted;
  if (secret !== null && !SCRAM_SECRET.test(secret))
    throw new RolesError(`the secret of role ${JSON.stringify(wanted.name)} is no SCRAM-SHA-256 secret`);

  const options: string[] = [];
  if (found?.canLogin !== true) options.push('LOGIN');
  if (secret !== null && found?.secret !== secret) options.push(`PASSWORD ${quoteLiteral(secret)}`);
  if (wanted.owner) {
    if (found?.createRole !== true) options.push('CREATEROLE');
    if (found?.createDatabase !== true) options.push('CREATEDB');
    if (found?.bypassRowSecurity !== true) options.push('BYPASSRLS');
  }
  const name = quoteIdentifier(wanted.name);
  const steps: Step[] = [];
  if (options.length > 0) {
    const verb = found === undefined ? 'CREATE' : 'ALTER';
    steps.push({
      sql: `${verb} ROLE ${name} ${options.join(' ')}`,
      description: `${verb.toLowerCase()} role ${name}`,
    });
  }
  const missing = wanted.owner
    ? OWNER_MEMBERSHIPS.filter((role) => found?.administers.includes(role) !== true)
    : [];
  if (missing.length > 0) {
    const sql = `GRANT ${missing.join(', ')} TO ${name} WITH ADMIN OPTION`;
    steps.push({ sql, description: `grant ${missing.join(', ')} to role ${name}` });
  }
  return steps;
}

function applyDatabases(wanted: readonly DatabaseSpec[], catalog: Catalog): Step[] {
  let isBlankLeft = catalog.databases.has(BLANK_DATABASE);
  return wanted.flatMap(({ name, owner }) => {
    if (SYSTEM_DATABASES.has(name)) throw new RolesError(`database name ${JSON.stringify(name)} is reserved`);
    checkRoleName(owner);
    const found = catalog.databases.get(name);
    if (found?.owner === owner) return [];
    const [quoted, to] = [quoteIdentifier(name), `OWNER TO ${quoteIdentifier(owner)}`];
    if (found !== undefined) return [statement(`ALTER DATABASE ${quoted} ${to}`)];
    if (isBlankLeft) {
      isBlankLeft = false;
      return [
        statement(`ALTER DATABASE ${BLANK_DATABASE} RENAME TO ${quoted}`),
        statement(`ALTER DATABASE ${quoted} ${to}`),
      ];
    }
    // file_copy: template1 goes into the WAL as one record instead of page by page (7 MB to every safekeeper).
    return [statement(`CREATE DATABASE ${quoted} OWNER ${quoteIdentifier(owner)} STRATEGY file_copy`)];
  });
}
const statement = (sql: string): Step => ({ sql, description: sql });

function dropDatabase(name: string, catalog: Catalog): Step[] {
  if (SYSTEM_DATABASES.has(name)) throw new RolesError(`database ${JSON.stringify(name)} is reserved`);
  const found = catalog.databases.get(name);
  if (found === undefined) return [];
  const quoted = quoteIdentifier(name);
  const steps: Step[] = [];
  if (found.isTemplate) {
    const sql = `ALTER DATABASE ${quoted} IS_TEMPLATE false`;
    steps.push({ sql, description: sql });
  }
  const sql = `DROP DATABASE ${quoted} WITH (FORCE)`;
  return [...steps, { sql, description: sql }];
}

/** What the role owns goes to the owner of the database that it lies in; its privileges go with it. */
function dropRole(name: string, spec: RolesSpec, catalog: Catalog): Step[] {
  checkRoleName(name);
  if (!catalog.roles.has(name)) return [];
  const role = quoteIdentifier(name);
  const wantedOwners = new Map(spec.databases.map((database) => [database.name, database.owner]));
  const steps: Step[] = [];
  for (const { name: database, owner: ownerNow, takesConnections } of catalog.databases.values()) {
    if (!takesConnections || spec.droppedDatabases.includes(database)) continue;
    const owner = wantedOwners.get(database) ?? ownerNow;
    const heir = quoteIdentifier(owner === name ? ADMIN_ROLE : owner);
    const sql = `REASSIGN OWNED BY ${role} TO ${heir}; DROP OWNED BY ${role}`;
    steps.push({ sql, description: `${sql} in database ${quoteIdentifier(database)}`, database });
  }
  const sql = `DROP ROLE ${role}`;
  return [...steps, { sql, description: sql }];
}
