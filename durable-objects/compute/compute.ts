/**
 * One endpoint: owns its compute container. Wakes it, connects clients to it, lets it suspend.
 *
 * Only this object starts computes for the endpoint, each in a term larger than any before (the Project gives
 * them out), so at most one can commit even when an old one still runs somewhere: safekeepers refuse old terms.
 */
import { DurableObject } from 'cloudflare:workers';
import {
  CONTAINER_PORT,
  ENV,
  HOST,
  passthroughPreamble,
  SAFEKEEPER_COUNT,
} from '../../lib/protocol/specs.ts';
import type { ComputeSpec, RolesReport } from '../../lib/protocol/specs.ts';
import type { Env } from '../../workers/env.ts';
import {
  ContainerError,
  ManagedContainer,
  randomToken,
  type StartRequest,
} from '../container/managed-container.ts';
import type {
  BackendKey,
  CancelKey,
  ComputeRpc,
  ComputeStart,
  ComputeStatus,
  EndpointConfig,
  PointText,
  ProjectSpecForCompute,
  TravelResult,
  WakeResult,
} from '../contracts.ts';
import { pump } from './pump.ts';

const CONFIG_KEY = 'config';
const WARM_PAGES_KEY = 'warm-pages';
const ACTIVITY_KEY = 'activity';
/** Larger lists of warm pages are not kept (one row holds at most 2 MB). */
const WARM_PAGES_BYTES_MAX = 1 << 20;

interface Activity {
  term: number;
  suspendedAt: string | null;
  lastActiveAt: string | null;
}

