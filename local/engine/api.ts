/**
 * The part of Docker's Engine API that workerd and Miniflare use, on the engine's unix socket.
 *
 *   GET    /_ping, /networks/bridge, /images/{name}/json, /volumes
 *   GET    /containers/json?filters=          POST /containers/create?name=
 *   GET    /containers/{key}/json             POST /containers/{key}/start | wait | stop | kill?signal=
 *   DELETE /containers/{key}
 *
 * Requests for what Ebb does not use (exec, archives, volumes, snapshots) are refused with 501 and say so.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { constants } from 'node:os';
import { Container } from './container.ts';
import type { Engine, SidecarEntry } from './engine.ts';
import { EngineError } from './errors.ts';
import { isSidecarImage } from './images.ts';
import { SIDECAR_PORT } from './sidecar.ts';

const BODY_BYTES_MAX = 16 << 20;
const DEFAULT_STOP_TIMEOUT_S = 10;

interface Reply {
  status: number;
  body?: unknown;
}
type Handler = (engine: Engine, call: Call) => Reply | Promise<Reply>;
interface Call {
  /** The container's id or name, or the image's reference. */
  key: string;
  query: URLSearchParams;
  body: Record<string, unknown>;
}

const ROUTES: readonly [method: string, path: RegExp, handler: Handler][] = [
  ['GET', /^\/_ping$/, () => ({ status: 200, body: 'OK' })],
  ['GET', /^\/volumes$/, () => ({ status: 200, body: { Volumes: [] } })],
  ['GET', /^\/networks\/bridge$/, () => ({ status: 200, body: LOOPBACK_NETWORK })],
  ['GET', /^\/images\/(.+)\/json$/, inspectImage],
  ['GET', /^\/containers\/json$/, listContainers],
  ['POST', /^\/containers\/create$/, createContainer],
  ['GET', /^\/containers\/([^/]+)\/json$/, (engine, { key }) => ok(describe(engine.find(key)))],
  ['POST', /^\/containers\/([^/]+)\/start$/, startContainer],
  ['POST', /^\/containers\/([^/]+)\/wait$/, waitForContainer],
  ['POST', /^\/containers\/([^/]+)\/stop$/, stopContainer],
  ['POST', /^\/containers\/([^/]+)\/kill$/, killContainer],
  ['DELETE', /^\/containers\/([^/]+)$/, removeContainer],
];

/** The bridge network, whose gateway is where workerd listens for what containers send out. */
const LOOPBACK_NETWORK = {
  Name: 'bridge',
  IPAM: { Config: [{ Subnet: '127.0.0.0/8', Gateway: '127.0.0.1' }] },
};

const ok = (body: unknown): Reply => ({ status: 200, body });

/** Answers one request. Never rejects. */
export async function handleApi(
  engine: Engine,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  let reply: Reply;
  try {
    reply = await route(engine, request);
  } catch (error) {
    const status = error instanceof EngineError ? error.status : 500;
    reply = { status, body: { message: error instanceof Error ? error.message : String(error) } };
  }
  if (response.destroyed) return;
  const text = typeof reply.body === 'string' ? reply.body : JSON.stringify(reply.body);
  response.writeHead(reply.status, { 'Content-Type': 'application/json' }).end(text);
}

async function route(engine: Engine, request: IncomingMessage): Promise<Reply> {
  const url = new URL(request.url ?? '/', 'http://engine');
  const path = url.pathname.replace(/^\/v\d+\.\d+/, '');
  const body = await readJson(request);
  for (const [method, pattern, handler] of ROUTES) {
    const match = method === request.method ? pattern.exec(path) : null;
    if (match) {
      return await handler(engine, {
        key: decodeURIComponent(match[1] ?? ''),
        query: url.searchParams,
        body,
      });
    }
  }
  throw new EngineError('not-offered', `not offered by Ebb's engine: ${request.method} ${path}`);
}

async function readJson(request: IncomingMessage): Promise<Record<string, unknown>> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > BODY_BYTES_MAX) throw new EngineError('failed', `request body over ${BODY_BYTES_MAX} bytes`);
    chunks.push(chunk);
  }
  if (size === 0) return {};
  try {
    return JSON.parse(Buffer.concat(chunks).toString('utf8')) as Record<string, unknown>;
  } catch (cause) {
    throw new EngineError('failed', `request body is not JSON: ${String(cause)}`, cause);
  }
}

function inspectImage(engine: Engine, { key }: Call): Reply {
  const ports = isSidecarImage(key) ? [SIDECAR_PORT] : engine.image(key).ports;
  return ok({ Id: `sha256:${'0'.repeat(64)}`, Size: 0, Config: { ExposedPorts: exposed(ports), Env: [] } });
}

