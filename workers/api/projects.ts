/** /api/v2/projects */
import { Hono } from 'hono';
import { z } from 'zod';
import type { ProjectOverview } from '../../durable-objects/project/project.ts';
import type { Env } from '../env.ts';
import { account, ApiError, body, param, projectOf, projectStub } from './context.ts';
import { suspendSeconds } from './endpoints.ts';
import { branchName, endpointName, password, projectName } from './names.ts';
import { newSecret, roleName } from './roles.ts';
import {
  branchShape,
  connectionUri,
  databaseShape,
  endpointShape,
  projectShape,
  roleShape,
} from './shapes.ts';
import { databaseName } from './databases.ts';

export const projects = new Hono<{ Bindings: Env }>();

/** Seven days, as Neon's default for most plans is; thirty at most. */
const HISTORY_RETENTION_SECONDS = 604_800;
const historyRetentionSeconds = z.number().int().min(0).max(2_592_000);

const NewProject = z.object({
  project: z
    .object({
      name: z.string().min(1).max(256).optional(),
      pg_version: z.literal(18).optional(),
      history_retention_seconds: historyRetentionSeconds.optional(),
      branch: z
        .object({ name: z.string().min(1).max(256), role_name: roleName, database_name: databaseName })
        .partial()
        .optional(),
      default_endpoint_settings: z.object({ suspend_timeout_seconds: suspendSeconds.optional() }).optional(),
    })
    .default({}),
});

const shape = (overview: ProjectOverview) =>
  projectShape(overview.project, overview.endpoints[0]?.suspend_after_s ?? 0);

projects.get('/', async (c) => {
  const overviews = await Promise.all(
    (await account(c).projects()).map((id) => c.env.PROJECT.getByName(id).overview()),
  );
  return c.json({ projects: overviews.filter((overview) => overview !== null).map(shape) });
});

projects.post('/', async (c) => {
  const { project } = await body(c, NewProject);
  const id = projectName();
  const names = Array.from({ length: 16 }, endpointName);
  const reserved = await account(c).reserveEndpoint(id, names);
  if (!reserved) throw new ApiError(503, 'NAMES_EXHAUSTED', 'no free endpoint name was found; try again');
  const secretText = password();
  const ownerName = project.branch?.role_name ?? 'owner';
  const name = project.branch?.database_name ?? 'main';
  const overview = await projectStub(c, id).create({
    id,
    name: project.name ?? id,
    branchId: branchName(),
    branchName: project.branch?.name ?? 'main',
    ...reserved,
    suspendAfterSeconds:
      project.default_endpoint_settings?.suspend_timeout_seconds ?? Number(c.env.SUSPEND_AFTER_SECONDS),
    historyRetentionSeconds: project.history_retention_seconds ?? HISTORY_RETENTION_SECONDS,
    ownerName,
    ownerSecret: await newSecret(secretText),
    databaseName: name,
  });
  await account(c).addProject(id);
  const branch = overview.branches[0];
  const stub = projectStub(c, id);
  const [roles, databases] = await Promise.all([stub.roles(branch.id), stub.databases(branch.id)]);
  const to = { role: ownerName, password: secretText, database: name, endpointId: reserved.endpointId };
  return c.json(
    {
      project: shape(overview),
      connection_uris: [connectionUri(c.env, to)],
      roles: roles.map((row) => roleShape(row, secretText)),
      databases: databases.map(databaseShape),
      operations: [],
      branch: branchShape(branch, id),
      endpoints: overview.endpoints.map((row) => endpointShape(row, id, c.env.POSTGRES_HOST)),
    },
    201,
  );
});

projects.get('/:projectId', async (c) => c.json({ project: shape(await projectOf(c)) }));

projects.patch('/:projectId', async (c) => {
  const change = await body(
    c,
    z.object({
      project: z.object({
        name: z.string().min(1).max(256).optional(),
        history_retention_seconds: historyRetentionSeconds.optional(),
      }),
    }),
  );
  await projectOf(c);
  const { name, history_retention_seconds: seconds } = change.project;
  await projectStub(c, param(c, 'projectId')).update({
    ...(name === undefined ? {} : { name }),
    ...(seconds === undefined ? {} : { historyRetentionSeconds: seconds }),
  });
  return c.json({ project: shape(await projectOf(c)), operations: [] });
});

projects.delete('/:projectId', async (c) => {
  const overview = await projectOf(c);
  await projectStub(c, overview.project.id).remove();
  await account(c).removeProject(overview.project.id);
  return c.json({ project: shape(overview) });
});

/** Neon's console and CLI ask for a ready-made URL here; without the password, which Ebb does not keep. */
projects.get('/:projectId/connection_uri', async (c) => {
  const overview = await projectOf(c);
  const database = c.req.query('database_name');
  const role = c.req.query('role_name');
  const branchId =
    c.req.query('branch_id') ?? overview.branches.find((row) => row.is_default === 1)?.id ?? '';
  const endpoint = overview.endpoints.find((row) =>
    c.req.query('endpoint_id') ? row.id === c.req.query('endpoint_id') : row.branch_id === branchId,
  );
  if (!database || !role || !endpoint) {
    throw new ApiError(
      400,
      'BAD_REQUEST',
      'database_name and role_name are needed, and endpoint_id must exist if given',
    );
  }
  const { connection_uri } = connectionUri(c.env, {
    role,
    password: null,
    database,
    endpointId: endpoint.id,
  });
  return c.json({ uri: connection_uri });
});
