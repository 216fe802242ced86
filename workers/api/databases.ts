/** /api/v2/projects/{project_id}/branches/{branch_id}/databases */
import { Hono } from 'hono';
import { z } from 'zod';
import type { Env } from '../env.ts';
import { ApiError, body, branchOf, notFound, param, projectStub } from './context.ts';
import { databaseShape } from './shapes.ts';

export const databases = new Hono<{ Bindings: Env }>();

export const databaseName = z
  .string()
  .min(1)
  .refine((name) => new TextEncoder().encode(name).length <= 63, 'at most 63 bytes')
  .refine((name) => !name.includes('\0'), 'no NUL')
  .refine(
    (name) => !['postgres', 'template0', 'template1', 'ebb_blank'].includes(name),
    'this name is reserved',
  );

databases.get('/', async (c) => {
  const { overview, branch } = await branchOf(c);
  const rows = await projectStub(c, overview.project.id).databases(branch.id);
  return c.json({ databases: rows.map(databaseShape) });
});

databases.post('/', async (c) => {
  const { database } = await body(
    c,
    z.object({ database: z.object({ name: databaseName, owner_name: z.string().min(1).max(63) }) }),
  );
  const { overview, branch } = await branchOf(c);
  const stub = projectStub(c, overview.project.id);
  if ((await stub.databases(branch.id)).some((row) => row.name === database.name)) {
    throw new ApiError(409, 'DATABASE_EXISTS', `database ${database.name} exists already`);
  }
  if (!(await stub.roles(branch.id)).some((row) => row.name === database.owner_name)) {
    throw notFound(`role ${database.owner_name}`);
  }
  const row = await stub.putDatabase(branch.id, { name: database.name, owner: database.owner_name });
  return c.json({ database: databaseShape(row), operations: [] }, 201);
});

databases.get('/:database', async (c) => {
  const { overview, branch } = await branchOf(c);
  const rows = await projectStub(c, overview.project.id).databases(branch.id);
  const row = rows.find(({ name }) => name === param(c, 'database'));
  if (!row) throw notFound(`database ${param(c, 'database')}`);
  return c.json({ database: databaseShape(row) });
});

databases.delete('/:database', async (c) => {
  const { overview, branch } = await branchOf(c);
  const row = await projectStub(c, overview.project.id).dropDatabase(branch.id, param(c, 'database'));
  if (!row) throw notFound(`database ${param(c, 'database')}`);
  return c.json({ database: databaseShape(row), operations: [] });
});
