/** The page client against a WebSocket server of this test's own, which answers as the story needs. */
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { WebSocketServer, type WebSocket as ServerSocket } from 'ws';
import { PageClient, PageClientError } from '../../../../containers/compute/datadir/page-client.ts';
import { lsn } from '../../../../lib/postgres/lsn.ts';
import {
  decodePageRequest,
  encodePageResponse,
  PAGE_SIZE,
  type PageRequest,
  type PageResponse,
  type PageRun,
} from '../../../../lib/protocol/pages.ts';
import { emptyManifest, pageOf } from './harness.ts';

const LSN = lsn(0x300_0100);
const run = (block: number, count = 1): PageRun => ({
  kind: 'relation',
  spcOid: 1663,
  dbOid: 5,
  relNumber: 1259,
  fork: 0,
  block,
  count,
});

class Server {
  readonly wss = new WebSocketServer({ port: 0, host: '127.0.0.1' });
  connections = 0;
  socket: ServerSocket | undefined;
  readonly requests: PageRequest[] = [];
  /** What to do with a request; default: answer it. */
  onRequest: (request: PageRequest, socket: ServerSocket) => void = (request, socket) =>
    this.send(socket, answer(request));
  constructor() {
    this.wss.on('connection', (socket) => {
      this.connections++;
      this.socket = socket;
      socket.on('message', (data: Buffer) => {
        const request = decodePageRequest(new Uint8Array(data));
        this.requests.push(request);
        this.onRequest(request, socket);
      });
    });
  }
  send(socket: ServerSocket, response: PageResponse): void {
    socket.send(encodePageResponse(response));
  }
  get url(): string {
    return `ws://127.0.0.1:${(this.wss.address() as AddressInfo).port}/pages`;
  }
  async close(): Promise<void> {
    for (const socket of this.wss.clients) socket.terminate();
    await new Promise((resolve) => this.wss.close(resolve));
  }
}
const answer = (request: PageRequest): PageResponse =>
  request.tag === 'boot'
    ? { tag: 'boot', id: request.id, manifest: emptyManifest(), blobs: new Uint8Array([1, 2, 3]) }
    : {
        tag: 'pages',
        id: request.id,
        pages: request.runs.flatMap((run) =>
          Array.from({ length: run.count }, (_, i) => pageOf(run, run.block + i)),
        ),
      };

let server: Server;
let client: PageClient;
beforeEach(async () => {
  server = new Server();
  await once(server.wss, 'listening');
  client = new PageClient({ url: server.url, deadlineMs: 10_000 });
});
afterEach(async () => {
  client.close();
  await server.close();
});
const coded = (code: string, message?: RegExp) =>
  expect.objectContaining({
    name: 'PageClientError',
    code,
    ...(message && { message: expect.stringMatching(message) as string }),
  });

test('boot files, and pages in the order asked for', async () => {
  expect(await client.boot(LSN)).toMatchObject({
    manifest: emptyManifest(),
    blobs: new Uint8Array([1, 2, 3]),
  });
  const pages = await client.getPages(LSN, [run(7, 2), run(3)]);
  expect(pages).toEqual([pageOf(run(7), 7), pageOf(run(7), 8), pageOf(run(3), 3)]);
  expect(server.requests[1]).toMatchObject({ tag: 'getPages', lsn: LSN, runs: [run(7, 2), run(3)] });
  expect(server.connections).toBe(1);
});

test('answers may overtake each other', async () => {
  const held: PageRequest[] = [];
  server.onRequest = (request, socket) => {
    held.push(request);
    if (held.length === 3) for (const one of held.toReversed()) server.send(socket, answer(one));
  };
  const all = await Promise.all([1, 2, 3].map((block) => client.getPages(LSN, [run(block)])));
  expect(all).toEqual([1, 2, 3].map((block) => [pageOf(run(block), block)]));
});

test('a connection that breaks is made again, and what was not answered is sent again', async () => {
  server.onRequest = (_request, socket) => {
    if (server.requests.length === 2) {
      server.onRequest = (request, next) => server.send(next, answer(request));
      socket.terminate();
    }
  };
  const both = await Promise.all([client.getPages(LSN, [run(1)]), client.boot(LSN)]);
  expect(both[0]).toEqual([pageOf(run(1), 1)]);
  expect(server.connections).toBe(2);
  expect(server.requests).toHaveLength(4);
  expect(server.requests.slice(2)).toEqual(server.requests.slice(0, 2));
});

