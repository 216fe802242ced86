/**
 * The compute's end of the page service (lib/protocol/pages.ts): one WebSocket to the pageserver.
 *
 * A request is a promise with a deadline. While there is time it survives what can pass: a connection that
 * breaks is made again with backoff and what was not answered is sent again; `behind` and `stopping` are asked
 * again. Every request only reads at a fixed LSN, so asking twice is harmless. What cannot pass (a redo error, history that
 * is gone) fails at once, with the pageserver's own words.
 *
 * Bounded: at most `requestsMax` requests are on the wire; others wait in order, at most `queueMax` of them.
 */
import { formatLsn, type Lsn } from '../../../lib/postgres/lsn.ts';
import {
  decodePageResponse,
  encodePageRequest,
  pageCount,
  PAGES_MAX,
  type BootManifest,
  type PageErrorCode,
  type PageRequest,
  type PageResponse,
  type PageRun,
} from '../../../lib/protocol/pages.ts';

/** A pageserver that has to be started for the connection takes a second or two. */
const CONNECT_TIMEOUT_MS = 5_000;

/**
 * A PageErrorCode: the pageserver's final answer. `deadline`: no answer in time (`cause` says what was last
 * seen). `overloaded`: too many requests wait already. `closed`: this client was closed.
 */
export type PageClientErrorCode = PageErrorCode | 'deadline' | 'overloaded' | 'closed';

export class PageClientError extends Error {
  override readonly name = 'PageClientError';
  readonly code: PageClientErrorCode;
  constructor(code: PageClientErrorCode, message: string, cause?: unknown) {
    super(message, { cause });
    this.code = code;
  }
}

/** The part of a WebSocket that is used; the global one fits. */
export interface PageSocket {
  binaryType: string;
  send(data: Uint8Array<ArrayBuffer>): void;
  close(): void;
  addEventListener(type: 'open' | 'close' | 'error', listener: () => void): void;
  addEventListener(type: 'message', listener: (event: { data: unknown }) => void): void;
}

export interface PageClientOptions {
  /** For example `ws://pageserver.ebb.internal/pages`. */
  url: string;
  /** From the call to the answer; default 60 s, which outlasts a restart of the pageserver. */
  deadlineMs?: number;
  requestsMax?: number;
  queueMax?: number;
  /** Default: the global WebSocket. */
  connect?: (url: string) => PageSocket;
  /** The pageserver has ingested up to here. */
  onIngested?: (ingestedLsn: Lsn) => void;
  /** There is no connection any more. */
  onLost?: () => void;
}

const RETRY_FIRST_MS = 10;
const RETRY_LAST_MS = 1000;

type Body = { tag: 'getPages'; lsn: Lsn; runs: readonly PageRun[] } | { tag: 'boot'; lsn: Lsn };
interface Pending {
  id: number;
  body: Body;
  resolve: (response: PageResponse) => void;
  reject: (error: PageClientError) => void;
  timer: NodeJS.Timeout;
  /** Why the last attempt came to nothing. */
  lastFailure: Error | undefined;
  retries: number;
}

export class PageClient {
  readonly #url: string;
  #connectTimer: NodeJS.Timeout | undefined;
  readonly #deadlineMs: number;
  readonly #requestsMax: number;
  readonly #queueMax: number;
  readonly #connect: (url: string) => PageSocket;
  readonly #onIngested: (ingestedLsn: Lsn) => void;
  readonly #onLost: () => void;
  /** On the wire, or to be sent as soon as there is a connection. */
  readonly #pending = new Map<number, Pending>();
  readonly #queue: Pending[] = [];
  readonly #retryTimers = new Set<NodeJS.Timeout>();
  #socket: PageSocket | undefined;
  #open = false;
  #reconnects = 0;
  #closed = false;
  #nextId = 1;

  constructor(options: PageClientOptions) {
    this.#url = options.url;
    this.#deadlineMs = options.deadlineMs ?? 60_000;
    this.#requestsMax = options.requestsMax ?? 128;
    this.#queueMax = options.queueMax ?? 4096;
    this.#connect = options.connect ?? ((url) => new WebSocket(url));
    this.#onIngested = options.onIngested ?? (() => undefined);
    this.#onLost = options.onLost ?? (() => undefined);
  }

