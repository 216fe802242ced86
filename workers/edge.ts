/**
 * The edge Worker: every way into Ebb.
 *
 *   connect()            raw TCP: Postgres's protocol                  workers/proxy
 *   fetch() /v2          WebSocket: the same bytes in binary frames    workers/proxy
 *           POST /sql    one query or one batch over HTTP              workers/sql
 *           /api/v2      control plane                                 workers/api
 *           /inspect     where a row went                              workers/inspect
 *
 * It keeps nothing. The Durable Objects and the egress entrypoints are exported for the runtime.
 */
import { Hono } from 'hono';
import { api } from './api/api.ts';
import type { Env } from './env.ts';
import { inspect } from './inspect/inspect.ts';
import { handleTcp } from './proxy/tcp.ts';
import { handleWebSocket } from './proxy/websocket.ts';
import { handleSql } from './sql/handler.ts';

export { Account } from '../durable-objects/account/account.ts';
export { Compute } from '../durable-objects/compute/compute.ts';
export { Pageserver } from '../durable-objects/pageserver/pageserver.ts';
export { Project } from '../durable-objects/project/project.ts';
export { Safekeeper } from '../durable-objects/safekeeper/safekeeper.ts';
export { ComputeEgress } from './egress/compute-egress.ts';
export { PageserverEgress } from './egress/pageserver-egress.ts';

const app = new Hono<{ Bindings: Env }>();
app.get('/healthz', (c) => c.body(null, 204));
app.all('/v2', (c) => handleWebSocket(c.req.raw, c.env, c.executionCtx as ExecutionContext));
app.all('/sql', (c) => handleSql(c.req.raw, c.env, c.executionCtx as ExecutionContext));
app.route('/api/v2', api);
app.route('/inspect', inspect);
app.notFound((c) => c.json({ message: `nothing at ${c.req.path}` }, 404));

export default {
  fetch: app.fetch,
  connect: (socket, env, ctx) => handleTcp(socket, env, ctx),
} satisfies ExportedHandler<Env>;
