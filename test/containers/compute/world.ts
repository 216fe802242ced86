/**
 * Everything around one compute, in this process: three real acceptors in memory, the pages of the initdb template, and
 * a Durable Object that notes what it is told. Only the network is made up: its WebSockets and fetch by host name.
 */
import { chmodSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { once } from 'node:events';
import type { Server } from 'node:http';
import { connect, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { vi } from 'vitest';
import { Compute, type ComputeLog } from '../../../containers/compute/compute.ts';
import { readConfig } from '../../../containers/compute/config.ts';
import { createHttpServer } from '../../../containers/compute/http/server.ts';
import type { OpenSocket } from '../../../containers/compute/outbound-socket.ts';
import { socketPath } from '../../../containers/compute/postgres/settings.ts';
import { CheckPoint } from '../../../lib/postgres/checkpoint.ts';
import { decodeControlFile } from '../../../lib/postgres/control-file.ts';
import {
  decodePageRequest,
  encodePageResponse,
  type BootManifest,
  type PageResponse,
} from '../../../lib/protocol/pages.ts';
import type { Lsn } from '../../../lib/postgres/lsn.ts';
import { FIRST_SAFEKEEPERS } from '../../../lib/protocol/safekeepers.ts';
import {
  ENV,
  HOST,
  passthroughPreamble,
  TIMELINE_START_LSN,
  type ComputeSpec,
  type RolesReport,
} from '../../../lib/protocol/specs.ts';
import { scramSecret } from '../../support/compute-postgres.ts';
import { initdbTemplate } from '../../support/postgres-cluster.ts';
import { describeCluster, StoppedCluster } from './datadir/stopped-cluster.ts';
import { MemoryAcceptors } from './proposer/memory-acceptors.ts';

/** `fetch` is made up for what the compute asks; the tests ask by the real one. */
const realFetch = globalThis.fetch;
const TOKEN = 'the-session-token-of-this-compute';

/** A WebSocket of the page service to a stopped cluster. */
class PageServiceSocket extends EventTarget {
  binaryType = 'arraybuffer';
  readonly #world: World;
  constructor(world: World) {
    super();
    this.#world = world;
    setImmediate(() => this.dispatchEvent(new Event('open')));
    world.pageSockets.add(this);
  }
  send(data: Uint8Array): void {
    void this.#answer(data.slice());
  }
  close(): void {
    this.#world.pageSockets.delete(this);
    this.dispatchEvent(new Event('close'));
  }
  say(response: PageResponse): void {
    const data = new Uint8Array(encodePageResponse(response)).buffer;
    this.dispatchEvent(new MessageEvent('message', { data }));
  }
  async #answer(bytes: Uint8Array): Promise<void> {
    const request = decodePageRequest(bytes);
    const { manifest, blobs, source } = this.#world;
    const response =
      request.tag === 'boot'
        ? ({ tag: 'boot', id: request.id, manifest, blobs } as const)
        : ({
            tag: 'pages',
            id: request.id,
            pages: await source.getPages(request.lsn, request.runs),
          } as const);
    this.say(response);
  }
}

export class World {
  readonly acceptors: MemoryAcceptors;
  readonly spec: ComputeSpec;
  readonly manifest: BootManifest;
  readonly blobs: Uint8Array;
  readonly source: StoppedCluster;
  readonly home: string;
  /** What the Durable Object was told: `POST /roles` and so on, with the body. */
  readonly told: { what: string; body: unknown }[] = [];
  readonly logged: { fields: object; message: string }[] = [];
  mayStop = true;
  /** Connections of the page service. */
  readonly pageSockets = new Set<PageServiceSocket>();
  readonly #servers: Server[] = [];
  #onTold: (() => void)[] = [];

  private constructor(template: string, spec: ComputeSpec) {
    const { manifest, blobs } = describeCluster(template);
    const control = new Uint8Array(readFileSync(join(template, 'global/pg_control')));
    const checkPoint = CheckPoint.encode(decodeControlFile(control).checkPointCopy);
    const version = Buffer.from('18\n');
    const after = blobs.length + checkPoint.length + control.length;
    this.manifest = {
      ...manifest,
      files: [...manifest.files, { path: 'PG_VERSION', content: [after, version.length] }],
      checkPoint: [blobs.length, checkPoint.length],
      controlFile: [blobs.length + checkPoint.length, control.length],
    };
    this.blobs = new Uint8Array(Buffer.concat([blobs, checkPoint, control, version]));
    this.source = new StoppedCluster(template);
    this.spec = spec;
    this.acceptors = new MemoryAcceptors(spec.timeline);
    this.home = mkdtempSync(join(tmpdir(), 'ebb-world-'));
    chmodSync(this.home, 0o711);
  }

  static async create(change: Partial<ComputeSpec> = {}): Promise<World> {
    const template = await initdbTemplate();
    const { systemIdentifier } = decodeControlFile(readFileSync(join(template, 'global/pg_control')));
    const { secret } = await scramSecret('moon');
    const world = new World(template, {
      projectId: 'p',
      safekeepers: FIRST_SAFEKEEPERS,
      branchId: 'br',
      endpointId: 'ep-test',
      timeline: {
        projectId: 'p',
        timelineId: '0123456789abcdef0123456789abcdef',
        postgresMajor: 18,
        systemIdentifier: String(systemIdentifier),
        startLsn: TIMELINE_START_LSN,
        origin: { kind: 'template' },
      },
      term: 1,
      sessionToken: TOKEN,
      roles: [{ name: 'conrad', scramSecret: secret, owner: true }],
      databases: [],
      droppedRoles: [],
      droppedDatabases: [],
      settings: {},
      suspendAfterMs: 0,
      warmPages: null,
      ...change,
    });
    world.#stubNetwork();
    return world;
  }

  #openSocket(url: string): ReturnType<OpenSocket> {
    const { hostname } = new URL(url);
    const socket =
      hostname === HOST.pageserver
        ? new PageServiceSocket(this)
        : this.acceptors.connect(Number(/^safekeeper-(\d)/.exec(hostname)?.[1]));
    return socket as unknown as ReturnType<OpenSocket>;
  }

  #stubNetwork(): void {
    vi.stubGlobal('fetch', async (url: string, init: RequestInit) => {
      const request = new Request(url, init);
      const { hostname, pathname } = new URL(url);
      if (hostname !== HOST.control) throw new Error(`nothing answers at ${url}`);
      const body = pathname === '/warm-pages' ? await request.arrayBuffer() : await request.json();
      this.told.push({ what: `${request.method} ${pathname}`, body });
      for (const resolve of this.#onTold.splice(0)) resolve();
      return Response.json(pathname === '/idle' ? { stop: this.mayStop } : {});
    });
  }

  /** Resolves with the first body of `what` that `accept` accepts, told already or to come. */
  async untilTold<T>(what: string, accept: (body: T) => boolean = () => true): Promise<T> {
    for (let seen = 0; ;) {
      for (; seen < this.told.length; seen++)
        if (this.told[seen].what === what && accept(this.told[seen].body as T))
          return this.told[seen].body as T;
      await new Promise<void>((resolve) => this.#onTold.push(resolve));
    }
  }
  untilRole(name: string): Promise<RolesReport> {
    return this.untilTold<RolesReport>('POST /roles', ({ roles }) =>
      roles.some((role) => role.name === name),
    );
  }

  /** A compute that has not been started, with its HTTP port as a function and its Postgres port open. */
  async compute(mode: 'plain' | 'fuse'): Promise<RunningCompute> {
    const config = readConfig({
      [ENV.spec]: JSON.stringify(this.spec),
      [ENV.disk]: this.home,
      [ENV.listen]: '127.0.0.1',
      [ENV.dataDirectory]: mode,
    });
    const note = (fields: object, message: string): void => void this.logged.push({ fields, message });
    const log: ComputeLog = { info: note, warn: note, error: note, debug: note };
    const compute = new Compute(config, log, (url) => this.#openSocket(url));
    const http = createHttpServer({ compute, sessionToken: TOKEN, socketPath: socketPath(config.folders) });
    http.listen(0, '127.0.0.1');
    await once(http, 'listening');
    this.#servers.push(http);
    const port = await compute.gateway.listen(0, '127.0.0.1');
    return new RunningCompute(compute, http, port, config.folders.socket);
  }

  /** The pageserver tells how far it is. */
  ingested(ingestedLsn: Lsn): void {
    for (const socket of this.pageSockets)
      socket.say({ tag: 'progress', id: 0, ingestedLsn, remoteConsistentLsn: ingestedLsn });
  }

  remove(): void {
    for (const server of this.#servers) {
      server.close();
      server.closeAllConnections();
    }
    vi.unstubAllGlobals();
    rmSync(this.home, { recursive: true, force: true });
  }
}

export class RunningCompute {
  readonly compute: Compute;
  readonly #http: Server;
  readonly #port: number;
  readonly #socketFolder: string;

  constructor(compute: Compute, http: Server, port: number, socketFolder: string) {
    this.compute = compute;
    this.#http = http;
    this.#port = port;
    this.#socketFolder = socketFolder;
  }

  async http(
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ): Promise<Response> {
    const init: RequestInit = { method, headers: { authorization: `Bearer ${TOKEN}`, ...headers } };
    if (body !== undefined) init.body = JSON.stringify(body);
    const { port } = this.#http.address() as AddressInfo;
    return realFetch(`http://127.0.0.1:${port}${path}`, init);
  }

  /** A client as the Durable Object passes it on. */
  async client(user = 'conrad', password = 'moon', database = 'postgres'): Promise<pg.Client> {
    const stream = connect(this.#port, '127.0.0.1');
    await once(stream, 'connect');
    stream.write(passthroughPreamble(TOKEN));
    stream.connect = () => {
      setImmediate(() => stream.emit('connect'));
      return stream;
    };
    const client = new pg.Client({ user, password, database, stream: () => stream });
    client.on('error', () => undefined);
    await client.connect();
    return client;
  }

  /** The reserved superuser, past the gateway. */
  async superuser(): Promise<pg.Client> {
    const client = new pg.Client({
      host: this.#socketFolder,
      port: 5432,
      user: 'ebb_admin',
      database: 'postgres',
    });
    client.on('error', () => undefined);
    await client.connect();
    return client;
  }
}
