/**
 * One container of one Durable Object: started on demand, known to be ready, stopped without losing a caller.
 *
 *   stopped ──ensureRunning──► starting ──/ready──► running ──beginStop──► stopping ──exit──► stopped
 *                                  └────────exit or deadline────────┘ (failure to every waiter)
 *
 * The session (token and what the owner adds) is stored before the container starts, so that an object which
 * was evicted while its container runs finds it again. Whoever calls the container proves with the token that it
 * is this object; whoever is called back by the container checks that the token is the current session's.
 */
import { CONTAINER_PORT } from '../../lib/protocol/specs.ts';

export type ContainerState = 'stopped' | 'starting' | 'running' | 'stopping';

/** Why a container did not come up. `retryable`: another attempt may succeed. */
export class ContainerError extends Error {
  override readonly name = 'ContainerError';
  readonly code: 'exited' | 'timeout' | 'refused';
  readonly retryable: boolean;
  constructor(code: ContainerError['code'], message: string, retryable: boolean, cause?: unknown) {
    super(message, { cause });
    this.code = code;
    this.retryable = retryable;
  }
}

export interface Session {
  token: string;
  startedAt: string;
}

export interface StartRequest {
  token: string;
  env: Record<string, string>;
  /** Host names the container may reach, and what answers them. */
  outbound: Record<string, Fetcher>;
}

/** When the last start passed which station; milliseconds of the Unix clock. */
export interface StartTimes {
  askedAtMs: number;
  /** The engine was told to run the container. */
  startedAtMs: number;
  readyAtMs: number;
}

const READY_TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = 20_000;
const CONNECT_RETRY_MS = 10;
const READY_PATIENCE_MS = 3_000;
const SESSION_KEY = 'container-session';

const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

/** 32 hexadecimal digits nobody can guess. */
export const randomToken = (): string => crypto.randomUUID().replaceAll('-', '');

export class ManagedContainer {
  readonly #ctx: DurableObjectState;
  readonly #what: string;
  readonly #container: Container;
  #state: ContainerState = 'stopped';
  #starting: Promise<void> | null = null;
  #exited: Promise<void> = Promise.resolve();
  /** Of the last start that succeeded while this object was in memory. */
  startTimes: StartTimes | null = null;
  /** Message of the last failed start or unexpected exit. */
  lastError: string | null = null;

  /**
   * `outbound` is needed to adopt a container that outlived the object's memory: the runtime forgets who
   * answers its outbound names.
   */
  constructor(
    ctx: DurableObjectState,
    what: string,
    outbound: (session: Session) => Record<string, Fetcher>,
  ) {
    if (!ctx.container)
      throw new Error(`${what}: this Durable Object class has no container in wrangler.toml`);
    this.#ctx = ctx;
    this.#what = what;
    this.#container = ctx.container;
    const session = this.session;
    if (this.#container.running) {
      this.#state = 'running';
      void ctx.blockConcurrencyWhile(async () => {
        if (session) await this.#intercept(outbound(session));
        else await this.#container.destroy();
        this.#watch();
      });
    }
  }

  get state(): ContainerState {
    return this.#state;
  }
  get session(): Session | null {
    return this.#ctx.storage.kv.get<Session>(SESSION_KEY) ?? null;
  }
  /** Whether `token` is that of the container that runs now. */
  isCurrent(token: string | null): boolean {
    return this.#state !== 'stopped' && token !== null && token === this.session?.token;
  }

  /**
   * Resolves when the container serves. Starts it by what `prepare` returns unless it runs; concurrent callers
   * share one start. Throws ContainerError.
   */
  async ensureRunning(prepare: () => Promise<StartRequest>): Promise<{ started: boolean }> {
    if (this.#state === 'stopping') await this.waitForExit();
    if (this.#state === 'running') return { started: false };
    this.#starting ??= this.#start(prepare).finally(() => {
      this.#starting = null;
    });
    await this.#starting;
    return { started: true };
  }