test('a malformed answer ends the connection, not the request', async () => {
  server.onRequest = (_request, socket) => {
    server.onRequest = (request, next) => server.send(next, answer(request));
    socket.send(new Uint8Array([1, 0, 0]));
  };
  expect(await client.getPages(LSN, [run(1)])).toEqual([pageOf(run(1), 1)]);
  expect(server.connections).toBe(2);
});

test.each(['behind', 'stopping'] as const)('%s is asked again', async (code) => {
  server.onRequest = (request, socket) => {
    if (server.requests.length < 3)
      server.send(socket, { tag: 'error', id: request.id, code, message: 'later' });
    else server.send(socket, answer(request));
  };
  expect(await client.getPages(LSN, [run(1)])).toEqual([pageOf(run(1), 1)]);
  expect(server.requests).toHaveLength(3);
});

test.each(['redo', 'belowWindow', 'notFound', 'internal', 'malformed'] as const)(
  '%s is final and keeps the words of the pageserver',
  async (code) => {
    server.onRequest = ({ id }, socket) =>
      server.send(socket, { tag: 'error', id, code, message: 'record at 0/3000028 of Gist' });
    await expect(client.getPages(LSN, [run(9, 4)])).rejects.toEqual(
      coded(
        code,
        /^4 pages from 1663\/5\/1259 fork 0 block 9\+4 at 0\/3000100: record at 0\/3000028 of Gist$/,
      ),
    );
    expect(server.requests).toHaveLength(1);
  },
);

test('no answer in time is an error that says what was last seen', async () => {
  const impatient = new PageClient({ url: server.url, deadlineMs: 100 });
  server.onRequest = ({ id }, socket) =>
    server.send(socket, { tag: 'error', id, code: 'behind', message: '0/3000000 ingested' });
  await expect(impatient.boot(LSN)).rejects.toEqual(
    coded('deadline', /boot at 0\/3000100: no answer within 100 ms; last: .*0\/3000000 ingested/),
  );
  impatient.close();
});

test('a pageserver that cannot be reached is an error at the deadline', async () => {
  const { url } = server;
  await server.close();
  const impatient = new PageClient({ url, deadlineMs: 150 });
  await expect(impatient.boot(LSN)).rejects.toEqual(coded('deadline', /connection to .* failed/));
  impatient.close();
});

test('requests wait for room on the wire, and too many are refused', async () => {
  const narrow = new PageClient({ url: server.url, requestsMax: 2, queueMax: 1 });
  const held: (() => void)[] = [];
  const sent = new Promise<void>((resolve) => {
    server.onRequest = (request, socket) => {
      held.push(() => server.send(socket, answer(request)));
      if (held.length === 2) resolve();
    };
  });
  const three = [1, 2, 3].map((block) => narrow.getPages(LSN, [run(block)]));
  await expect(narrow.getPages(LSN, [run(4)])).rejects.toEqual(coded('overloaded'));
  await sent;
  expect(server.requests).toHaveLength(2);
  server.onRequest = (request, socket) => server.send(socket, answer(request));
  for (const release of held) release();
  expect((await Promise.all(three)).flat()).toEqual([1, 2, 3].map((block) => pageOf(run(block), block)));
  narrow.close();
});

test('an answer with another number of pages is an error', async () => {
  server.onRequest = ({ id }, socket) =>
    server.send(socket, { tag: 'pages', id, pages: [new Uint8Array(PAGE_SIZE)] });
  await expect(client.getPages(LSN, [run(1, 2)])).rejects.toEqual(
    coded('internal', /2 pages .* answered with 1/),
  );
  await expect(client.boot(LSN)).rejects.toEqual(coded('internal', /answered with pages/));
});

test('too many pages are refused before they are asked for', async () => {
  await expect(client.getPages(LSN, [run(0, 1024), run(5000)])).rejects.toEqual(coded('malformed'));
  await expect(client.getPages(LSN, [])).rejects.toEqual(coded('malformed'));
});

test('closing fails what is outstanding and what comes later', async () => {
  const asked = new Promise<void>((resolve) => (server.onRequest = () => resolve()));
  const outstanding = client.boot(LSN);
  await asked;
  client.close();
  await expect(outstanding).rejects.toEqual(coded('closed'));
  await expect(client.boot(LSN)).rejects.toBeInstanceOf(PageClientError);
});

test('garbage from the other side never breaks the client', async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), async (garbage) => {
      server.onRequest = (_request, socket) => {
        server.onRequest = (request, next) => server.send(next, answer(request));
        socket.send(garbage);
        socket.close();
      };
      expect(await client.getPages(LSN, [run(1)])).toEqual([pageOf(run(1), 1)]);
    }),
    { numRuns: 30 },
  );
});
