/**
 * All that a pageserver process reaches, by one proxy: S3 over a storage port, committed WAL of a real log, and the
 * Durable Object's /idle. The process itself is the production one, `node containers/pageserver/main.ts`.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { connect, type AddressInfo, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { WebSocket, WebSocketServer } from 'ws';
import {
  StorageError,
  type ObjectStorage,
  type PartsUpload,
} from '../../../containers/pageserver/remote/storage.ts';
import { lsn, parseLsn, type Lsn } from '../../../lib/postgres/lsn.ts';
import {
  decodePageResponse,
  encodePageRequest,
  pageCount,
  type PageResponse,
  type PageRun,
} from '../../../lib/protocol/pages.ts';
import { ENV, HOST, type PageserverSpec, type TimelineSpec } from '../../../lib/protocol/specs.ts';
import {
  decodeWalReaderReport,
  encodeWalChunk,
  WAL_CHUNK_BYTES_MAX,
  WAL_WINDOW_BYTES,
  type WalReaderReport,
} from '../../../lib/protocol/wal-stream.ts';

export class Outside {
  readonly storage: ObjectStorage;
  readonly #wal: Uint8Array;
  readonly #startLsn: Lsn;
  readonly #server = createServer((request, response) => {
    this.#answer(request, response).catch((error: unknown) => {
      response.writeHead(500).end(String(error));
    });
  });
  readonly #webSockets = new WebSocketServer({ noServer: true });
  readonly #streams = new Set<() => void>();
  readonly #sockets = new Set<Socket>();
  readonly #uploads = new Map<string, PartsUpload>();
  commitLsn: Lsn;
  /** WAL before this is refused, as if it had been trimmed. */
  trimmedLsn: Lsn;
  reports: WalReaderReport[] = [];
  /** POST /idle: how often, and what it is told. */
  idleAsked = 0;
  letIdleGo = true;

  constructor(options: { storage: ObjectStorage; wal: Uint8Array; startLsn: Lsn; commitLsn?: Lsn }) {
    this.storage = options.storage;
    this.#wal = options.wal;
    this.#startLsn = options.startLsn;
    this.trimmedLsn = options.startLsn;
    this.commitLsn = options.commitLsn ?? lsn(options.startLsn + options.wal.length);
    this.#server.on('connect', (_, client: Socket) => {
      const inner = connect(this.port, '127.0.0.1', () => client.write('HTTP/1.1 200 OK\r\n\r\n'));
      client.pipe(inner).pipe(client);
      client.on('error', () => inner.destroy());
      inner.on('error', () => client.destroy());
    });
    this.#server.on('connection', (socket) => {
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
    });
    this.#server.on('upgrade', (request: IncomingMessage, socket: Socket, head: Buffer) => {
      this.#webSockets.handleUpgrade(request, socket, head, (webSocket) =>
        this.#streamWal(request, webSocket),
      );
    });
  }
  static async start(options: ConstructorParameters<typeof Outside>[0]): Promise<Outside> {
    const outside = new Outside(options);
    outside.#server.listen(0, '127.0.0.1');
    await once(outside.#server, 'listening');
    return outside;
  }
  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }
  commit(to: Lsn): void {
    this.commitLsn = to;
    for (const send of this.#streams) send();
  }
  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, 'close');
  }

  #streamWal(request: IncomingMessage, socket: WebSocket): void {
    const url = new URL(request.url!, `http://${request.headers.host}`);
    const from = parseLsn(url.searchParams.get('from')!);
    const isKnown = url.hostname === HOST.wal && /^\/[123]\/timelines\/[0-9a-f]{32}\/wal$/.test(url.pathname);
    if (!isKnown || from < this.trimmedLsn) return socket.close(4404, 'no such WAL');
    let sent = from;
    let reported = from;
    const send = () => {
      while (sent < this.commitLsn && sent - reported < WAL_WINDOW_BYTES) {
        const to = lsn(Math.min(this.commitLsn, sent + WAL_CHUNK_BYTES_MAX));
        const bytes = this.#wal.subarray(sent - this.#startLsn, to - this.#startLsn);
        socket.send(encodeWalChunk({ startLsn: sent, commitLsn: this.commitLsn, bytes }));
        sent = to;
      }
    };
    this.#streams.add(send);
    socket.on('close', () => this.#streams.delete(send));
    socket.on('message', (data: Buffer) => {
      const report = decodeWalReaderReport(data);
      this.reports.push(report);
      reported = report.ingestedLsn;
      send();
    });
    send();
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url!, `http://${request.headers.host}`);
    const body = new Uint8Array(Buffer.concat(await Array.fromAsync(request as AsyncIterable<Buffer>)));
    if (url.hostname === HOST.control && url.pathname === '/idle') {
      this.idleAsked++;
      response.end(JSON.stringify({ stop: this.letIdleGo }));
    } else if (url.hostname === HOST.storage) {
      await this.#answerS3(request, url, body, response);
    } else response.writeHead(403).end();
  }

  async #answerS3(
    request: IncomingMessage,
    url: URL,
    body: Uint8Array,
    response: ServerResponse,
  ): Promise<void> {
    const key = decodeURIComponent(url.pathname).replace(/^\/ebb\/?/, '');
    const uploadId = url.searchParams.get('uploadId');
    if (uploadId !== null || url.searchParams.has('uploads')) {
      await this.#answerParts(request, url, key, body, response);
    } else if (request.method === 'PUT') {
      const match = request.headers['if-match'];
      const condition =
        request.headers['if-none-match'] === '*'
          ? ({ absent: true } as const)
          : match === undefined
            ? undefined
            : { tag: match };
      try {
        response.setHeader('etag', await this.storage.put(key, body, condition));
        response.end();
      } catch (error) {
        if (!(error instanceof StorageError)) throw error;
        const status = { conflict: 412, refused: 403, throttled: 503, unavailable: 500, malformed: 500 };
        response.writeHead(status[error.code]).end(`<Error><Code>${error.code}</Code></Error>`);
      }
    } else if (request.method === 'DELETE') {
      await this.storage.delete([key]);
      response.writeHead(204).end();
    } else if (key === '') {
      const keys = await this.storage.list(url.searchParams.get('prefix') ?? '');
      const contents = keys.map((each) => `<Contents><Key>${each}</Key></Contents>`).join('');
      response.end(
        `<?xml version="1.0"?><ListBucketResult><IsTruncated>false</IsTruncated>${contents}</ListBucketResult>`,
      );
    } else {
      const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '');
      const offset = Number(range?.[1]);
      const bytes = await this.storage.get(
        key,
        ...(range === null ? [] : [{ offset, length: Number(range[2]) + 1 - offset }]),
      );
      const tag = bytes === null ? undefined : (await this.storage.getTagged(key))?.tag;
      if (tag !== undefined) response.setHeader('etag', tag);
      if (bytes === null) response.writeHead(404).end('<Error><Code>NoSuchKey</Code></Error>');
      else response.writeHead(range === null ? 200 : 206).end(bytes);
    }
  }

  async #answerParts(
    request: IncomingMessage,
    url: URL,
    key: string,
    body: Uint8Array,
    response: ServerResponse,
  ): Promise<void> {
    const id = url.searchParams.get('uploadId');
    if (id === null) {
      const begun = `upload-${this.#uploads.size + 1}`;
      this.#uploads.set(begun, await this.storage.beginParts(key));
      response.end(
        `<InitiateMultipartUploadResult><UploadId>${begun}</UploadId></InitiateMultipartUploadResult>`,
      );
      return;
    }
    const parts = this.#uploads.get(id);
    if (parts === undefined) {
      response.writeHead(404).end('<Error><Code>NoSuchUpload</Code></Error>');
    } else if (request.method === 'PUT') {
      const number = url.searchParams.get('partNumber')!;
      await parts.put(Number(number), body);
      response.setHeader('etag', `"part-${number}"`);
      response.end();
    } else if (request.method === 'DELETE') {
      await parts.abort();
      response.writeHead(204).end();
    } else {
      await parts.complete();
      response.end('<CompleteMultipartUploadResult></CompleteMultipartUploadResult>');
    }
  }
}