  async #start(prepare: () => Promise<StartRequest>): Promise<void> {
    this.#state = 'starting';
    const askedAtMs = Date.now();
    try {
      const request = await prepare();
      this.#ctx.storage.kv.put(SESSION_KEY, { token: request.token, startedAt: new Date().toISOString() });
      await this.#intercept(request.outbound);
      this.#container.start({ env: request.env, enableInternet: false });
      const startedAtMs = Date.now();
      this.#watch();
      await this.#untilReady();
      this.startTimes = { askedAtMs, startedAtMs, readyAtMs: Date.now() };
      this.#state = 'running';
      this.lastError = null;
    } catch (error) {
      this.lastError = String(error instanceof Error ? error.message : error);
      await this.#destroy(this.lastError);
      this.#state = 'stopped';
      throw error;
    }
  }

  async #intercept(outbound: Record<string, Fetcher>): Promise<void> {
    await Promise.all(
      Object.entries(outbound).map(([host, fetcher]) => this.#container.interceptOutboundHttp(host, fetcher)),
    );
  }

  #watch(): void {
    const token = this.session?.token;
    this.#exited = this.#container.monitor().then(
      () => this.#onExit(token, null),
      (error: unknown) => this.#onExit(token, error),
    );
    this.#ctx.waitUntil(this.#exited);
  }

  #onExit(token: string | undefined, error: unknown): void {
    if (token !== this.session?.token) return;
    if (this.#state !== 'stopping' && error !== null) {
      this.lastError = `${this.#what} exited: ${describe(error)}`;
      console.error(JSON.stringify({ what: this.#what, event: 'container exited', error: this.lastError }));
    }
    if (this.#state !== 'starting') this.#state = 'stopped';
  }

  /**
   * Asks /ready, which holds the request until the container has booted, again and again: until something listens,
   * and then every few seconds, because a request that the runtime lost on its way is never answered.
   */
  async #untilReady(): Promise<void> {
    const deadline = Date.now() + READY_TIMEOUT_MS;
    const exit = this.#exited.then(() => {
      throw new ContainerError('exited', `${this.#what} exited while it started`, true);
    });
    exit.catch(() => undefined);
    for (;;) {
      const answer = this.#askReady();
      answer.catch(() => undefined);
      try {
        if (await Promise.race([answer, exit, sleep(READY_PATIENCE_MS).then(() => false)])) return;
      } catch (error) {
        if (error instanceof ContainerError) throw error;
        await Promise.race([sleep(CONNECT_RETRY_MS), exit]);
      }
      if (Date.now() > deadline) {
        throw new ContainerError('timeout', `${this.#what} was not ready in ${READY_TIMEOUT_MS} ms`, true);
      }
    }
  }

  /** True when it is ready. Throws ContainerError when it says that it failed, and another error when nothing listens. */
  async #askReady(): Promise<boolean> {
    const response = await this.fetch('/ready', { signal: AbortSignal.timeout(READY_TIMEOUT_MS) });
    const text = await response.text();
    if (response.ok) return true;
    const failure = parseFailure(text);
    throw new ContainerError(
      'refused',
      `${this.#what} did not start: ${failure.message}`,
      failure.code === 'unavailable' || failure.code === 'superseded',
    );
  }

  /** HTTP to the container's port, with the session token. */
  async fetch(path: string, init: RequestInit | Request = {}): Promise<Response> {
    const headers = new Headers(init.headers);
    headers.set('Authorization', `Bearer ${this.session?.token ?? ''}`);
    const request = new Request(new URL(path, 'http://container'), init);
    return this.#container.getTcpPort(CONTAINER_PORT.http).fetch(new Request(request, { headers }));
  }

  /**
   * A TCP connection to one of the container's ports, and a signal that is aborted when the container exits: the
   * runtime may leave a connection to a dead container open for ever.
   */
  connect(port: number): { socket: Socket; exited: AbortSignal } {
    const socket = this.#container.getTcpPort(port).connect(`container:${port}`);
    const exited = new AbortController();
    void this.#exited.then(() => exited.abort());
    return { socket, exited: exited.signal };
  }

  /** From now on no caller is sent to this container; the next one waits for its exit. */
  beginStop(): void {
    if (this.#state === 'running') this.#state = 'stopping';
  }

  /** Waits for the exit of a stopping container; kills it when that takes too long. */
  async waitForExit(): Promise<void> {
    const exited = await Promise.race([
      this.#exited.then(() => true),
      sleep(STOP_TIMEOUT_MS).then(() => false),
    ]);
    if (!exited) await this.#destroy(`${this.#what} did not stop in ${STOP_TIMEOUT_MS} ms`);
    if (this.#state === 'stopping') this.#state = 'stopped';
  }

  /** Stops by the container's own route, which answers when nothing will be lost. */
  async stop(path: string): Promise<void> {
    if (this.#starting) await this.#starting.catch(() => undefined);
    if (this.#state === 'stopped') return;
    this.beginStop();
    try {
      const response = await this.fetch(path, { method: 'POST' });
      await response.body?.cancel();
    } catch (error) {
      console.warn(JSON.stringify({ what: this.#what, event: 'stop request failed', error: String(error) }));
    }
    await this.waitForExit();
  }

  async #destroy(reason: string): Promise<void> {
    try {
      await this.#container.destroy(new Error(reason));
      await this.#exited;
    } catch (error) {
      console.warn(JSON.stringify({ what: this.#what, event: 'destroy failed', error: String(error) }));
    }
  }
}

function parseFailure(text: string): { code: string; message: string } {
  try {
    const failure = JSON.parse(text) as { code?: string; message?: string };
    return { code: failure.code ?? 'failed', message: failure.message ?? text };
  } catch {
    return { code: 'failed', message: text.slice(0, 500) };
  }
}

function describe(error: unknown): string {
  return error instanceof Error ? error.message : JSON.stringify(error);
}
