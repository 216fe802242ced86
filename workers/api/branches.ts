/** /api/v2/projects/{project_id}/branches */
import { Hono } from 'hono';
import type { Env } from '../env.ts';
import { ApiError, branchOf, projectOf } from './context.ts';
import { branchShape, endpointShape } from './shapes.ts';

export const branches = new Hono<{ Bindings: Env }>();

branches.get('/', async (c) => {
  const { project, branches: rows } = await projectOf(c);
  return c.json({ branches: rows.map((row) => branchShape(row, project.id)) });
});

branches.post('/', async (c) => {
  await projectOf(c);
  throw new ApiError(
    501,
    'NOT_SUPPORTED',
    'making further branches is not supported yet; a project has its first one',
  );
});

branches.get('/:branchId', async (c) => {
  const { overview, branch } = await branchOf(c);
  return c.json({ branch: branchShape(branch, overview.project.id) });
});

branches.get('/:branchId/endpoints', async (c) => {
  const { overview, branch } = await branchOf(c);
  const rows = overview.endpoints.filter((row) => row.branch_id === branch.id);
  return c.json({
    endpoints: rows.map((row) => endpointShape(row, overview.project.id, c.env.POSTGRES_HOST)),
  });
});
