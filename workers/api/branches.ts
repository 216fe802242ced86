/**
 * /api/v2/projects/{project_id}/branches
 *
 * A branch is a few rows: making one neither copies data nor wakes anything, whatever the size; only a `parent_timestamp`
 * is looked up by the pageserver.
 */
import { Hono } from 'hono';
import { z } from 'zod';
import type { PointText } from '../../durable-objects/contracts.ts';
import type { CreatedBranch } from '../../durable-objects/project/project.ts';
import type { Env } from '../env.ts';
import {
  accepted,
  account,
  ApiError,
  body,
  branchOf,
  param,
  projectOf,
  projectStub,
  type ApiContext,
} from './context.ts';
import { reserveEndpoint, suspendSeconds } from './endpoints.ts';
import { branchName } from './names.ts';
import { branchShape, connectionUri, databaseShape, endpointShape, IDLE, roleShape } from './shapes.ts';

export const branches = new Hono<{ Bindings: Env }>();

const name = z.string().min(1).max(256);
const EndpointOptions = z.object({
  type: z.enum(['read_write', 'read_only']).default('read_write'),
  suspend_timeout_seconds: suspendSeconds.optional(),
  settings: z.object({ pg_settings: z.record(z.string(), z.string()).optional() }).optional(),
});
const NewBranch = z.object({
  branch: z
    .object({
      name: name.optional(),
      parent_id: z.string().optional(),
      parent_lsn: z.string().optional(),
      parent_timestamp: z.string().optional(),
      protected: z.boolean().optional(),
    })
    .default({}),
  endpoints: z.array(EndpointOptions).max(1).default([]),
});

const pointOf = (lsn: string | undefined, timestamp: string | undefined): PointText => ({
  ...(lsn === undefined ? {} : { lsn }),
  ...(timestamp === undefined ? {} : { timestamp }),
});

branches.get('/', async (c) => {
  const { project, branches: rows } = await projectOf(c);
  const search = c.req.query('search');
  const shown = rows.filter((row) => search === undefined || `${row.name} ${row.id}`.includes(search));
  return c.json({ branches: shown.map((row) => branchShape(row, project.id)) });
});

branches.post('/', async (c) => {
  const request = await body(c, NewBranch);
  const [options] = request.endpoints;
  if (options?.type === 'read_only')
    throw new ApiError(501, 'NOT_SUPPORTED', 'read-only endpoints of a branch are not supported yet');
  const projectId = param(c, 'projectId');
  const stub = projectStub(c, projectId);
  if ((await stub.historyRetentionSeconds()) === null) await projectOf(c); // throws 404
  const { branch } = request;
  const endpoint = options === undefined ? null : await reserveEndpoint(c, projectId, options);
  const id = branchName();
  const made = await stub.createBranch({
    id,
    name: branch.name ?? id,
    ...(branch.parent_id ? { parentId: branch.parent_id } : {}),
    point: pointOf(branch.parent_lsn, branch.parent_timestamp),
    isProtected: branch.protected ?? false,
    endpoint,
  });
  if (!made.ok && endpoint !== null) await account(c).removeEndpoint(endpoint.endpointId);
  return c.json(createdShape(c, projectId, accepted(made)), 201);
});

function createdShape(c: ApiContext, projectId: string, made: CreatedBranch) {
  const [database] = made.databases;
  const [endpoint] = made.endpoints;
  const to = database &&
    endpoint && { role: database.owner, password: null, database: database.name, endpointId: endpoint.id };
  return {
    branch: branchShape(made.branch, projectId),
    endpoints: made.endpoints.map((row) =>
      endpointShape({ ...row, status: IDLE, travel: null }, projectId, c.env.POSTGRES_HOST),
    ),
    roles: made.roles.map((row) => roleShape(row)),
    databases: made.databases.map(databaseShape),
    // Without the password, which Ebb does not keep: it is the same as on the parent.
    ...(to ? { connection_uris: [connectionUri(c.env, to)] } : {}),
    operations: [],
  };
}

branches.get('/:branchId', async (c) => {
  const { overview, branch } = await branchOf(c);
  return c.json({ branch: branchShape(branch, overview.project.id) });
});

branches.patch('/:branchId', async (c) => {
  const { branch } = await body(
    c,
    z.object({ branch: z.object({ name: name.optional(), protected: z.boolean().optional() }) }),
  );
  const { overview } = await branchOf(c);
  const changed = accepted(
    await projectStub(c, overview.project.id).updateBranch(param(c, 'branchId'), {
      ...(branch.name === undefined ? {} : { name: branch.name }),
      ...(branch.protected === undefined ? {} : { isProtected: branch.protected }),
    }),
  );
  return c.json({ branch: branchShape(changed.branch, overview.project.id), operations: [] });
});

branches.delete('/:branchId', async (c) => {
  const { overview } = await branchOf(c);
  const gone = accepted(await projectStub(c, overview.project.id).deleteBranch(param(c, 'branchId')));
  for (const id of gone.endpointIds) await account(c).removeEndpoint(id);
  return c.json({ branch: branchShape(gone.branch, overview.project.id), operations: [] });
});

branches.post('/:branchId/set_as_default', async (c) => {
  const { overview } = await branchOf(c);
  const { branch } = accepted(
    await projectStub(c, overview.project.id).setDefaultBranch(param(c, 'branchId')),
  );
  return c.json({ branch: branchShape(branch, overview.project.id), operations: [] });
});

branches.post('/:branchId/restore', async (c) => {
  const request = await body(
    c,
    z.object({
      source_branch_id: z.string().min(1),
      source_lsn: z.string().optional(),
      source_timestamp: z.string().optional(),
      preserve_under_name: name.or(z.literal('')).optional(),
    }),
  );
  const { overview } = await branchOf(c);
  const preserve = request.preserve_under_name;
  const { branch } = accepted(
    await projectStub(c, overview.project.id).restoreBranch(param(c, 'branchId'), {
      sourceBranchId: request.source_branch_id,
      point: pointOf(request.source_lsn, request.source_timestamp),
      ...(preserve ? { preserveUnder: { id: branchName(), name: preserve } } : {}),
    }),
  );
  return c.json({ branch: branchShape(branch, overview.project.id), operations: [] });
});

/** Ebb's own: keeps a point readable until a time, whatever the retention. */
branches.post('/:branchId/leases', async (c) => {
  const { lease } = await body(
    c,
    z.object({
      lease: z.object({
        lsn: z.string().optional(),
        timestamp: z.string().optional(),
        seconds: z.number().int().min(1).max(2_592_000),
      }),
    }),
  );
  const { overview } = await branchOf(c);
  const point = pointOf(lease.lsn, lease.timestamp);
  const given = accepted(
    await projectStub(c, overview.project.id).lease(param(c, 'branchId'), point, lease.seconds),
  );
  return c.json({ lease: { lsn: given.lsn, expires_at: given.until } }, 201);
});

branches.get('/:branchId/endpoints', async (c) => {
  const { overview, branch } = await branchOf(c);
  const shapes = overview.endpoints.map((row) =>
    endpointShape(row, overview.project.id, c.env.POSTGRES_HOST),
  );
  return c.json({ endpoints: shapes.filter((shape) => shape.branch_id === branch.id) });
});
