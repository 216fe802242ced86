/**
 * The body of `POST /sql`: read up to its limit, and looked at before a compute is woken for it.
 *
 *   {query: string, params?: […], arrayMode?: boolean}   or   {queries: [ …of these… ]}
 *
 * The compute reads it again, and closer; here it is only told from what no compute could use.
 */
import { SQL_BODY_BYTES_MAX } from '../../lib/protocol/sql.ts';
import { ProxyError } from '../proxy/proxy-error.ts';

const tooLarge = (): ProxyError =>
  new ProxyError('requestTooLarge', `request body is larger than ${SQL_BODY_BYTES_MAX >> 20} MiB`);

/** A client that is still writing does not read its answer: so much of a body that is too large is read all the same. */
const DRAINED_BYTES_MAX = 8 * SQL_BODY_BYTES_MAX;

/** Throws ProxyError `requestTooLarge`, by Content-Length or by counting; nothing beyond the limit is kept. */
export async function readBody(request: Request): Promise<Uint8Array<ArrayBuffer>> {
  if (Number(request.headers.get('content-length') ?? 0) > DRAINED_BYTES_MAX) throw tooLarge();
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of (request.body ?? []) as AsyncIterable<Uint8Array>) {
    length += chunk.length;
    if (length > DRAINED_BYTES_MAX) throw tooLarge();
    if (length <= SQL_BODY_BYTES_MAX) chunks.push(chunk);
  }
  if (length > SQL_BODY_BYTES_MAX) throw tooLarge();
  const body = new Uint8Array(length);
  let at = 0;
  for (const chunk of chunks) {
    body.set(chunk, at);
    at += chunk.length;
  }
  return body;
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: false });

const malformed = (what: string): ProxyError =>
  new ProxyError('malformedRequest', `request body: ${what}`, {
    hint: 'Send {"query": "SELECT $1::int", "params": [1]} or {"queries": [{"query": …, "params": …}]}.',
  });

function checkQuery(value: unknown): void {
  if (typeof value !== 'object' || value === null) throw malformed('a query must be an object');
  const { query, params } = value as { query?: unknown; params?: unknown };
  if (typeof query !== 'string') throw malformed('"query" must be a string');
  if (params !== undefined && !Array.isArray(params)) throw malformed('"params" must be an array');
}

/** Throws ProxyError `malformedRequest`. */
export function checkBody(body: Uint8Array): void {
  let value: unknown;
  try {
    value = JSON.parse(decoder.decode(body));
  } catch (cause) {
    throw new ProxyError('malformedRequest', 'request body: not JSON in UTF-8', { cause });
  }
  if (typeof value === 'object' && value !== null && 'queries' in value) {
    const { queries } = value;
    if (!Array.isArray(queries)) throw malformed('"queries" must be an array');
    queries.forEach(checkQuery);
  } else {
    checkQuery(value);
  }
}
