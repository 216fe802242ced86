/**
 * The compute's HTTP port: plain node:http, because what a request needs beyond it (hono, the global Request and
 * Response) takes longer to load than a compute may take to wake. All but /healthz need the session token.
 */
import { timingSafeEqual } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { SQL_BODY_BYTES_MAX } from '../../../lib/protocol/sql.ts';
import { ROUTES, type Answer, type RouteContext } from './routes.ts';

export interface HttpOptions extends RouteContext {
  sessionToken: string;
}

export function createHttpServer(options: HttpOptions): Server {
  const expected = Buffer.from(`Bearer ${options.sessionToken}`);
  const isAuthorized = ({ headers }: IncomingMessage): boolean => {
    const found = Buffer.from(headers.authorization ?? '');
    return found.length === expected.length && timingSafeEqual(found, expected);
  };
  const server = createServer((request, response) => {
    const path = (request.url ?? '').split('?', 1)[0];
    if (request.method === 'GET' && path === '/healthz') return send(response, { status: 204 });
    if (!isAuthorized(request))
      return send(response, { status: 401, body: { message: 'session token expected' } });
    answer(options, request, response, `${request.method} ${path}`).then(
      (answered) => send(response, answered),
      (error: unknown) =>
        send(response, { status: 500, body: { message: error instanceof Error ? error.message : '' } }),
    );
  });
  server.requestTimeout = 0; // /ready is held until the boot ends, and a statement may take its time
  server.keepAliveTimeout = KEEP_ALIVE_MS;
  return server;
}

/** The runtime may keep its connection to the container; whoever closes it first should be the runtime. */
const KEEP_ALIVE_MS = 60_000;

async function answer(
  context: RouteContext,
  request: IncomingMessage,
  response: ServerResponse,
  name: string,
): Promise<Answer> {
  const route = Object.hasOwn(ROUTES, name) ? ROUTES[name] : undefined;
  if (route === undefined) return { status: 404, body: { message: `${name}: no such route` } };
  const gone = new AbortController();
  response.once('close', () => gone.abort());
  const body = await readBody(request);
  if (body === null)
    return { status: 413, body: { message: `request body is larger than ${SQL_BODY_BYTES_MAX >> 20} MiB` } };
  const headers = { get: (header: string) => textOf(request.headers[header]) };
  return route(context, { headers, body, signal: gone.signal });
}

const textOf = (header: string | string[] | undefined): string | null =>
  header === undefined ? null : Array.isArray(header) ? header.join(', ') : header;

/** As text; null when it is too large, of which nothing is kept. */
async function readBody(request: IncomingMessage): Promise<string | null> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length <= SQL_BODY_BYTES_MAX) chunks.push(chunk);
    else chunks.length = 0;
  }
  return length > SQL_BODY_BYTES_MAX ? null : Buffer.concat(chunks).toString('utf8');
}

function send(response: ServerResponse, { status, body }: Answer): void {
  if (response.destroyed) return;
  if (body === undefined) {
    response.writeHead(status).end();
    return;
  }
  const bytes = Buffer.from(typeof body === 'string' ? body : JSON.stringify(body));
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': bytes.length });
  response.end(bytes);
}
