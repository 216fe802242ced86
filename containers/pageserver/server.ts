/**
 * The pageserver's HTTP port:
 *
 *   GET  /healthz, /ready                       204 without a token; 200 with one
 *   WebSocket /pages                            the page service (lib/protocol/pages.ts); X-Ebb-Timeline
 *   GET  /metrics                               Prometheus's text format (docs/METRICS.md)
 *   POST /stop                                  uploads everything, answers 204, then the process ends
 *   GET  /timelines/{id}/first-commit-after     ?time=&to=: {lsn}: the end of the first commit after a time, or null
 *   POST /timelines/{id}/forget                 the timeline is being deleted: 204 when nothing of it is written any more
 *   GET  /inspect/timelines/{id}                positions, memory, layers (also …/layers)
 *   GET  /inspect/timelines/{id}/page           ?spc=&db=&rel=&fork=&block= or ?slru=&segment=&block=, [&lsn=]: 8192 bytes
 *   GET  /inspect/timelines/{id}/pages          ?runs=[&lsn=] (read/inspected-runs.ts): 8192 bytes for each page
 *   GET  /inspect/timelines/{id}/relations      [?lsn=]: forks and their sizes
 *   GET  /inspect/timelines/{id}/boot           [?lsn=]: the boot manifest
 *
 * Every caller but of /healthz proves with the session token that it is this container's Durable Object, which has
 * bound the timeline in X-Ebb-Timeline. Errors are {code, message}; the codes are those of the page service.
 */
import { timingSafeEqual } from 'node:crypto';
import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from 'node:http';
import type { Duplex } from 'node:stream';
import type { Context, Hono } from 'hono';
import { WebSocketServer, type WebSocket } from 'ws';
import { formatLsn, parseLsn, type Lsn } from '../../lib/postgres/lsn.ts';
import {
  decodePageRequest,
  encodePageResponse,
  PAGES_MAX,
  type PageErrorCode,
  type PageRun,
} from '../../lib/protocol/pages.ts';
import type { TimelineSpec } from '../../lib/protocol/specs.ts';
import { buildBootManifest } from '../../lib/storage/state/boot-manifest.ts';
import { exposition, type Exposition } from './metrics/exposition.ts';
import type { Metrics } from './metrics/metrics.ts';
import type { Pageserver } from './pageserver.ts';
import { formatRuns, pageOfRuns, inspectedPage, inspectedRuns } from './read/inspected-runs.ts';
import { answerPageRequest, readRuns } from './read/page-service.ts';
import type { ComputeSession } from './timeline/compute-session.ts';
import { describeFailure, TimelineError } from './timeline/errors.ts';
import type { Timeline } from './timeline/timeline.ts';

export interface ServerOptions {
  pageserver: Pageserver;
  metrics: Metrics;
  /** Called by POST /stop; its answer waits for it. */
  stop: () => Promise<void>;
  onError: (error: unknown, what: string) => void;
}

/** X-Ebb-Timeline holds the specifications of all ancestors. */
const HEADER_BYTES_MAX = 128 << 10;
/** A request of PAGES_MAX single-page runs, and some. */
const REQUEST_BYTES_MAX = 64 + PAGES_MAX * 32;
/** Answers that wait for a compute to take them; beyond that its requests wait too. */
const UNSENT_BYTES_MAX = 32 << 20;
/** A page request that takes longer is logged. */
const SLOW_MS = 1_000;
/** Close codes of /pages: 1002 for what is malformed, 1011 for a timeline that cannot be attached. */
const CLOSE = { malformed: 1002, failed: 1011 } as const;

const UNAUTHORIZED = { code: 'unauthorized', message: 'session token expected' } as const;
const STATUS: Record<PageErrorCode, 400 | 404 | 410 | 500 | 503> = {
  malformed: 400,
  behind: 503,
  belowWindow: 410,
  notFound: 404,
  redo: 500,
  stopping: 503,
  internal: 500,
};

