/**
 * /api/v2/projects/{project_id}/endpoints
 *
 * Besides the one read-write endpoint of each branch there are endpoints at a point of the past (`lsn` or `timestamp`, which are
 * Ebb's own): what is written through one is discarded when its compute ends.
 */
import { Hono } from 'hono';
import { z } from 'zod';
import type { NewEndpoint } from '../../durable-objects/project/branching.ts';
import type { Env } from '../env.ts';
import {
  accepted,
  account,
  ApiError,
  body,
  notFound,
  param,
  projectOf,
  projectStub,
  type ApiContext,
} from './context.ts';
import { endpointName } from './names.ts';
import { endpointShape, IDLE } from './shapes.ts';

export const suspendSeconds = z.number().int().min(0).max(604_800);
const pgSettings = z.object({ pg_settings: z.record(z.string(), z.string()).optional() });

/** A name and a number for a new endpoint, with its settings. */
export async function reserveEndpoint(
  c: ApiContext,
  projectId: string,
  options: {
    suspend_timeout_seconds?: number | undefined;
    settings?: { pg_settings?: Record<string, string> | undefined } | undefined;
  },
): Promise<NewEndpoint> {
  const reserved = await account(c).reserveEndpoint(projectId, Array.from({ length: 16 }, endpointName));
  if (!reserved) throw new ApiError(503, 'NAMES_EXHAUSTED', 'no free endpoint name was found; try again');
  const { endpointId, endpointNumber } = reserved;
  return {
    endpointId,
    endpointNumber,
    suspendAfterSeconds: options.suspend_timeout_seconds ?? Number(c.env.SUSPEND_AFTER_SECONDS),
    settings: options.settings?.pg_settings ?? {},
  };
}

export const endpoints = new Hono<{ Bindings: Env }>();

const endpointOf = (c: ApiContext) => shapeOf(c, param(c, 'endpointId'));
async function shapeOf(c: ApiContext, id: string) {
  const overview = await projectOf(c);
  const row = overview.endpoints.find((endpoint) => endpoint.id === id);
  if (!row) throw notFound(`endpoint ${id}`);
  return endpointShape(row, overview.project.id, c.env.POSTGRES_HOST);
}

endpoints.get('/', async (c) => {
  const { project, endpoints: rows } = await projectOf(c);
  return c.json({ endpoints: rows.map((row) => endpointShape(row, project.id, c.env.POSTGRES_HOST)) });
});

endpoints.post('/', async (c) => {
  const { endpoint: wanted } = await body(
    c,
    z.object({
      endpoint: z.object({
        branch_id: z.string(),
        type: z.enum(['read_write', 'read_only']),
        lsn: z.string().optional(),
        timestamp: z.string().optional(),
        suspend_timeout_seconds: suspendSeconds.optional(),
        settings: pgSettings.optional(),
      }),
    }),
  );
  const { project } = await projectOf(c);
  const isPast = wanted.lsn !== undefined || wanted.timestamp !== undefined;
  if (wanted.type === 'read_only' && !isPast)
    throw new ApiError(501, 'NOT_SUPPORTED', 'read-only endpoints at the head are not supported yet');
  if (wanted.type === 'read_write' && isPast)
    throw new ApiError(400, 'BAD_REQUEST', 'an endpoint at a point of the past has the type read_only');
  const reserved = await reserveEndpoint(c, project.id, wanted);
  const made = await projectStub(c, project.id).createEndpoint(wanted.branch_id, reserved, {
    ...(wanted.lsn === undefined ? {} : { lsn: wanted.lsn }),
    ...(wanted.timestamp === undefined ? {} : { timestamp: wanted.timestamp }),
  });
  if (!made.ok) await account(c).removeEndpoint(reserved.endpointId);
  const { endpoint } = accepted(made);
  if (isPast) return c.json({ endpoint: await shapeOf(c, endpoint.id), operations: [] }, 201);
  const row = { ...endpoint, status: IDLE, travel: null };
  return c.json({ endpoint: endpointShape(row, project.id, c.env.POSTGRES_HOST), operations: [] }, 201);
});

endpoints.delete('/:endpointId', async (c) => {
  const endpoint = await endpointOf(c);
  await projectStub(c, param(c, 'projectId')).deleteEndpoint(endpoint.id);
  await account(c).removeEndpoint(endpoint.id);
  return c.json({ endpoint, operations: [] });
});

endpoints.get('/:endpointId', async (c) => c.json({ endpoint: await endpointOf(c) }));

endpoints.patch('/:endpointId', async (c) => {
  const { endpoint } = await body(
    c,
    z.object({
      endpoint: z.object({
        suspend_timeout_seconds: suspendSeconds.optional(),
        settings: pgSettings.optional(),
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