function listContainers(engine: Engine, { query }: Call): Reply {
  const filters = JSON.parse(query.get('filters') ?? '{}') as { label?: string[] };
  const wanted = filters.label ?? [];
  const listed = [...engine.containers, ...engine.sidecars].filter(({ request }) =>
    wanted.every((label) => {
      const [name, value] = label.split('=', 2);
      return name in request.labels && (value === undefined || request.labels[name] === value);
    }),
  );
  return ok(
    listed.map((entry) => ({
      Id: entry.id,
      Names: [`/${entry.request.name}`],
      Image: entry.request.image,
      Labels: entry.request.labels,
      State: status(entry),
    })),
  );
}

async function createContainer(engine: Engine, { query, body }: Call): Promise<Reply> {
  const request = body as {
    Image?: string;
    Env?: string[];
    Cmd?: string[];
    Labels?: Record<string, string>;
    HostConfig?: { NetworkMode?: string };
  };
  const name = query.get('name');
  if (!name) throw new EngineError('not-offered', 'containers without a name are not offered');
  const id = await engine.create(
    {
      name,
      image: request.Image ?? '',
      env: request.Env ?? [],
      labels: request.Labels ?? {},
      networkMode: request.HostConfig?.NetworkMode ?? '',
    },
    request.Cmd ?? [],
  );
  return { status: 201, body: { Id: id, Warnings: [] } };
}

async function startContainer(engine: Engine, { key }: Call): Promise<Reply> {
  const entry = engine.find(key);
  if (!(entry instanceof Container)) {
    const status = entry.sidecar.running ? 304 : 204;
    await entry.sidecar.start();
    return { status };
  }
  if (entry.state === 'running') return { status: 304 };
  await entry.start();
  return { status: 204 };
}

async function waitForContainer(engine: Engine, { key }: Call): Promise<Reply> {
  const entry = engine.find(key);
  if (!(entry instanceof Container))
    throw new EngineError('not-offered', 'a sidecar has no exit to wait for');
  return ok({ StatusCode: await entry.exited() });
}

async function stopContainer(engine: Engine, { key, query }: Call): Promise<Reply> {
  const entry = engine.find(key);
  if (!(entry instanceof Container)) entry.sidecar.stop();
  else if (entry.state !== 'running') return { status: 304 };
  else await entry.stop(Number(query.get('t') ?? DEFAULT_STOP_TIMEOUT_S) * 1000);
  return { status: 204 };
}

function killContainer(engine: Engine, { key, query }: Call): Reply {
  const entry = engine.find(key);
  const signal = signalName(query.get('signal') ?? 'SIGKILL');
  if (!(entry instanceof Container) || !entry.signal(signal)) {
    throw new EngineError('conflict', `container is not running: ${key}`);
  }
  return { status: 204 };
}

async function removeContainer(engine: Engine, { key }: Call): Promise<Reply> {
  await engine.remove(engine.find(key));
  return { status: 204 };
}

function signalName(text: string): NodeJS.Signals {
  const known = Object.entries(constants.signals).find(
    ([name, number]) => name === text || name === `SIG${text}` || String(number) === text,
  );
  if (!known) throw new EngineError('failed', `no such signal: ${text}`);
  return known[0] as NodeJS.Signals;
}

/** Docker's word for the state. Until the clean-up after an exit is done, the container counts as running. */
function status(entry: Container | SidecarEntry): 'created' | 'running' | 'exited' {
  if (!(entry instanceof Container)) return entry.sidecar.running ? 'running' : 'created';
  if (entry.state === 'running' || entry.state === 'cleaning') return 'running';
  return entry.state === 'created' ? 'created' : 'exited';
}

function describe(entry: Container | SidecarEntry): unknown {
  const isContainer = entry instanceof Container;
  const ports = isContainer ? entry.ports : new Map([[SIDECAR_PORT, entry.sidecar.ingressPort]]);
  const state = status(entry);
  return {
    Id: entry.id,
    Name: `/${entry.request.name}`,
    Config: {
      Image: entry.request.image,
      Labels: entry.request.labels,
      Env: entry.request.env,
      ExposedPorts: exposed([...ports.keys()]),
    },
    State: {
      Status: state,
      Running: state === 'running',
      ExitCode: isContainer ? entry.exitCode : 0,
      Pid: isContainer ? entry.pid : 0,
    },
    NetworkSettings: {
      Ports: Object.fromEntries(
        [...ports].map(([port, actual]) => [
          `${port}/tcp`,
          [{ HostIp: '127.0.0.1', HostPort: String(actual) }],
        ]),
      ),
    },
  };
}

const exposed = (ports: readonly number[]): Record<string, object> =>
  Object.fromEntries(ports.map((port) => [`${port}/tcp`, {}]));