export function createPageserver(options: ServerOptions): Server {
  // Whoever wakes a pageserver asks for /ready and for pages: all else is loaded when it is asked for, because the
  // modules behind it take Node as long as the whole rest of the start.
  let listener: Promise<RequestListener> | null = null;
  const server = createServer({ maxHeaderSize: HEADER_BYTES_MAX }, (request, response) => {
    if (request.method === 'GET' && request.url === '/ready') return answerReady(options, request, response);
    listener ??= loadRoutes(options);
    listener.then(
      (listen) => listen(request, response),
      (error: unknown) => {
        options.onError(error, 'loading the routes');
        response.writeHead(500).end();
      },
    );
  });
  server.keepAliveTimeout = 0; // the runtime keeps its connection for the next request, and is the one to close it
  const sockets = new WebSocketServer({
    noServer: true,
    maxPayload: REQUEST_BYTES_MAX,
    perMessageDeflate: false,
  });
  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    const path = new URL(request.url ?? '/', 'http://pageserver').pathname;
    const status = !isAuthorized(options.pageserver, request.headers.authorization)
      ? '401 Unauthorized'
      : path === '/pages'
        ? null
        : '404 Not Found';
    if (status !== null) {
      socket.on('error', () => socket.destroy());
      socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
      return;
    }
    const spec = request.headers['x-ebb-timeline'];
    sockets.handleUpgrade(request, socket, head, (webSocket) => {
      servePages(options, webSocket, socket, Array.isArray(spec) ? spec[0] : spec);
    });
  });
  return server;
}

function isAuthorized(pageserver: Pageserver, authorization: string | undefined): boolean {
  const expected = Buffer.from(`Bearer ${pageserver.spec.sessionToken}`);
  const found = Buffer.from(authorization ?? '');
  return found.length === expected.length && timingSafeEqual(found, expected);
}

/** Throws TimelineError `malformed`. */
function parseTimelineSpec(text: string | undefined): TimelineSpec {
  try {
    const spec = JSON.parse(text ?? '') as TimelineSpec;
    parseLsn(spec.startLsn);
    if (
      /^[0-9a-f]{32}$/.test(spec.timelineId) &&
      spec.postgresMajor === 18 &&
      /^\d+$/.test(spec.systemIdentifier)
    )
      return spec;
  } catch {
    // The message below says what is wrong for both.
  }
  throw new TimelineError('malformed', `X-Ebb-Timeline is no timeline specification: ${text ?? 'absent'}`);
}

/** One compute: its requests are answered as they come, also out of order. Requests that come before the attach wait. */
function servePages(
  { pageserver, metrics, onError }: ServerOptions,
  socket: WebSocket,
  stream: Duplex,
  header: string | undefined,
): void {
  const send = sender(socket, stream);
  const attached = (async () => pageserver.timeline(parseTimelineSpec(header)))();
  let session: ComputeSession | undefined;
  attached.then(
    (timeline) => {
      if (socket.readyState !== socket.OPEN) return;
      session = timeline.computeAttached((progress) =>
        send(encodePageResponse({ tag: 'progress', id: 0, ...progress })),
      );
      socket.once('close', () => session?.close());
    },
    (error: unknown) => {
      onError(error, 'attach');
      socket.close(CLOSE.failed, describeFailure(error).message.slice(0, 120));
    },
  );
  socket.on('error', (error) => onError(error, 'page service connection'));
  socket.on('message', (data: Buffer) => {
    let request;
    try {
      request = decodePageRequest(data);
    } catch (error) {
      socket.close(CLOSE.malformed, (error as Error).message.slice(0, 120));
      return;
    }
    const startedAt = performance.now();
    attached
      .then((timeline) => answerPageRequest(timeline, request, session))
      .then(({ bytes, pages, error }) => {
        const ms = performance.now() - startedAt;
        metrics.pageRequestSeconds.observe(ms / 1000);
        metrics.pagesServed.inc(pages);
        if (ms > SLOW_MS)
          onError(null, `${request.tag} at ${formatLsn(request.lsn)} took ${Math.round(ms)} ms`);
        if (error !== null) {
          metrics.pageRequestErrors.inc(1, { code: error.code });
          onError(new Error(error.message), `page request: ${error.code}`);
        }
        send(bytes);
      })
      .catch(() => undefined); // the attach failed: the socket is being closed with the reason
  });
}

/** Sends what is answered in one turn of the loop with one system call. */
function sender(webSocket: WebSocket, stream: Duplex): (bytes: Uint8Array) => void {
  let isCorked = false;
  return (bytes) => {
    if (webSocket.readyState !== webSocket.OPEN) return;
    if (!isCorked) {
      isCorked = true;
      stream.cork();
      process.nextTick(() => {
        isCorked = false;
        stream.uncork();
      });
    }
    webSocket.send(bytes);
    if (stream.writableLength <= UNSENT_BYTES_MAX || webSocket.isPaused) return;
    webSocket.pause(); // it does not take what it asked for: it is not heard before it has
    stream.once('drain', () => webSocket.resume());
  };
}

async function loadRoutes(options: ServerOptions): Promise<RequestListener> {
  const [{ getRequestListener }, { Hono }] = await Promise.all([import('@hono/node-server'), import('hono')]);
  const listen = getRequestListener(routes(options, new Hono()).fetch);
  return (request, response) => void listen(request, response);
}

