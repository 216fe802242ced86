/**
 * `POST /sql`: one query, or one transaction of queries, over HTTP, as @neondatabase/serverless's `neon()` asks.
 *
 *   connection string ─► endpoint, role, password ─► verify at the edge ─► wake ─► the compute's pool
 *
 * The password goes no further than this Worker: the compute gets the ClientKey that it gives (lib/protocol/sql.ts).
 */
import { toBase64 } from '../../lib/postgres/scram/base64.ts';
import { SQL_HEADER } from '../../lib/protocol/sql.ts';
import { verifyPassword, type Identity } from '../proxy/authenticate.ts';
import type { ComputeStub, ProxyEnv } from '../proxy/env.ts';
import { PROXY_LIMITS, type ProxyLimits } from '../proxy/limits.ts';
import { passwordAuthenticationFailed, ProxyError, proxyErrorOf } from '../proxy/proxy-error.ts';
import { retryTransient } from '../proxy/retry.ts';
import { reach, TRAVEL_HEADER, wakeReached } from '../proxy/time-travel.ts';
import { errorAnswer, methodNotAllowed, passOn, preflight } from './answers.ts';
import { checkBody, readBody } from './body.ts';
import { parseConnectionString } from './connection-string.ts';

/** Answers every method; never rejects. */
export async function handleSql(
  request: Request,
  env: ProxyEnv,
  _ctx: ExecutionContext,
  limits: ProxyLimits = PROXY_LIMITS,
): Promise<Response> {
  if (request.method === 'OPTIONS') return preflight();
  if (request.method !== 'POST') return methodNotAllowed(request.method);
  try {
    return await answer(request, env, limits);
  } catch (error) {
    const told = proxyErrorOf(error);
    if (told.code === 'internal') console.error('POST /sql failed', error);
    return errorAnswer(told);
  }
}

async function answer(request: Request, env: ProxyEnv, limits: ProxyLimits): Promise<Response> {
  if (request.headers.has('authorization')) {
    throw new ProxyError('unsupportedFeature', 'bearer tokens are not supported', {
      hint: 'Authenticate by the role and password of the connection string.',
    });
  }
  const target = parseConnectionString(request.headers.get('neon-connection-string'));
  const reading = readBody(request);
  reading.catch(() => undefined); // awaited below, once it is known who asks
  const identity = await verifyPassword(env, target, limits);
  const body = await reading;
  if (identity === null) throw passwordAuthenticationFailed(target.role);
  checkBody(body);

  const { stub, lsn } = await retryTransient(async () => {
    const reached = await reach(env, identity.endpoint, target.point);
    await wakeReached(reached);
    return reached;
  }, limits);
  const headers = headersForCompute(request.headers, identity, target.database);
  const answered = await ask(stub, new Request('http://compute/sql', { method: 'POST', headers, body }));
  if (lsn !== null) answered.headers.set(TRAVEL_HEADER, lsn);
  return answered;
}

function headersForCompute(client: Headers, identity: Identity, database: string): Headers {
  const headers = new Headers({
    'content-type': 'application/json',
    [SQL_HEADER.role]: encodeURIComponent(identity.role),
    [SQL_HEADER.database]: encodeURIComponent(database),
    [SQL_HEADER.clientKey]: toBase64(identity.clientKey),
  });
  // The driver's options; but not the connection string, which holds the password.
  for (const [name, value] of client)
    if (name.startsWith('neon-') && name !== 'neon-connection-string') headers.set(name, value);
  return headers;
}

async function ask(stub: ComputeStub, request: Request): Promise<Response> {
  let response: Response;
  try {
    response = await stub.fetch(request);
  } catch (cause) {
    const message = 'the connection to the compute broke: whether the statements ran is not known';
    throw new ProxyError('outcomeUnknown', message, { cause });
  }
  if (response.status !== 503) return passOn(response);
  // Its Durable Object could not reach it, so nothing ran.
  const text = await response.text();
  throw new ProxyError('computeUnavailable', `the compute is not available: ${text.slice(0, 200)}`);
}
