/** /api/v2/projects/{project_id}/endpoints */
import { Hono } from 'hono';
import { z } from 'zod';
import type { Env } from '../env.ts';
import { ApiError, body, notFound, param, projectOf, projectStub, type ApiContext } from './context.ts';
import { suspendSeconds } from './projects.ts';
import { endpointShape } from './shapes.ts';

export const endpoints = new Hono<{ Bindings: Env }>();

async function endpointOf(c: ApiContext) {
  const overview = await projectOf(c);
  const id = param(c, 'endpointId');
  const row = overview.endpoints.find((endpoint) => endpoint.id === id);
  if (!row) throw notFound(`endpoint ${id}`);
  return endpointShape(row, overview.project.id, c.env.POSTGRES_HOST);
}

endpoints.get('/', async (c) => {
  const { project, endpoints: rows } = await projectOf(c);
  return c.json({ endpoints: rows.map((row) => endpointShape(row, project.id, c.env.POSTGRES_HOST)) });
});

endpoints.post('/', async (c) => {
  const request = await body(
    c,
    z.object({ endpoint: z.object({ branch_id: z.string(), type: z.enum(['read_write', 'read_only']) }) }),
  );
  const { branches, endpoints: rows } = await projectOf(c);
  const { branch_id: branchId, type } = request.endpoint;
  if (!branches.some((branch) => branch.id === branchId)) throw notFound(`branch ${branchId}`);
  if (type === 'read_only')
    throw new ApiError(501, 'NOT_SUPPORTED', 'read-only endpoints are not supported yet');
  const existing = rows.find((row) => row.branch_id === branchId);
  throw new ApiError(
    409,
    'ENDPOINT_EXISTS',
    `branch ${branchId} has its read-write endpoint already: ${existing?.id ?? 'unknown'}`,
  );
});

endpoints.get('/:endpointId', async (c) => c.json({ endpoint: await endpointOf(c) }));

endpoints.patch('/:endpointId', async (c) => {
  const { endpoint } = await body(
    c,
    z.object({
      endpoint: z.object({
        suspend_timeout_seconds: suspendSeconds.optional(),
        settings: z.object({ pg_settings: z.record(z.string(), z.string()).optional() }).optional(),
      }),
    }),
  );
  await endpointOf(c);
  await projectStub(c, param(c, 'projectId')).updateEndpoint(param(c, 'endpointId'), {
    ...(endpoint.suspend_timeout_seconds === undefined
      ? {}
      : { suspendAfterSeconds: endpoint.suspend_timeout_seconds }),
    ...(endpoint.settings?.pg_settings === undefined ? {} : { settings: endpoint.settings.pg_settings }),
  });
  return c.json({ endpoint: await endpointOf(c), operations: [] });
});

for (const action of ['start', 'suspend', 'restart'] as const) {
  endpoints.post(`/:endpointId/${action}`, async (c) => {
    await endpointOf(c);
    const compute = c.env.COMPUTE.getByName(param(c, 'endpointId'));
    if (action !== 'start') await compute.suspend();
    if (action !== 'suspend') {
      const woken = await compute.wake();
      if (!woken.ok) throw new ApiError(503, 'COMPUTE_UNAVAILABLE', woken.message);
    }
    return c.json({ endpoint: await endpointOf(c), operations: [] });
  });
}
