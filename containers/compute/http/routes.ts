/** What the compute's HTTP port answers, by route (lib/protocol/specs.ts); how it is asked is server.ts's. */
import { formatLsn } from '../../../lib/postgres/lsn.ts';
import { buildCancelRequest, CANCEL_KEY_BYTES_MAX } from '../../../lib/postgres/wire/startup.ts';
import type { ComputeFailure } from '../../../lib/protocol/specs.ts';
import { BootError } from '../boot/boot.ts';
import type { Compute } from '../compute.ts';
import { EXIT } from '../exit-codes.ts';
import { isServerError, sendCancelRequest } from '../postgres/connection.ts';
import { RolesError, type RolesSpec } from '../roles/plan.ts';
import type { SqlCall } from '../sql/handler.ts';

export interface Answer {
  status: number;
  /** Becomes JSON; a string is JSON already. */
  body?: unknown;
}
export interface RouteContext {
  compute: Compute;
  /** Postgres's unix socket. */
  socketPath: string;
}
type Route = (context: RouteContext, call: SqlCall) => Answer | Promise<Answer>;

export const ROUTES: Readonly<Record<string, Route>> = {
  'GET /ready': ({ compute }) => ready(compute),
  'GET /status': ({ compute }) => ({ status: 200, body: compute.status() }),
  'GET /activity': async ({ compute }) => ({ status: 200, body: await compute.activity() }),
  'POST /sql': ({ compute }, call) => compute.sql(call),
  'POST /apply': ({ compute }, { body }) => apply(compute, body),
  'POST /cancel': ({ socketPath }, { body }) => cancel(socketPath, body),
  'POST /suspend': ({ compute }) => suspend(compute),
};

const NO_CONTENT: Answer = { status: 204 };

async function ready(compute: Compute): Promise<Answer> {
  try {
    const { lsn, bootMs, directory } = await compute.start();
    return { status: 200, body: { lsn: formatLsn(lsn), bootMs, dataDirectory: directory.mode } };
  } catch (error) {
    if (!(error instanceof BootError)) throw error;
    return { status: 503, body: { code: error.code, message: error.message } satisfies ComputeFailure };
  }
}

async function apply(compute: Compute, body: string): Promise<Answer> {
  try {
    await compute.start();
    await compute.apply(parseRolesSpec(parseJson(body)));
    return NO_CONTENT;
  } catch (error) {
    if (error instanceof BootError)
      return { status: 503, body: { code: error.code, message: error.message } };
    if (error instanceof RolesError) return { status: 400, body: { message: error.message } };
    if (isServerError(error)) return { status: 400, body: { message: error.message, code: error.code } };
    throw error;
  }
}

async function cancel(socketPath: string, body: string): Promise<Answer> {
  const { pid, key } = (parseJson(body) ?? {}) as { pid?: unknown; key?: unknown };
  const bytes = typeof key === 'string' ? Buffer.from(key, 'base64') : new Uint8Array();
  if (!Number.isInteger(pid) || bytes.length < 1 || bytes.length > CANCEL_KEY_BYTES_MAX)
    return { status: 400, body: { message: 'pid and key (base64, 1 to 256 bytes) expected' } };
  await sendCancelRequest(socketPath, buildCancelRequest(pid as number, bytes));
  return NO_CONTENT;
}

async function suspend(compute: Compute): Promise<Answer> {
  const code = await compute.suspend();
  if (code === EXIT.suspended) return NO_CONTENT;
  return { status: 500, body: { message: `the compute could not be suspended cleanly: exit code ${code}` } };
}

/** undefined for what is not JSON, which no route accepts. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
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