  /** Connects before there is a request. A failure shows in the first request. */
  warmUp(): void {
    this.#ensureSocket();
  }

  /** All that a data directory at `lsn` is made of, but for pages. Throws PageClientError. */
  async boot(lsn: Lsn): Promise<{ manifest: BootManifest; blobs: Uint8Array }> {
    const response = await this.#request({ tag: 'boot', lsn });
    if (response.tag !== 'boot')
      throw new PageClientError('internal', `boot at ${formatLsn(lsn)}: answered with ${response.tag}`);
    return response;
  }

  /**
   * Pages of `runs` (1 to PAGES_MAX in all) as of `lsn`, in order; null where a page does not exist at that LSN.
   * The pages are views of one message. Throws PageClientError.
   */
  async getPages(lsn: Lsn, runs: readonly PageRun[]): Promise<(Uint8Array | null)[]> {
    const count = pageCount(runs);
    if (count < 1 || count > PAGES_MAX)
      throw new PageClientError('malformed', `${count} pages asked for: 1 to ${PAGES_MAX} allowed`);
    const response = await this.#request({ tag: 'getPages', lsn, runs });
    if (response.tag !== 'pages' || response.pages.length !== count)
      throw new PageClientError(
        'internal',
        `${count} pages at ${formatLsn(lsn)} asked for, answered with ${response.tag === 'pages' ? response.pages.length : response.tag}`,
      );
    return response.pages;
  }

