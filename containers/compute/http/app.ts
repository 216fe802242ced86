/** The compute's HTTP port (routes: lib/protocol/specs.ts). All but /healthz need the session token. */
import type { HttpBindings } from '@hono/node-server';
import { Hono } from 'hono';
import { bearerAuth } from 'hono/bearer-auth';
import { bodyLimit } from 'hono/body-limit';
import { HTTPException } from 'hono/http-exception';
import { formatLsn } from '../../../lib/postgres/lsn.ts';
import { buildCancelRequest, CANCEL_KEY_BYTES_MAX } from '../../../lib/postgres/wire/startup.ts';
import { SQL_BODY_BYTES_MAX } from '../../../lib/protocol/sql.ts';
import type { ComputeFailure } from '../../../lib/protocol/specs.ts';
import { BootError } from '../boot/boot.ts';
import type { Compute } from '../compute.ts';
import { EXIT } from '../exit-codes.ts';
import { isServerError, sendCancelRequest } from '../postgres/connection.ts';
import { RolesError, type RolesSpec } from '../roles/plan.ts';

export interface AppOptions {
  compute: Compute;
  sessionToken: string;
  /** Postgres's unix socket. */
  socketPath: string;
}

type App = Hono<{ Bindings: HttpBindings }>;

export function createApp({ compute, sessionToken, socketPath }: AppOptions): App {
  const app: App = new Hono();
  app.get('/healthz', (c) => c.body(null, 204));
  app.use(bearerAuth({ token: sessionToken }));
  app.use(bodyLimit({ maxSize: SQL_BODY_BYTES_MAX }));
  app.onError((error, c) =>
    error instanceof HTTPException ? error.getResponse() : c.json({ message: error.message }, 500),
  );

  app.get('/ready', async (c) => {
    try {
      const { lsn, bootMs, directory } = await compute.start();
      return c.json({ lsn: formatLsn(lsn), bootMs, dataDirectory: directory.mode });
    } catch (error) {
      if (!(error instanceof BootError)) throw error;
      return c.json({ code: error.code, message: error.message } satisfies ComputeFailure, 503);
    }
  });
  app.get('/status', (c) => c.json(compute.status()));
  app.get('/activity', async (c) => c.json(await compute.activity()));
  app.post('/sql', (c) => compute.sql(c.req.raw));

  app.post('/apply', async (c) => {
    try {
      await compute.start();
      await compute.apply(parseRolesSpec(await c.req.json()));
      return c.body(null, 204);
    } catch (error) {
      if (error instanceof BootError) return c.json({ code: error.code, message: error.message }, 503);
      if (error instanceof RolesError) return c.json({ message: error.message }, 400);
      if (isServerError(error)) return c.json({ message: error.message, code: error.code }, 400);
      throw error;
    }
  });

  app.post('/cancel', async (c) => {
    const { pid, key } = await c.req.json<{ pid: unknown; key: unknown }>();
    const bytes = typeof key === 'string' ? Buffer.from(key, 'base64') : new Uint8Array();
    if (!Number.isInteger(pid) || bytes.length < 1 || bytes.length > CANCEL_KEY_BYTES_MAX)
      return c.json({ message: 'pid and key (base64, 1 to 256 bytes) expected' }, 400);
    await sendCancelRequest(socketPath, buildCancelRequest(pid as number, bytes));
    return c.body(null, 204);
  });

  app.post('/suspend', async (c) => {
    const code = await compute.suspend();
    if (code === EXIT.suspended) return c.body(null, 204);
    return c.json({ message: `the compute could not be suspended cleanly: exit code ${code}` }, 500);
  });
  return app;
}

/** Throws RolesError. */
function parseRolesSpec(value: unknown): RolesSpec {
  const { roles, databases, droppedRoles, droppedDatabases } = (value ?? {}) as Record<string, unknown>;
  const areTexts = (list: unknown): list is string[] =>
    Array.isArray(list) && list.every((item) => typeof item === 'string');
  const isRole = (role: { name?: unknown; scramSecret?: unknown; owner?: unknown } | null): boolean =>
    typeof role?.name === 'string' &&
    (role.scramSecret === null || typeof role.scramSecret === 'string') &&
    typeof role.owner === 'boolean';
  const isDatabase = (database: { name?: unknown; owner?: unknown } | null): boolean =>
    typeof database?.name === 'string' && typeof database.owner === 'string';
  if (
    !(Array.isArray(roles) && roles.every(isRole)) ||
    !(Array.isArray(databases) && databases.every(isDatabase)) ||
    !areTexts(droppedRoles) ||
    !areTexts(droppedDatabases)
  )
    throw new RolesError('{roles, databases, droppedRoles, droppedDatabases} expected');
  return { roles, databases, droppedRoles, droppedDatabases };
}
