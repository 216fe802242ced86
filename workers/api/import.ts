/**
 * /api/v2/projects/import: a project of a cluster that was somewhere else (`ebb import`).
 *
 *   POST /projects/import                        the project: its roles and databases exist already, in what will be put
 *   PUT  /projects/{project_id}/import/{name}    a layer, and the index last; then the project is what it says
 *
 * Until the index is there the project cannot be woken, and once it is nothing can be put any more.
 */
import { Hono } from 'hono';
import { z } from 'zod';
import { parseLayerName } from '../../lib/storage/layers/descriptor.ts';
import { indexName, timelinePrefix } from '../../lib/storage/layers/timeline-index.ts';
import type { Env } from '../env.ts';
import { account, ApiError, body, param, projectOf, projectStub } from './context.ts';
import { branchName, endpointName, password, projectName } from './names.ts';
import { identifier, newSecret } from './roles.ts';
import { connectionUri } from './shapes.ts';

export const imports = new Hono<{ Bindings: Env }>();

const HISTORY_RETENTION_SECONDS = 604_800;
/** As R2 and a Worker take in one request, and far more than an import makes. */
const OBJECT_BYTES_MAX = 95 << 20;
const INDEX = indexName(0);

const NewImport = z.object({
  project: z.object({ name: z.string().min(1).max(256).optional() }).default({}),
  import: z.object({
    system_identifier: z.string().regex(/^\d{1,20}$/),
    start_lsn: z.string().regex(/^[0-9A-F]{1,8}\/[0-9A-F]{1,8}$/),
    owner: identifier,
    roles: z
      .array(
        z.object({ name: identifier, scram_secret: z.string().max(1024).nullable(), can_login: z.boolean() }),
      )
      .max(10_000),
    databases: z.array(z.object({ name: z.string().min(1).max(63), owner: identifier })).max(10_000),
  }),
});

imports.post('/import', async (c) => {
  const { project, import: source } = await body(c, NewImport);
  const id = projectName();
  const reserved = await account(c).reserveEndpoint(id, Array.from({ length: 16 }, endpointName));
  if (!reserved) throw new ApiError(503, 'NAMES_EXHAUSTED', 'no free endpoint name was found; try again');
  const known = source.roles.find(({ name }) => name === source.owner)?.scram_secret ?? null;
  const made = known === null ? password() : null;
  const overview = await projectStub(c, id).createImported({
    id,
    name: project.name ?? id,
    branchId: branchName(),
    ...reserved,
    suspendAfterSeconds: Number(c.env.SUSPEND_AFTER_SECONDS),
    historyRetentionSeconds: HISTORY_RETENTION_SECONDS,
    systemIdentifier: source.system_identifier,
    startLsn: source.start_lsn,
    ownerName: source.owner,
    ownerSecret: known ?? (await newSecret(made!)),
    roles: source.roles.map((role) => ({
      name: role.name,
      scramSecret: role.scram_secret,
      canLogin: role.can_login,
    })),
    databases: source.databases,
  });
  await account(c).addProject(id);
  const database = source.databases.find(({ owner }) => owner === source.owner)?.name ?? 'postgres';
  const to = { role: source.owner, password: made, database, endpointId: reserved.endpointId };
  return c.json(
    {
      project: { id, name: overview.project.name },
      timeline_id: overview.branches[0].timeline_id,
      connection_uris: [connectionUri(c.env, to)],
    },
    201,
  );
});

imports.put('/:projectId/import/:name', async (c) => {
  const { project, branches } = await projectOf(c);
  const name = param(c, 'name');
  if (parseLayerName(name) === null && name !== INDEX)
    throw new ApiError(400, 'BAD_REQUEST', `${name} is the name of no layer, nor ${INDEX}`);
  const timeline = await projectStub(c, project.id).timelineSpec(branches[0].timeline_id);
  if (timeline?.origin.kind !== 'import')
    throw new ApiError(409, 'NOT_AN_IMPORT', `project ${project.id} was not made by an import`);
  const prefix = timelinePrefix(project.id, timeline.timelineId);
  if ((await c.env.BUCKET.head(prefix + INDEX)) !== null)
    throw new ApiError(409, 'IMPORTED', `project ${project.id} has been imported`);
  const length = Number(c.req.header('content-length'));
  if (!Number.isSafeInteger(length) || length < 1 || length > OBJECT_BYTES_MAX)
    throw new ApiError(413, 'TOO_LARGE', `an object of 1 to ${OBJECT_BYTES_MAX} bytes is expected`);
  await c.env.BUCKET.put(prefix + name, c.req.raw.body);
  return c.json({ name, bytes: length }, 201);
});
