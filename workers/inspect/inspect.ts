/**
 * /inspect: where a row went. For `ebb inspect`, with the account's key; read only.
 *
 *   /inspect/projects/{p}                                        project, timelines, endpoints
 *   /inspect/projects/{p}/metrics                                the pageserver's, for Prometheus; wakes nothing
 *   /inspect/projects/{p}/pageserver/{timelineId}/{rest…}        → the pageserver's /inspect/timelines/{timelineId}/{rest}
 *   /inspect/projects/{p}/safekeepers/{timelineId}/{n}/{rest}    → /inspect/{rest} of the safekeeper at place n
 *   /inspect/projects/{p}/endpoints/{endpointId}                 → the compute's /status
 */
import { Hono } from 'hono';
import { safekeeperName } from '../../lib/protocol/safekeepers.ts';
import type { Env } from '../env.ts';
import {
  authorize,
  errorResponse,
  notFound,
  param,
  projectOf,
  projectStub,
  type ApiContext,
} from '../api/context.ts';

export const inspect = new Hono<{ Bindings: Env }>();

inspect.onError((error, c) => errorResponse(error, c));
inspect.use(authorize);

async function timelineOf(c: ApiContext) {
  const { project } = await projectOf(c);
  const timeline = await projectStub(c, project.id).timelineSpec(param(c, 'timelineId'));
  if (!timeline) throw notFound(`timeline ${param(c, 'timelineId')}`);
  return timeline;
}
/** What stands behind the first `segments` path segments of the request, with its query. */
function restOf(c: ApiContext, segments: number): string {
  const url = new URL(c.req.url);
  const rest = url.pathname.split('/').slice(1 + segments);
  return (rest.length === 0 ? '' : `/${rest.join('/')}`) + url.search;
}

inspect.get('/projects/:projectId', async (c) => c.json(await projectOf(c)));

inspect.get('/projects/:projectId/metrics', async (c) => {
  const { project } = await projectOf(c);
  return c.env.PAGESERVER.getByName(project.id).fetch('http://pageserver/metrics');
});

inspect.get('/projects/:projectId/pageserver/:timelineId/*', (c) => pageserver(c));
inspect.get('/projects/:projectId/pageserver/:timelineId', (c) => pageserver(c));
async function pageserver(c: ApiContext): Promise<Response> {
  const timeline = await timelineOf(c);
  return c.env.PAGESERVER.getByName(timeline.projectId).fetch(
    `http://pageserver/inspect/timelines/${timeline.timelineId}${restOf(c, 5)}`,
    { headers: { 'X-Ebb-Project': timeline.projectId, 'X-Ebb-Timeline': JSON.stringify(timeline) } },
  );
}

inspect.get('/projects/:projectId/safekeepers/:timelineId/:n{[123]}/:rest{.+}', async (c) => {
  const timeline = await timelineOf(c);
  const place = Number(param(c, 'n'));
  const n = (await projectStub(c, timeline.projectId).safekeeperAt(timeline.timelineId, place)) ?? place;
  return c.env.SAFEKEEPER.getByName(safekeeperName(timeline, n)).fetch(
    `http://safekeeper/inspect${restOf(c, 6)}`,
    {
      headers: { 'X-Ebb-Timeline': JSON.stringify(timeline), 'X-Ebb-Safekeeper': String(n) },
    },
  );
});

inspect.get('/projects/:projectId/endpoints/:endpointId', async (c) => {
  const { endpoints } = await projectOf(c);
  const id = param(c, 'endpointId');
  if (!endpoints.some((row) => row.id === id)) throw notFound(`endpoint ${id}`);
  return c.env.COMPUTE.getByName(id).fetch('http://compute/status');
});
