/** A branch that began in the past: roles get the password of today where they are there, and none is made. */
import { expect, test } from 'vitest';
import { planRoles, type RolesSpec } from '../../../../containers/compute/roles/plan.ts';
import type { Catalog, RoleState } from '../../../../containers/compute/roles/catalog.ts';

const SECRET = 'SCRAM-SHA-256$4096:c2FsdA==$c3RvcmVk:c2VydmVy';
const there: RoleState = {
  name: 'there',
  secret: 'SCRAM-SHA-256$4096:b2xk$b2xk:b2xk',
  canLogin: true,
  superuser: false,
  createRole: false,
  createDatabase: false,
  bypassRowSecurity: false,
  administers: [],
};
const catalog: Catalog = { roles: new Map([['there', there]]), databases: new Map() };
const spec = (name: string, presentOnly: boolean): RolesSpec => ({
  roles: [{ name, scramSecret: SECRET, owner: false, ...(presentOnly ? { presentOnly } : {}) }],
  databases: [],
  droppedRoles: [],
  droppedDatabases: [],
});
const statements = (of: RolesSpec) => planRoles(of, catalog).map(({ sql }) => sql);

test('one that is there gets its password, one that is not stays away', () => {
  expect(statements(spec('there', true))).toEqual([`ALTER ROLE "there" PASSWORD '${SECRET}'`]);
  expect(statements(spec('later', true))).toEqual([]);
  expect(statements(spec('later', false))).toEqual([`CREATE ROLE "later" LOGIN PASSWORD '${SECRET}'`]);
});
