/** What Postgres has of roles and databases now. All of it is in shared catalogs, so one query tells. */
import type { Result } from '../postgres/connection.ts';

export interface RoleState {
  name: string;
  secret: string | null;
  canLogin: boolean;
  superuser: boolean;
  createRole: boolean;
  createDatabase: boolean;
  bypassRowSecurity: boolean;
  /** Roles of which this one is a direct member with ADMIN. */
  administers: string[];
}
export interface DatabaseState {
  name: string;
  owner: string;
  isTemplate: boolean;
  takesConnections: boolean;
}
export interface Catalog {
  roles: Map<string, RoleState>;
  databases: Map<string, DatabaseState>;
}

/** Two statements, to be given to `readCatalog` in this order. */
export const CATALOG_QUERY = `
  select rolname, rolpassword, rolcanlogin, rolsuper, rolcreaterole, rolcreatedb, rolbypassrls,
    array_to_json(array(select g.rolname from pg_auth_members m join pg_authid g on g.oid = m.roleid
                        where m.member = a.oid and m.admin_option))
  from pg_authid a order by rolname;
  select datname, pg_get_userbyid(datdba), datistemplate, datallowconn from pg_database order by datname`;

export function readCatalog([roles, databases]: Result[]): Catalog {
  const text = (value: string | null | undefined): string => value ?? '';
  return {
    roles: new Map(
      roles.rows.map((row) => {
        const name = text(row[0]);
        return [
          name,
          {
            name,
            secret: row[1] ?? null,
            canLogin: row[2] === 't',
            superuser: row[3] === 't',
            createRole: row[4] === 't',
            createDatabase: row[5] === 't',
            bypassRowSecurity: row[6] === 't',
            administers: JSON.parse(text(row[7])) as string[],
          },
        ];
      }),
    ),
    databases: new Map(
      databases.rows.map((row) => [
        text(row[0]),
        {
          name: text(row[0]),
          owner: text(row[1]),
          isTemplate: row[2] === 't',
          takesConnections: row[3] === 't',
        },
      ]),
    ),
  };
}