  /** Fails everything outstanding with `closed`. */
  close(): void {
    this.#closed = true;
    for (const timer of this.#retryTimers) clearTimeout(timer);
    for (const pending of [...this.#pending.values(), ...this.#queue])
      this.#fail(pending, new PageClientError('closed', 'the page client was closed'));
    this.#dropSocket();
  }

  #request(body: Body): Promise<PageResponse> {
    if (this.#closed) return Promise.reject(new PageClientError('closed', 'the page client was closed'));
    if (this.#queue.length >= this.#queueMax)
      return Promise.reject(
        new PageClientError('overloaded', `${this.#queue.length} page requests wait already`),
      );
    return new Promise((resolve, reject) => {
      const id = this.#nextId;
      this.#nextId = id === 0xffff_ffff ? 1 : id + 1;
      const timer = setTimeout(() => this.#expire(pending), this.#deadlineMs);
      const pending: Pending = { id, body, resolve, reject, timer, lastFailure: undefined, retries: 0 };
      this.#queue.push(pending);
      this.#pump();
    });
  }

  #pump(): void {
    while (this.#queue.length > 0 && this.#pending.size < this.#requestsMax) {
      const pending = this.#queue.shift() as Pending;
      this.#pending.set(pending.id, pending);
      this.#send(pending);
    }
    if (this.#pending.size > 0) this.#ensureSocket();
  }

  #send(pending: Pending): void {
    if (!this.#open) return; // sent when the connection opens
    this.#socket?.send(encodePageRequest(toRequest(pending)) as Uint8Array<ArrayBuffer>);
  }

  #expire(pending: Pending): void {
    this.#fail(
      pending,
      new PageClientError(
        'deadline',
        `${describe(pending.body)}: no answer within ${this.#deadlineMs} ms${pending.lastFailure ? `; last: ${pending.lastFailure.message}` : ''}`,
        pending.lastFailure,
      ),
    );
    this.#pump();
  }

  #fail(pending: Pending, error: PageClientError): void {
    this.#forget(pending);
    pending.reject(error);
  }
  #forget(pending: Pending): void {
    clearTimeout(pending.timer);
    this.#pending.delete(pending.id);
    const queued = this.#queue.indexOf(pending);
    if (queued >= 0) this.#queue.splice(queued, 1);
  }

  #ensureSocket(): void {
    if (this.#socket !== undefined || this.#closed) return;
    const socket = this.#connect(this.#url);
    this.#socket = socket;
    socket.binaryType = 'arraybuffer';
    // An upgrade request that got lost on its way is never refused either.
    const patience = setTimeout(
      () => this.#lost(socket, new Error(`no connection to ${this.#url} in ${CONNECT_TIMEOUT_MS} ms`)),
      CONNECT_TIMEOUT_MS,
    );
    this.#connectTimer = patience;
    socket.addEventListener('open', () => {
      clearTimeout(patience);
      if (this.#socket !== socket) return socket.close();
      this.#open = true;
      for (const pending of this.#pending.values()) this.#send(pending);
    });
    socket.addEventListener('message', ({ data }) => {
      if (this.#socket !== socket) return;
      try {
        if (!(data instanceof ArrayBuffer)) throw new Error('a text message');
        this.#receive(decodePageResponse(new Uint8Array(data)));
        this.#reconnects = 0;
      } catch (error) {
        this.#lost(socket, new Error(`malformed answer of ${this.#url}`, { cause: error }));
      }
    });
    // `close` follows `error`; an error's own words are not given by the global WebSocket.
    socket.addEventListener('error', () =>
      this.#lost(socket, new Error(`connection to ${this.#url} failed`)),
    );
    socket.addEventListener('close', () =>
      this.#lost(socket, new Error(`connection to ${this.#url} closed`)),
    );
  }

  #lost(socket: PageSocket, failure: Error): void {
    if (this.#socket !== socket) return;
    this.#dropSocket();
    for (const pending of this.#pending.values()) pending.lastFailure = failure;
    if (this.#closed || this.#pending.size === 0) return;
    this.#later(backoffMs(this.#reconnects++), () => this.#pump());
  }
  #dropSocket(): void {
    const socket = this.#socket;
    clearTimeout(this.#connectTimer);
    this.#socket = undefined;
    this.#open = false;
    socket?.close();
    this.#onLost();
  }

  #receive(response: PageResponse): void {
    if (response.tag === 'progress') return this.#onIngested(response.ingestedLsn);
    const pending = this.#pending.get(response.id);
    if (pending === undefined) return; // its deadline passed, or it was answered on an earlier connection
    if (response.tag !== 'error') {
      this.#forget(pending);
      pending.resolve(response);
    } else {
      const error = new PageClientError(response.code, `${describe(pending.body)}: ${response.message}`);
      if (response.code === 'behind' || response.code === 'stopping') {
        pending.lastFailure = error;
        this.#later(backoffMs(pending.retries++), () => {
          if (this.#pending.has(pending.id)) this.#send(pending);
        });
        return;
      }
      this.#fail(pending, error);
    }
    this.#pump();
  }

  #later(ms: number, action: () => void): void {
    const timer = setTimeout(() => {
      this.#retryTimers.delete(timer);
      action();
    }, ms);
    this.#retryTimers.add(timer);
  }
}

/** Full jitter would need randomness for one client per pageserver: plain doubling does. */
const backoffMs = (attempt: number): number => Math.min(RETRY_LAST_MS, RETRY_FIRST_MS * 2 ** attempt);

const toRequest = ({ id, body }: Pending): PageRequest =>
  body.tag === 'boot'
    ? { tag: 'boot', id, lsn: body.lsn }
    : { tag: 'getPages', id, lsn: body.lsn, runs: [...body.runs] };

const describe = (body: Body): string =>
  body.tag === 'boot'
    ? `boot at ${formatLsn(body.lsn)}`
    : `${pageCount(body.runs)} pages from ${describeRun(body.runs[0])} at ${formatLsn(body.lsn)}`;

/** For messages: `1663/5/16384 fork 0 block 7+16`. */
export const describeRun = (run: PageRun): string =>
  run.kind === 'relation'
    ? `${run.spcOid}/${run.dbOid}/${run.relNumber} fork ${run.fork} block ${run.block}+${run.count}`
    : `${run.slru} segment ${run.segment} block ${run.block}+${run.count}`;
