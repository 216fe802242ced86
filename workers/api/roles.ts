/**
 * /api/v2/projects/{project_id}/branches/{branch_id}/roles
 *
 * Ebb keeps a role's SCRAM secret, never its password: a password is shown once, when it is made.
 */
import { Hono } from 'hono';
import { z } from 'zod';
import { makeSecret } from '../../lib/postgres/scram/secret.ts';
import type { Env } from '../env.ts';
import { ApiError, body, branchOf, notFound, param, projectStub } from './context.ts';
import { password } from './names.ts';
import { roleShape } from './shapes.ts';

export const roles = new Hono<{ Bindings: Env }>();

/** NAMEDATALEN - 1 bytes; no NUL; none of Postgres's or Ebb's own. */
export const identifier = z
  .string()
  .min(1)
  .refine((name) => new TextEncoder().encode(name).length <= 63, 'at most 63 bytes')
  .refine((name) => !name.includes('\0'), 'no NUL');
export const roleName = identifier.refine(
  (name) => !/^(pg_|ebb_)/.test(name) && !['public', 'none'].includes(name),
  'this name is reserved',
);

export const newSecret = (text: string): Promise<string> =>
  makeSecret(text, { salt: crypto.getRandomValues(new Uint8Array(16)) });

roles.get('/', async (c) => {
  const { overview, branch } = await branchOf(c);
  const rows = await projectStub(c, overview.project.id).roles(branch.id);
  return c.json({ roles: rows.map((row) => roleShape(row)) });
});

roles.post('/', async (c) => {
  const { role } = await body(c, z.object({ role: z.object({ name: roleName }) }));
  const { overview, branch } = await branchOf(c);
  const stub = projectStub(c, overview.project.id);
  if ((await stub.roles(branch.id)).some((row) => row.name === role.name)) {
    throw new ApiError(409, 'ROLE_EXISTS', `role ${role.name} exists already`);
  }
  const text = password();
  const row = await stub.putRole(branch.id, {
    name: role.name,
    scramSecret: await newSecret(text),
    owner: true,
  });
  return c.json({ role: roleShape(row, text), operations: [] }, 201);
});

roles.get('/:role', async (c) => {
  const { overview, branch } = await branchOf(c);
  const row = (await projectStub(c, overview.project.id).roles(branch.id)).find(
    ({ name }) => name === param(c, 'role'),
  );
  if (!row) throw notFound(`role ${param(c, 'role')}`);
  return c.json({ role: roleShape(row) });
});

roles.delete('/:role', async (c) => {
  const { overview, branch } = await branchOf(c);
  const row = await projectStub(c, overview.project.id).dropRole(branch.id, param(c, 'role'));
  if (!row) throw notFound(`role ${param(c, 'role')}`);
  return c.json({ role: roleShape(row), operations: [] });
});

roles.post('/:role/reset_password', async (c) => {
  const { overview, branch } = await branchOf(c);
  const stub = projectStub(c, overview.project.id);
  const row = (await stub.roles(branch.id)).find(({ name }) => name === param(c, 'role'));
  if (!row) throw notFound(`role ${param(c, 'role')}`);
  const text = password();
  const changed = await stub.putRole(branch.id, {
    name: row.name,
    scramSecret: await newSecret(text),
    owner: row.owner === 1,
  });
  return c.json({ role: roleShape(changed, text), operations: [] });
});

roles.get('/:role/reveal_password', () => {
  throw new ApiError(
    412,
    'PASSWORD_NOT_STORED',
    'Ebb does not keep passwords; use reset_password to make a new one',
  );
});
