/**
 * The control plane's API, in the shapes of Neon's public API v2: /api/v2/projects and what is below them.
 */
import { Hono } from 'hono';
import type { Env } from '../env.ts';
import { authorize, errorResponse, notFound } from './context.ts';
import { databases } from './databases.ts';
import { endpoints } from './endpoints.ts';
import { branches } from './branches.ts';
import { imports } from './import.ts';
import { projects } from './projects.ts';
import { roles } from './roles.ts';
import { safekeepers } from './safekeepers.ts';

export const api = new Hono<{ Bindings: Env }>();

api.onError((error, c) => errorResponse(error, c));
api.use(authorize);
api.route('/projects', imports);
api.route('/projects', projects);
api.route('/projects/:projectId/branches', branches);
api.route('/projects/:projectId/endpoints', endpoints);
api.route('/projects/:projectId/branches/:branchId/roles', roles);
api.route('/projects/:projectId/branches/:branchId/databases', databases);
api.route('/projects/:projectId/branches/:branchId/safekeepers', safekeepers);
api.all('*', (c) => {
  throw notFound(`${c.req.method} ${c.req.path}`);
});