/** A pageserver process on an empty disk. */
export class PageserverProcess {
  readonly spec: PageserverSpec;
  readonly exited: Promise<number | null>;
  readonly #child: ChildProcess;
  readonly #disk: string;
  readonly #port: number;
  log = '';

  static async start(
    outside: Outside,
    options: { projectId: string; generation: number; template: string; stopAfterMs?: number },
  ): Promise<PageserverProcess> {
    const port = await freePort();
    const started = new PageserverProcess(outside, options, port);
    for (;;) {
      const ready = await fetch(`${started.url}/ready`, { headers: started.headers() }).catch(() => null);
      if (ready?.ok) return started;
      const code = await Promise.race([
        started.exited,
        new Promise((resolve) => setTimeout(resolve, 20, 'no')),
      ]);
      if (code !== 'no') throw new Error(`the pageserver exited with ${String(code)}: ${started.log}`);
    }
  }
  private constructor(
    outside: Outside,
    options: { projectId: string; generation: number; template: string; stopAfterMs?: number },
    port: number,
  ) {
    const { projectId, generation, template, stopAfterMs = 0 } = options;
    this.spec = { projectId, generation, sessionToken: `token-${generation}`, stopAfterMs };
    this.#disk = mkdtempSync(join(tmpdir(), 'ebb-pageserver-'));
    this.#port = port;
    const main = join(import.meta.dirname, '../../../containers/pageserver/main.ts');
    this.#child = spawn(process.execPath, [main], {
      env: {
        PATH: process.env.PATH,
        [ENV.spec]: JSON.stringify(this.spec),
        [ENV.disk]: this.#disk,
        [ENV.listen]: '127.0.0.1',
        [ENV.template]: template,
        PORT_8080: `${port}`,
        NODE_USE_ENV_PROXY: '1',
        HTTP_PROXY: `http://127.0.0.1:${outside.port}`,
        NO_PROXY: '',
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    for (const stream of [this.#child.stdout!, this.#child.stderr!])
      stream.on('data', (chunk: Buffer) => (this.log += chunk.toString()));
    this.exited = once(this.#child, 'exit').then(([code]) => code as number | null);
  }
  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }
  headers(timeline?: TimelineSpec): Record<string, string> {
    const authorization = `Bearer ${this.spec.sessionToken}`;
    return timeline === undefined
      ? { authorization }
      : { authorization, 'x-ebb-timeline': JSON.stringify(timeline) };
  }
  inspect(timeline: TimelineSpec, rest = ''): Promise<Response> {
    return fetch(`${this.url}/inspect/timelines/${timeline.timelineId}${rest}`, {
      headers: this.headers(timeline),
    });
  }
  stop(): Promise<Response> {
    return fetch(`${this.url}/stop`, { method: 'POST', headers: this.headers() });
  }
  signal(name: 'SIGTERM' | 'SIGKILL'): void {
    this.#child.kill(name);
  }
  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.exited;
    rmSync(this.#disk, { recursive: true, force: true });
  }
}

/** A compute's side of /pages. */
export class PageClient {
  readonly socket: WebSocket;
  readonly closed: Promise<{ code: number; reason: string }>;
  readonly #waiting = new Map<number, PromiseWithResolvers<PageResponse>>();
  #id = 0;

  static async connect(pageserver: PageserverProcess, timeline: TimelineSpec): Promise<PageClient> {
    const client = new PageClient(pageserver, timeline);
    await once(client.socket, 'open');
    return client;
  }
  private constructor(pageserver: PageserverProcess, timeline: TimelineSpec) {
    this.socket = new WebSocket(`${pageserver.url.replace('http', 'ws')}/pages`, {
      headers: pageserver.headers(timeline),
    });
    this.closed = new Promise((resolve) =>
      this.socket.on('close', (code, reason) => {
        resolve({ code, reason: reason.toString() });
        for (const { reject } of this.#waiting.values()) reject(new Error('the page service closed'));
      }),
    );
    this.socket.on('message', (data: Buffer) => {
      const response = decodePageResponse(new Uint8Array(data));
      this.#waiting.get(response.id)?.resolve(response);
      this.#waiting.delete(response.id);
    });
  }
  request(
    request: { tag: 'getPages'; lsn: Lsn; runs: PageRun[] } | { tag: 'boot'; lsn: Lsn },
  ): Promise<PageResponse> {
    const id = ++this.#id;
    const answer = Promise.withResolvers<PageResponse>();
    this.#waiting.set(id, answer);
    this.socket.send(encodePageRequest({ ...request, id }));
    return answer.promise;
  }
  async pages(runs: PageRun[], at: Lsn): Promise<(Uint8Array | null)[]> {
    const response = await this.request({ tag: 'getPages', lsn: at, runs });
    if (response.tag !== 'pages')
      throw new Error(`getPages of ${pageCount(runs)}: ${JSON.stringify(response)}`);
    return response.pages;
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
