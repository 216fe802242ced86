/**
 * What every route of the control plane's API shares: the bearer key, the error form, looking rows up.
 *
 * Errors have the form of Neon's API v2: `{request_id, code, message}` with a proper status.
 */
import type { Context } from 'hono';
import { HTTPException } from 'hono/http-exception';
import type { ContentfulStatusCode } from 'hono/utils/http-status';
import type { ZodType } from 'zod';
import type { ProjectOverview } from '../../durable-objects/project/project.ts';
import { REFUSALS, type Refused } from '../../durable-objects/project/refusal.ts';
import type { BranchRow } from '../../durable-objects/project/store.ts';
import type { Env } from '../env.ts';

export type ApiContext = Context<{ Bindings: Env }>;

/** An expected refusal; answered as `{request_id, code, message}`. */
export class ApiError extends HTTPException {
  readonly code: string;
  constructor(status: ContentfulStatusCode, code: string, message: string) {
    super(status, { message });
    this.code = code;
  }
}
export const notFound = (what: string): ApiError => new ApiError(404, 'NOT_FOUND', `${what} not found`);

/** What the Project answered, without its `ok`; a refusal is thrown with its own code and status. */
export function accepted<T extends { ok: true } | Refused>(outcome: T): Extract<T, { ok: true }> {
  if (outcome.ok) return outcome as Extract<T, { ok: true }>;
  throw new ApiError(REFUSALS[outcome.code], outcome.code, outcome.message);
}

export function errorResponse(error: unknown, c: ApiContext): Response {
  const requestId = crypto.randomUUID();
  if (error instanceof ApiError) {
    return c.json({ request_id: requestId, code: error.code, message: error.message }, error.status);
  }
  console.error(JSON.stringify({ event: 'api request failed', requestId, error: String(error) }));
  return c.json({ request_id: requestId, code: 'INTERNAL', message: 'internal error; see the log' }, 500);
}

/** Compares without telling by its time how much agrees. */
export async function sameSecret(a: string, b: string): Promise<boolean> {
  const digest = (text: string) => crypto.subtle.digest('SHA-256', new TextEncoder().encode(text));
  const [x, y] = await Promise.all([digest(a), digest(b)]);
  return crypto.subtle.timingSafeEqual(x, y);
}

/** Throws 401 unless the request carries the account's key. */
export async function authorize(c: ApiContext, next: () => Promise<void>): Promise<void> {
  const given = /^Bearer\s+(\S+)$/i.exec(c.req.header('authorization') ?? '')?.[1] ?? '';
  if (!(await sameSecret(given, c.env.API_KEY))) {
    throw new ApiError(
      401,
      'UNAUTHENTICATED',
      'this request needs the header Authorization: Bearer <API key>',
    );
  }
  await next();
}

/** The request's JSON body in the form of `schema`; throws 400 with the first thing that is wrong. */
export async function body<T>(c: ApiContext, schema: ZodType<T>): Promise<T> {
  let json: unknown;
  try {
    const text = await c.req.text();
    json = text === '' ? {} : JSON.parse(text);
  } catch {
    throw new ApiError(400, 'BAD_REQUEST', 'the body is not JSON');
  }
  const parsed = schema.safeParse(json);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw new ApiError(400, 'BAD_REQUEST', `${issue.path.join('.') || 'body'}: ${issue.message}`);
}

export const account = (c: ApiContext) => c.env.ACCOUNT.getByName('account');
export const projectStub = (c: ApiContext, projectId: string) => c.env.PROJECT.getByName(projectId);

/** A path parameter that the route is known to have. */
export const param = (c: ApiContext, name: string): string => c.req.param(name) ?? '';

export async function projectOf(c: ApiContext): Promise<ProjectOverview> {
  const id = param(c, 'projectId');
  const overview = await projectStub(c, id).overview();
  if (!overview) throw notFound(`project ${id}`);
  return overview;
}

export async function branchOf(c: ApiContext): Promise<{ overview: ProjectOverview; branch: BranchRow }> {
  const overview = await projectOf(c);
  const id = param(c, 'branchId');
  const branch = overview.branches.find((row) => row.id === id);
  if (!branch) throw notFound(`branch ${id}`);
  return { overview, branch };
}