export class Compute extends DurableObject<Env> implements ComputeRpc {
  readonly #container: ManagedContainer;
  /** Clients that are connected or being connected through this object. */
  #openConnections = 0;
  readonly #cancelKeys = new Map<number, BackendKey>();

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    this.#container = new ManagedContainer(ctx, 'compute', (session) => {
      const config = this.#config;
      return config ? this.#outbound(config, session.token) : {};
    });
  }

  get #config(): EndpointConfig | null {
    return this.ctx.storage.kv.get<EndpointConfig>(CONFIG_KEY) ?? null;
  }
  get #activity(): Activity {
    return (
      this.ctx.storage.kv.get<Activity>(ACTIVITY_KEY) ?? { term: 0, suspendedAt: null, lastActiveAt: null }
    );
  }
  #noteActivity(change: Partial<Activity>): void {
    this.ctx.storage.kv.put(ACTIVITY_KEY, { ...this.#activity, ...change });
  }
  #project(config: EndpointConfig) {
    return this.env.PROJECT.getByName(config.projectId);
  }

  // --- what the Project asks -------------------------------------------------------------------------------

  configure(config: EndpointConfig): Promise<void> {
    this.ctx.storage.kv.put(CONFIG_KEY, config);
    return Promise.resolve();
  }

  async applyRoles(): Promise<void> {
    const config = this.#config;
    if (!config || this.#container.state !== 'running') return;
    const spec = await this.#project(config).computeSpec(config.branchId);
    const response = await this.#container.fetch('/apply', { method: 'POST', body: JSON.stringify(spec) });
    if (!response.ok) throw new Error(`compute refused the roles: ${await response.text()}`);
    await this.#project(config).applied(config.branchId, spec);
  }

  async suspend(): Promise<void> {
    await this.#container.stop('/suspend');
    this.#noteActivity({ suspendedAt: new Date().toISOString() });
    const config = this.#config;
    if (config?.travel === true) await this.#travelEnded(config);
  }

  async remove(): Promise<void> {
    await this.#container.stop('/suspend');
    await this.ctx.storage.deleteAll();
  }

  async retarget(config: EndpointConfig): Promise<void> {
    await this.#container.stop('/suspend');
    this.ctx.storage.kv.put(CONFIG_KEY, config);
    this.#noteActivity({ suspendedAt: new Date().toISOString() });
  }

  async release(next: EndpointConfig | null): Promise<boolean> {
    if (this.#openConnections > 0 || this.#container.state !== 'stopped') return false;
    if (next === null) await this.ctx.storage.deleteAll();
    else this.ctx.storage.kv.put(CONFIG_KEY, next);
    return true;
  }

  status(): Promise<ComputeStatus> {
    const state = this.#container.state;
    const { term, suspendedAt, lastActiveAt } = this.#activity;
    return Promise.resolve({
      state: state === 'stopped' ? 'idle' : state === 'running' ? 'active' : state,
      term,
      startedAt: this.#container.session?.startedAt ?? null,
      suspendedAt,
      lastActiveAt,
      lastError: this.#container.lastError,
    });
  }

  /** What was written at a past LSN is discarded. Where this is not told, the Project's alarm finds out. */
  async #travelEnded(config: EndpointConfig): Promise<void> {
    await this.#container.waitForExit();
    await this.#project(config).travelEnded(config.endpointId);
  }

  // --- what the proxy asks ---------------------------------------------------------------------------------

  async scramSecret(role: string): Promise<string | null> {
    const config = this.#config;
    if (!config) return null;
    return this.#project(config).scramSecret(config.branchId, role);
  }

  async travel(point: PointText): Promise<TravelResult> {
    const config = this.#config;
    if (!config) return { ok: false, code: 'NOT_FOUND', message: 'no such endpoint', retryable: false };
    return this.#project(config).travelEndpoint(config.branchId, point);
  }

  async wake(): Promise<WakeResult> {
    const config = this.#config;
    if (!config) return { ok: false, code: 'disabled', message: 'no such endpoint', retryable: false };
    const begin = Date.now();
    try {
      const { started } = await this.#container.ensureRunning(() => this.#prepare());
      return { ok: true, coldStart: started, wakeMs: Date.now() - begin };
    } catch (error) {
      const retryable = error instanceof ContainerError ? error.retryable : true;
      const message = error instanceof Error ? error.message : String(error);
      return { ok: false, code: retryable ? 'unavailable' : 'failed', message, retryable };
    }
  }

  /** What the Project says at this moment decides: the branch may have been restored since, or deleted. */
  async #prepare(): Promise<StartRequest> {
    for (;;) {
      const config = this.#config;
      if (!config) throw new ContainerError('refused', 'no such endpoint', false);
      this.#rouseStorage(config);
      const start = await this.#project(config).startCompute(config.endpointId, config.timeline.timelineId);
      if (start.ok) return this.#startRequest(config, start);
      if (start.config === null) throw new ContainerError('refused', 'no such endpoint', false);
      this.ctx.storage.kv.put(CONFIG_KEY, start.config);
    }
  }

  #startRequest(
    config: EndpointConfig,
    { term, safekeepers, spec }: Extract<ComputeStart, { ok: true }>,
  ): StartRequest {
    const token = randomToken();
    const computeSpec: ComputeSpec = {
      projectId: config.projectId,
      branchId: config.branchId,
      endpointId: config.endpointId,
      timeline: config.timeline,
      term,
      safekeepers,
      sessionToken: token,
      ...spec,
      settings: config.settings,
      suspendAfterMs: config.suspendAfterMs,
      warmPages: this.ctx.storage.kv.get<string>(WARM_PAGES_KEY) ?? null,
      ...(this.env.INGEST_LAG_BYTES_MAX && { ingestLagBytesMax: Number(this.env.INGEST_LAG_BYTES_MAX) }),
    };
    this.#noteActivity({ term, lastActiveAt: new Date().toISOString() });
    this.#applying = spec;
    return {
      token,
      env: { [ENV.spec]: JSON.stringify(computeSpec) },
      outbound: this.#outbound(config, token),
    };
  }
  #applying: ProjectSpecForCompute | null = null;

  /**
   * The pageserver's own start overlaps the compute's; a failure shows when the compute asks for pages. The safekeepers sleep
   * too: they are in memory again by the time the compute comes to be elected. Harmless when this start comes to nothing.
   */
  #rouseStorage({ projectId, timeline }: EndpointConfig): void {
    const pageserver = this.env.PAGESERVER.getByName(projectId).wake(projectId, timeline);
    this.ctx.waitUntil(pageserver.catch((error: unknown) => console.error(`pageserver: ${String(error)}`)));
    for (let n = 1; n <= SAFEKEEPER_COUNT; n++) {
      const safekeeper = this.env.SAFEKEEPER.getByName(`${timeline.projectId}/${timeline.timelineId}/${n}`);
      // Any request wakes it; this one it refuses. One that cannot wake will be noticed by the election.
      const answered = safekeeper.fetch('http://safekeeper/').then((response) => response.body?.cancel());
      this.ctx.waitUntil(answered.catch(() => undefined));
    }
  }

  #outbound(config: EndpointConfig, token: string): Record<string, Fetcher> {
    const egress = this.ctx.exports.ComputeEgress({
      props: { endpointId: config.endpointId, timeline: config.timeline, token },
    });
    const hosts: string[] = [HOST.pageserver, HOST.control];
    for (let n = 1; n <= SAFEKEEPER_COUNT; n++) hosts.push(HOST.safekeeper(n));
    return Object.fromEntries(hosts.map((host) => [host, egress as unknown as Fetcher]));
  }

  /** Bytes of one client, from its StartupMessage on. */
  override async connect(socket: Socket): Promise<void> {
    this.#openConnections++;
    try {
      const woken = await this.wake();
      if (!woken.ok) throw new Error(woken.message);
      const preamble = new TextEncoder().encode(passthroughPreamble(this.#container.session!.token));
      const upstream = this.#container.connect(CONTAINER_PORT.postgres);
      await pump(socket, upstream.socket, { preamble, signal: upstream.exited });
    } finally {
      this.#openConnections--;
    }
  }

  openCancelKey(backend: BackendKey): Promise<CancelKey> {
    const config = this.#config;
    if (!config) throw new Error('no such endpoint');
    const secrets = new Uint32Array(1);
    do crypto.getRandomValues(secrets);
    while (this.#cancelKeys.has(secrets[0]));
    this.#cancelKeys.set(secrets[0], backend);
    return Promise.resolve({ pid: config.endpointNumber, secret: secrets[0] });
  }

  closeCancelKey(key: CancelKey): Promise<void> {
    this.#cancelKeys.delete(key.secret);
    return Promise.resolve();
  }

  async cancel(key: CancelKey): Promise<void> {
    const backend = this.#cancelKeys.get(key.secret);
    if (!backend || this.#container.state !== 'running') return;
    const body = JSON.stringify({ pid: backend.pid, key: btoa(String.fromCharCode(...backend.secret)) });
    const response = await this.#container.fetch('/cancel', { method: 'POST', body });
    await response.body?.cancel();
  }

  override async fetch(request: Request): Promise<Response> {
    const { pathname } = new URL(request.url);
    if (pathname.startsWith('/container/')) return this.#answerContainer(pathname.slice(10), request);
    if (pathname === '/sql' && request.method === 'POST') {
      this.#openConnections++;
      try {
        const woken = await this.wake();
        if (!woken.ok)
          return Response.json({ message: woken.message, retryable: woken.retryable }, { status: 503 });
        return await this.#container.fetch('/sql', request);
      } finally {
        this.#openConnections--;
      }
    }
    if (pathname === '/status') {
      if (this.#container.state !== 'running') return Response.json(await this.status());
      const response = await this.#container.fetch('/status');
      return Response.json({ ...(await response.json<object>()), start: this.#container.startTimes });
    }
    return new Response('not found', { status: 404 });
  }

  // --- what the container asks (workers/egress sends it here, with the token of the container's session) -----

  async #answerContainer(path: string, request: Request): Promise<Response> {
    const config = this.#config;
    if (!config || !this.#container.isCurrent(request.headers.get('x-ebb-session'))) {
      return Response.json({ message: 'this compute is not the current one' }, { status: 410 });
    }
    switch (`${request.method} ${path}`) {
      case 'POST /idle': {
        const stop = this.#openConnections === 0 && this.#container.state === 'running';
        if (stop) {
          this.#container.beginStop();
          this.#noteActivity({ suspendedAt: new Date().toISOString() });
          if (config.travel === true) this.ctx.waitUntil(this.#travelEnded(config));
        }
        return Response.json({ stop });
      }
      case 'POST /roles': {
        const report = await request.json<RolesReport>();
        const project = this.#project(config);
        // First: the report was read after that, and says what has come of it.
        if (this.#applying) await project.applied(config.branchId, this.#applying);
        this.#applying = null;
        await project.reportRoles(config.branchId, report);
        return Response.json({});
      }
      case 'PUT /warm-pages': {
        const pages = new Uint8Array(await request.arrayBuffer());
        if (pages.length > WARM_PAGES_BYTES_MAX) return new Response('too large', { status: 413 });
        let text = '';
        for (let i = 0; i < pages.length; i += 8192)
          text += String.fromCharCode(...pages.subarray(i, i + 8192));
        this.ctx.storage.kv.put(WARM_PAGES_KEY, btoa(text));
        return Response.json({});
      }
      case 'POST /superseded':
        this.#container.beginStop();
        return Response.json({});
      default:
        return new Response('not found', { status: 404 });
    }
  }
}
