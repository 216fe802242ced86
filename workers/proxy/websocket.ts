/**
 * The entrance for WebSockets, `/v2`: Postgres's protocol in binary messages, as @neondatabase/serverless
 * speaks it. Messages need not be whole protocol messages: their bytes are one stream.
 *
 * The driver sends its password with the startup message, before it is asked, and the first query with it; so
 * the method is a cleartext password (the WebSocket is TLS-encrypted in production). The endpoint is named by
 * the query's `address=host:port`, or by the Host header.
 *
 * Close codes are in docs/ERRORS.md.
 */
import { PeerGone, type BackendConnection, type Bytes, type ClientConnection } from './connection.ts';
import { endpointOfHost } from './endpoint-name.ts';
import type { ProxyEnv } from './env.ts';
import { PROXY_LIMITS, type ProxyLimits } from './limits.ts';
import { ProxyError, type ProxyErrorCode } from './proxy-error.ts';
import { serve } from './session.ts';

/** Bytes that the client sent and Postgres has not taken; WebSockets cannot be told to wait. */
const QUEUED_BYTES_MAX = 32 << 20;
/** Bytes that Postgres sent and the client has not taken; beyond them Postgres waits. */
const BUFFERED_BYTES_MAX = 4 << 20;
/** The runtime does not say when its buffer drains, so a full one is looked at again. */
const DRAIN_CHECK_MS = 5;

const CLOSE_NORMAL = 1000;
const CLOSE_UNSUPPORTED_DATA = 1003;
const CLOSE_TOO_BIG = 1009;
const CLOSE_REFUSED = 1008;
const CLOSE_CODE: Partial<Record<ProxyErrorCode, number>> = {
  protocolViolation: 1002,
  unsupportedProtocol: 1002,
  internal: 1011,
  computeUnavailable: 1013,
  tooManyConnections: 1013,
};

/** 101, and serves the client until its WebSocket closes; 426 for a request that is not an upgrade. */
export function handleWebSocket(
  request: Request,
  env: ProxyEnv,
  ctx: ExecutionContext,
  limits: ProxyLimits = PROXY_LIMITS,
): Response {
  if (request.headers.get('upgrade')?.toLowerCase() !== 'websocket') {
    const message = 'a WebSocket upgrade is expected here';
    return Response.json({ message }, { status: 426, headers: { upgrade: 'websocket' } });
  }
  const { 0: theirs, 1: ours } = new WebSocketPair();
  const client = new WebSocketClient(ours);
  ctx.waitUntil(serve({ client, method: 'cleartext', host: hostOf(request), env, limits }));
  return new Response(null, { status: 101, webSocket: theirs });
}

/** A driver that goes through a proxy of its choice says in `address` which host it means. */
function hostOf(request: Request): string | null {
  const address = new URL(request.url).searchParams.get('address');
  const named = endpointOfHost(address);
  return named === null ? request.headers.get('host') : address;
}

class WebSocketClient implements ClientConnection {
  readonly #socket: WebSocket;
  readonly #queue: Bytes[] = [];
  #queuedBytes = 0;
  #ended = false;
  #fault: { error: ProxyError; closeCode: number } | null = null;
  #wakeReader: (() => void) | null = null;

  constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.accept();
    socket.binaryType = 'arraybuffer';
    socket.addEventListener('message', ({ data }) => this.#receive(data as ArrayBuffer | string));
    socket.addEventListener('close', () => this.#end());
    socket.addEventListener('error', () => this.#end());
  }

  #receive(data: ArrayBuffer | string): void {
    if (this.#fault !== null || this.#ended) return;
    if (typeof data === 'string') {
      this.#fail('text message: binary messages expected', CLOSE_UNSUPPORTED_DATA);
    } else if (this.#queuedBytes + data.byteLength > QUEUED_BYTES_MAX) {
      this.#fail(`more than ${QUEUED_BYTES_MAX >> 20} MiB wait to be taken`, CLOSE_TOO_BIG);
    } else if (data.byteLength > 0) {
      this.#queue.push(new Uint8Array(data));
      this.#queuedBytes += data.byteLength;
    }
    this.#wakeReader?.();
  }
  #fail(message: string, closeCode: number): void {
    this.#queue.length = 0;
    this.#fault = { error: new ProxyError('protocolViolation', message), closeCode };
  }
  #end(): void {
    this.#ended = true;
    this.#wakeReader?.();
  }

  async read(): Promise<Bytes | null> {
    for (;;) {
      const chunk = this.#queue.shift();
      if (chunk !== undefined) {
        this.#queuedBytes -= chunk.length;
        return chunk;
      }
      if (this.#fault !== null) throw this.#fault.error;
      if (this.#ended) return null;
      await new Promise<void>((resolve) => (this.#wakeReader = resolve));
      this.#wakeReader = null;
    }
  }

  async write(bytes: Uint8Array): Promise<void> {
    while (this.#socket.bufferedAmount > BUFFERED_BYTES_MAX && !this.#ended)
      await new Promise((resolve) => setTimeout(resolve, DRAIN_CHECK_MS));
    if (this.#ended) throw new PeerGone('the client closed its WebSocket');
    this.#socket.send(bytes);
  }

  async relay(backend: BackendConnection, early: Bytes): Promise<void> {
    const { readable, writable } = backend.streams();
    const toPostgres = this.#copyTo(writable, early);
    const toClient = this.#copyFrom(readable);
    toPostgres.catch(() => undefined);
    toClient.catch(() => undefined);
    // As in tcp.ts. A fault of the client's ends it too; the close code tells which, as an ErrorResponse could
    // stand in the middle of another message here.
    await Promise.race([toClient, toPostgres.then(() => toClient)]).catch(() => undefined);
  }

  async #copyTo(writable: WritableStream<Uint8Array>, early: Bytes): Promise<void> {
    const writer = writable.getWriter();
    try {
      if (early.length > 0) await writer.write(early);
      for (let chunk = await this.read(); chunk !== null; chunk = await this.read())
        await writer.write(chunk);
    } finally {
      await writer.close().catch(() => undefined);
    }
  }

  async #copyFrom(readable: ReadableStream<Bytes>): Promise<void> {
    const reader = readable.getReader({ mode: 'byob' });
    // A new buffer for each read, because the WebSocket keeps what it sends; as large as the last was full.
    let size = READ_BYTES_MIN;
    for (;;) {
      const { value, done } = await reader.read(new Uint8Array(size));
      if (done) return;
      await this.write(value);
      size = value.length === size ? Math.min(size * 2, READ_BYTES_MAX) : Math.max(size / 2, READ_BYTES_MIN);
    }
  }

  finish(failed: ProxyError | null): Promise<void> {
    const refused = failed === null ? CLOSE_NORMAL : (CLOSE_CODE[failed.code] ?? CLOSE_REFUSED);
    const code = this.#fault?.closeCode ?? refused;
    const message = (this.#fault?.error ?? failed)?.message ?? '';
    // A reason holds at most 123 bytes; our messages are ASCII but for names that a client chose.
    const reason = message.replaceAll(/[^\x20-\x7e]/g, '?').slice(0, 123);
    try {
      this.#socket.close(code, reason);
    } catch {
      // It is closed already.
    }
    return Promise.resolve();
  }
}

const READ_BYTES_MIN = 4096;
const READ_BYTES_MAX = 65_536;
