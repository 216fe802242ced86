/**
 * The WebSocket entrance with the unmodified @neondatabase/serverless, and with frames that it never sends.
 */
import { on, once } from 'node:events';
import { connect } from 'node:net';
import { Client, neonConfig, Pool } from '@neondatabase/serverless';
import fc from 'fast-check';
import { WebSocket as PausableWebSocket } from 'ws';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { buildPasswordMessage, buildSaslInitialResponse } from '../../../lib/postgres/wire/authentication.ts';
import { TAG, WireWriter } from '../../../lib/postgres/wire/bytes.ts';
import { parseErrorFields } from '../../../lib/postgres/wire/error-response.ts';
import { MessageBuffer, type WireMessage } from '../../../lib/postgres/wire/framing.ts';
import { buildStartupMessage } from '../../../lib/postgres/wire/startup.ts';
import { pointNeonAt } from '../../support/neon.ts';
import { EdgeUnderTest, ENDPOINT, PASSWORD, ROLE } from './edge.ts';

let edge: EdgeUnderTest;
beforeAll(async () => {
  edge = await EdgeUnderTest.start();
  pointNeonAt(edge.http.href);
});
afterAll(() => edge?.stop());
afterEach(async () => {
  await edge.configure();
  await edge.quiet();
});

describe('@neondatabase/serverless', () => {
  const named = { 'by host': () => edge.hostUrl(), 'by options': () => edge.url() };

  test.each(Object.entries(named))('Pool, endpoint named %s', async (_, connectionString) => {
    const pool = new Pool({ connectionString: connectionString() });
    const { rows } = await pool.query('SELECT current_user AS role, $1::int + 1 AS two', [1]);
    expect(rows).toEqual([{ role: ROLE, two: 2 }]);
    await pool.end();
  });

  test('Client: a session with a transaction', async () => {
    const client = new Client(edge.hostUrl());
    await client.connect();
    await client.query('CREATE TEMP TABLE meetups (name text)');
    await client.query('BEGIN');
    await client.query(`INSERT INTO meetups VALUES ('RustAU Sydney')`);
    await client.query('ROLLBACK');
    expect((await client.query('SELECT count(*)::int AS n FROM meetups')).rows).toEqual([{ n: 0 }]);
    await client.end();
  });

  test('without pipelining', async () => {
    const client = new Client(edge.hostUrl());
    client.neonConfig.pipelineConnect = false;
    await client.connect();
    expect((await client.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
    await client.end();
  });

  test('to the host that its proxy function says', async () => {
    const client = new Client(edge.hostUrl());
    client.neonConfig.wsProxy = (host, port) => `${edge.http.host}/v2?address=${host}:${port}`;
    await client.connect();
    expect((await client.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
    await client.end();
  });

  test('large rows and large parameters, many sessions at a time', async () => {
    const pool = new Pool({ connectionString: edge.hostUrl(), max: 6 });
    const big = 'x'.repeat(2 << 20);
    const lengths = await Promise.all(
      Array.from({ length: 12 }, async () => {
        const { rows } = await pool.query<{ echo: string }>('SELECT $1 || $2 AS echo', [big, 'y']);
        return rows[0].echo === `${big}y`;
      }),
    );
    expect(lengths.every(Boolean)).toBe(true);
    await pool.end();
  });

  test.each([
    ['a wrong password', () => edge.hostUrl({ password: 'wrong' }), ROLE],
    ['an unknown role', () => edge.hostUrl({ role: 'stranger' }), 'stranger'],
    ['an unknown endpoint', () => edge.hostUrl({ endpoint: 'ep-no-such-42' }), ROLE],
    ['the reserved role', () => edge.hostUrl({ role: 'ebb_admin' }), 'ebb_admin'],
  ])('%s', async (_, url, role) => {
    expect(await refusal(url())).toMatchObject({
      code: '28P01',
      message: `password authentication failed for user "${role}"`,
    });
  });

  test('a database that does not exist', async () => {
    expect(await refusal(edge.hostUrl({ database: 'nowhere' }))).toMatchObject({ code: '3D000' });
  });

  /** Pipelining, the driver takes itself for connected before it was answered: its first query hears why not. */
  async function refusal(connectionString: string): Promise<unknown> {
    const client = new Client(connectionString);
    client.on('error', () => undefined);
    await client.connect();
    return client.query('SELECT 1').catch((error: unknown) => error);
  }
});

/** A WebSocket that speaks bytes: what it got, and how it was closed. */
class RawWebSocket {
  readonly socket: WebSocket;
  readonly #buffer = new MessageBuffer();
  readonly closed: Promise<{ code: number; reason: string }>;
  #changed: () => void = () => undefined;
  #ended = false;

  private constructor(socket: WebSocket) {
    this.socket = socket;
    socket.binaryType = 'arraybuffer';
    socket.addEventListener('message', ({ data }) => {
      this.#buffer.push(new Uint8Array(data as ArrayBuffer));
      this.#changed();
    });
    this.closed = new Promise((resolve) =>
      socket.addEventListener('close', ({ code, reason }) => {
        this.#ended = true;
        this.#changed();
        resolve({ code, reason });
      }),
    );
  }
  static async open(host = `${ENDPOINT}.ebb.test`): Promise<RawWebSocket> {
    const socket = new WebSocket(`ws://${edge.http.host}/v2?address=${host}:5432`);
    await once(socket, 'open');
    return new RawWebSocket(socket);
  }
  async message(): Promise<WireMessage | null> {
    for (;;) {
      const message = this.#buffer.message(1 << 20);
      if (message !== null || this.#ended) return message;
      await new Promise<void>((resolve) => (this.#changed = resolve));
    }
  }
  async error(): Promise<string | null> {
    for (let next = await this.message(); next !== null; next = await this.message())
      if (next.tag === TAG.errorResponse) return parseErrorFields(next.body).get('C') ?? '';
    return null;
  }
  async logIn(): Promise<void> {
    this.socket.send(startup());
    this.socket.send(buildPasswordMessage(new TextEncoder().encode(PASSWORD)));
    while ((await this.message())!.tag !== TAG.readyForQuery);
  }
}

const startup = (): Uint8Array =>
  buildStartupMessage(0, [
    ['user', ROLE],
    ['database', 'postgres'],
  ]);

describe('frames', () => {
  test('a message is not a frame: any cut will do', async () => {
    const raw = await RawWebSocket.open();
    const login = [...startup(), ...buildPasswordMessage(new TextEncoder().encode(PASSWORD))];
    for (let at = 0; at < login.length; at += 3) raw.socket.send(Uint8Array.from(login.slice(at, at + 3)));
    raw.socket.send(new Uint8Array(0));
    while ((await raw.message())!.tag !== TAG.readyForQuery);
    raw.socket.send(Uint8Array.of(TAG.terminate, 0, 0, 0, 4));
    expect(await raw.closed).toMatchObject({ code: 1000 });
  });

  test('a text message instead of the startup packet', async () => {
    const raw = await RawWebSocket.open();
    raw.socket.send('hello');
    expect(await raw.error()).toBe('08P01');
    expect(await raw.closed).toEqual({ code: 1003, reason: 'text message: binary messages expected' });
  });
  test('a text message in a session ends it', async () => {
    const raw = await RawWebSocket.open();
    await raw.logIn();
    raw.socket.send('SELECT 1');
    expect(await raw.closed).toEqual({ code: 1003, reason: 'text message: binary messages expected' });
  });
  test('garbage', async () => {
    const raw = await RawWebSocket.open();
    raw.socket.send(new TextEncoder().encode('GET / HTTP/1.1\r\n\r\n'));
    expect(await raw.error()).toBe('08P01');
    expect(await raw.closed).toMatchObject({ code: 1002 });
  });
  test('a SASL message that nobody asked for', async () => {
    const raw = await RawWebSocket.open();
    raw.socket.send(startup());
    raw.socket.send(buildSaslInitialResponse('SCRAM-SHA-256', new Uint8Array(10).fill(0x6e)));
    expect(await raw.error()).toMatch(/08P01|28P01/);
  });
  test('a wrong password closes as refused', async () => {
    const raw = await RawWebSocket.open();
    raw.socket.send(startup());
    raw.socket.send(buildPasswordMessage(new TextEncoder().encode('wrong')));
    expect(await raw.error()).toBe('28P01');
    expect(await raw.closed).toEqual({
      code: 1008,
      reason: `password authentication failed for user "${ROLE}"`,
    });
  });
  test('a compute that does not wake closes as try again', async () => {
    await edge.configure({ wakes: [{ ok: false, code: 'failed', message: 'no disk', retryable: false }] });
    const raw = await RawWebSocket.open();
    raw.socket.send(startup());
    raw.socket.send(buildPasswordMessage(new TextEncoder().encode(PASSWORD)));
    expect(await raw.error()).toBe('57P03');
    expect(await raw.closed).toMatchObject({ code: 1013 });
  });
  test('silence', async () => {
    const raw = await RawWebSocket.open();
    expect(await raw.error()).toBe('57014');
    expect(await raw.closed).toMatchObject({ code: 1008 });
  });
  test('no endpoint, and two of them', async () => {
    const nowhere = await RawWebSocket.open('localhost');
    nowhere.socket.send(startup());
    nowhere.socket.send(buildPasswordMessage(new TextEncoder().encode(PASSWORD)));
    expect(await nowhere.error()).toBe('08004');
    const twice = await RawWebSocket.open();
    twice.socket.send(startup());
    twice.socket.send(buildPasswordMessage(new TextEncoder().encode(`endpoint=ep-other;${PASSWORD}`)));
    expect(await twice.error()).toBe('08004');
  });
  test('a client that goes without a word leaves nothing behind', async () => {
    const raw = await RawWebSocket.open();
    await raw.logIn();
    raw.socket.close();
    await edge.quiet();
  });
  test('a backend that breaks closes the WebSocket', async () => {
    const raw = await RawWebSocket.open();
    await raw.logIn();
    edge.breakBackends();
    await raw.closed;
  });
  test('any bytes at all are closed with a code', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.uint8Array({ minLength: 1, maxLength: 40 }), { maxLength: 4 }),
        async (all) => {
          const raw = await RawWebSocket.open();
          for (const bytes of all) raw.socket.send(bytes);
          raw.socket.close();
          await raw.closed;
        },
      ),
      { numRuns: 30 },
    );
  });
});

test('a client that does not read makes Postgres wait, not the proxy grow', async () => {
  const total = 128 << 20;
  const socket = new PausableWebSocket(`ws://${edge.http.host}/v2?address=${ENDPOINT}.ebb.test:5432`, {
    perMessageDeflate: false, // or the answer would be too small to fill anything
  });
  await once(socket, 'open');
  const before = await edge.stalled();
  socket.send(startup());
  socket.send(buildPasswordMessage(new TextEncoder().encode(PASSWORD)));
  socket.pause();
  const sql = `SELECT repeat('x', 1 << 16) FROM generate_series(1, ${total >> 16})`;
  socket.send(new WireWriter().cstring(sql).message(TAG.query));
  expect((await edge.stalled()) - before).toBeLessThan(total / 2);
  socket.resume();
  let received = 0;
  for await (const [data] of on(socket, 'message') as AsyncIterable<[Buffer]>) {
    received += data.length;
    if (received > total) break;
  }
  socket.terminate();
});

describe('below the WebSocket', () => {
  const HANDSHAKE = [
    'GET /v2?address=ep-quiet-tide-42.ebb.test:5432 HTTP/1.1',
    'Host: ebb.test',
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==',
    '\r\n',
  ].join('\r\n');

  /** Sends raw frames after the upgrade; gives what came back until the connection ended. */
  async function frames(bytes: Uint8Array, then: 'end' | 'wait'): Promise<Buffer> {
    const socket = connect(Number(edge.http.port), '127.0.0.1');
    socket.on('error', () => undefined);
    socket.write(HANDSHAKE);
    await once(socket, 'data');
    const received: Buffer[] = [];
    socket.on('data', (chunk: Buffer) => received.push(chunk));
    socket.write(bytes);
    if (then === 'end') socket.end();
    await new Promise((resolve) => socket.once('close', resolve));
    return Buffer.concat(received);
  }

  test('a frame that ends in the middle leaves nothing behind', async () => {
    // Final binary frame, masked, 100 bytes announced, 3 sent.
    await frames(Uint8Array.of(0x82, 0x80 | 100, 1, 2, 3, 4, 9, 9, 9), 'end');
    await edge.quiet();
  });
  test('an announced length beyond the limit of the runtime is closed as too big', async () => {
    const announced = Uint8Array.of(0x82, 0x80 | 127, 0, 0, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4);
    const answer = await frames(announced, 'wait');
    expect([...answer.subarray(0, 4)]).toEqual([0x88, answer[1], 0x03, 0xf1]); // close, 1009
  });
});

test('a request that is no upgrade', async () => {
  const response = await fetch(new URL('/v2', edge.http));
  expect(response.status).toBe(426);
  expect(await response.json()).toEqual({ message: 'a WebSocket upgrade is expected here' });
});

test('the driver is used as it comes', () => {
  expect(neonConfig.pipelineConnect).toBe('password');
  expect(neonConfig.coalesceWrites).toBe(true);
});
