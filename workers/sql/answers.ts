/**
 * What `POST /sql` answers when it does not answer with rows, and what browsers want in every answer.
 *
 * @neondatabase/serverless reads message, code, detail, hint … out of the JSON of a 400 and shows the text of any
 * other status; so what the caller can mend is a 400, as Neon has it, and the rest says by its status whether
 * to try again.
 */
import type { ProxyError, ProxyErrorCode } from '../proxy/proxy-error.ts';

const STATUS: Partial<Record<ProxyErrorCode, number>> = {
  requestTooLarge: 413,
  computeUnavailable: 503,
  outcomeUnknown: 502,
  internal: 500,
};
const BAD_REQUEST = 400;
const RETRY_AFTER_SECONDS = '1';

const ALLOWED_HEADERS = [
  'Authorization',
  'Content-Type',
  'Neon-Connection-String',
  'Neon-Raw-Text-Output',
  'Neon-Array-Mode',
  'Neon-Pool-Opt-In',
  'Neon-Batch-Isolation-Level',
  'Neon-Batch-Read-Only',
  'Neon-Batch-Deferrable',
].join(', ');

/** Any page may ask: the connection string is what authenticates, and no cookie is ever looked at. */
const ANY_ORIGIN = { 'access-control-allow-origin': '*' };

export function preflight(): Response {
  return new Response(null, {
    status: 204,
    headers: {
      ...ANY_ORIGIN,
      'access-control-allow-methods': 'POST, OPTIONS',
      'access-control-allow-headers': ALLOWED_HEADERS,
      'access-control-max-age': '86400',
      allow: 'POST, OPTIONS',
    },
  });
}

export function methodNotAllowed(method: string): Response {
  const message = `${method} is not answered here: POST is expected`;
  return Response.json({ message }, { status: 405, headers: { ...ANY_ORIGIN, allow: 'POST, OPTIONS' } });
}

export function errorAnswer(error: ProxyError): Response {
  const status = STATUS[error.code] ?? BAD_REQUEST;
  const body = {
    message: error.message,
    code: error.sqlState,
    severity: 'FATAL',
    detail: error.detail ?? null,
    hint: error.hint ?? null,
  };
  const headers = status === 503 ? { ...ANY_ORIGIN, 'retry-after': RETRY_AFTER_SECONDS } : ANY_ORIGIN;
  return Response.json(body, { status, headers });
}

/** The compute's answer, readable by any page. */
export function passOn(response: Response): Response {
  const contentType = response.headers.get('content-type') ?? 'application/json';
  return new Response(response.body, {
    status: response.status,
    headers: { ...ANY_ORIGIN, 'content-type': contentType },
  });
}
