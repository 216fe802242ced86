/**
 * /api/v2/projects/{project_id}/branches/{branch_id}/safekeepers: Ebb's own.
 *
 *   GET  /                  who holds the log of the branch's timeline
 *   POST /{place}/replace   another safekeeper takes that place, while commits go on; wakes a compute where none runs
 */
import { Hono } from 'hono';
import type { Env } from '../env.ts';
import { accepted, ApiError, branchOf, param, projectStub } from './context.ts';

export const safekeepers = new Hono<{ Bindings: Env }>();

safekeepers.get('/', async (c) => {
  const { overview, branch } = await branchOf(c);
  return c.json({ safekeepers: await projectStub(c, overview.project.id).safekeepers(branch.timeline_id) });
});

safekeepers.post('/:place/replace', async (c) => {
  if (!/^[123]$/.test(param(c, 'place'))) {
    throw new ApiError(400, 'BAD_REQUEST', `place ${param(c, 'place')}: 1, 2 or 3 expected`);
  }
  const place = Number(param(c, 'place'));
  const { overview, branch } = await branchOf(c);
  const stub = projectStub(c, overview.project.id);
  const { safekeepers: now } = accepted(await stub.replaceSafekeeper(branch.timeline_id, place));
  return c.json({ safekeepers: now }, now.changing ? 202 : 200);
});