function answerReady(
  { pageserver }: ServerOptions,
  request: IncomingMessage,
  response: ServerResponse,
): void {
  const [status, body] = isAuthorized(pageserver, request.headers.authorization)
    ? [200, { generation: pageserver.spec.generation }]
    : [401, UNAUTHORIZED];
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

function routes({ pageserver, metrics, stop, onError }: ServerOptions, app: Hono): Hono {
  app.get('/healthz', (c) => c.body(null, 204));
  app.use(async (c, next) => {
    if (!isAuthorized(pageserver, c.req.header('authorization'))) return c.json(UNAUTHORIZED, 401);
    return next();
  });
  let exposed: Promise<Exposition> | null = null;
  app.get('/metrics', async (c) => {
    const { contentType, text } = await (exposed ??= exposition(metrics));
    return c.body(await text(), 200, { 'content-type': contentType });
  });
  app.post('/stop', async (c) => {
    await stop();
    return c.body(null, 204);
  });
  app.post('/timelines/:id/forget', async (c) => {
    await pageserver.forget(c.req.param('id'));
    return c.body(null, 204);
  });
  app.get('/timelines/:id/first-commit-after', async (c) => {
    const timeline = await pageserver.timeline(parseTimelineSpec(c.req.header('x-ebb-timeline')));
    const time = Number(c.req.query('time'));
    if (!Number.isSafeInteger(time)) throw new TimelineError('malformed', `time ${c.req.query('time')}`);
    const to = await timeline.waitFor(parseLsn(c.req.query('to') ?? ''));
    const found = await timeline.firstCommitAfter(time, to);
    return c.json({ lsn: found === null ? null : formatLsn(found) });
  });
  const inspect = (path: string, answer: (timeline: Timeline, c: Context) => Response | Promise<Response>) =>
    app.get(`/inspect/timelines/:id${path}`, async (c) => {
      const spec = parseTimelineSpec(c.req.header('x-ebb-timeline'));
      if (spec.timelineId !== c.req.param('id'))
        throw new TimelineError('notFound', `timeline ${c.req.param('id')} is not the one that was bound`);
      return answer(await pageserver.timeline(spec), c);
    });
  inspect('', (timeline, c) => c.json(timeline.status()));
  inspect('/layers', (timeline, c) => c.json(timeline.status()));
  inspect('/page', (timeline, c) => inspectPages(timeline, c, [inspectedPage((name) => c.req.query(name))]));
  inspect('/pages', (timeline, c) => inspectPages(timeline, c, inspectedRuns(c.req.query('runs') ?? '')));
  inspect('/relations', async (timeline, c) => {
    const { manifest } = await buildBootManifest(timeline.view(await lsnOf(timeline, c)));
    return c.json({ lsn: manifest.lsn, relations: manifest.relations, slrus: manifest.slrus });
  });
  inspect('/boot', async (timeline, c) => {
    const { manifest, blobs } = await buildBootManifest(timeline.view(await lsnOf(timeline, c)));
    return c.json({ manifest, blobs: Buffer.from(blobs).toString('base64') });
  });
  app.notFound((c) =>
    c.json({ code: 'notFound', message: `${c.req.method} ${c.req.path}: no such route` }, 404),
  );
  app.onError((error, c) => {
    const failure = describeFailure(error);
    if (failure.code === 'internal' || failure.code === 'redo')
      onError(error, `${c.req.method} ${c.req.path}`);
    return c.json(failure, STATUS[failure.code]);
  });
  return app;
}

/** The LSN asked for, waited for; by default the newest that is ingested. */
async function lsnOf(timeline: Timeline, c: Context): Promise<Lsn> {
  const text = c.req.query('lsn');
  if (text === undefined) return timeline.ingestedLsn;
  let lsn: Lsn;
  try {
    lsn = parseLsn(text);
  } catch (error) {
    throw new TimelineError('malformed', (error as Error).message);
  }
  return timeline.waitFor(lsn);
}

async function inspectPages(timeline: Timeline, c: Context, runs: PageRun[]): Promise<Response> {
  const lsn = await lsnOf(timeline, c);
  const pages = await readRuns(timeline, runs, lsn);
  const found = pages.filter((page) => page !== null);
  if (found.length < pages.length)
    throw new TimelineError(
      'notFound',
      `there is no such page as of ${formatLsn(lsn)}: ${formatRuns([pageOfRuns(runs, pages.indexOf(null))])}`,
    );
  return c.body(new Uint8Array(Buffer.concat(found)).buffer, 200, {
    'content-type': 'application/octet-stream',
    'x-ebb-lsn': formatLsn(lsn),
    'x-ebb-ingested-lsn': formatLsn(timeline.ingestedLsn),
  });
}
