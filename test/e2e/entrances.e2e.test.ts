/**
 * The three entrances of one endpoint: asleep until somebody comes, awake for as long as somebody is there; what
 * is cancelled, superseded or malformed gets its own answer and costs nobody else anything.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client as NeonClient, neon, Pool } from '@neondatabase/serverless';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CONTAINER_PORT, ENV, type ComputeSpec } from '../../lib/protocol/specs.ts';
import { startEbb, type Ebb } from '../support/ebb.ts';
import { partOf, runningCompute } from '../support/inside.ts';
import { unmountUnder } from '../../local/system/mounts.ts';
import { pointNeonAt } from '../support/neon.ts';

let ebb: Ebb;
beforeAll(async () => {
  ebb = await startEbb({ suspendAfter: 2 });
  pointNeonAt(ebb.httpUrl);
});
afterAll(() => ebb.stop());

async function withClient<T>(use: (client: pg.Client) => Promise<T>, url = ebb.postgresUrl): Promise<T> {
  const client = new pg.Client(url);
  client.on('error', () => undefined);
  await client.connect();
  try {
    return await use(client);
  } finally {
    await client.end().catch(() => undefined);
  }
}
const asleep = () => ebb.waitFor(() => runningCompute(ebb.pid) === null, 30_000, 'the compute to suspend');

describe('suspend and wake', () => {
  test('raw TCP', async () => {
    await withClient((client) => client.query('CREATE TABLE IF NOT EXISTS visits (by text)'));
    await asleep();
    const { rows } = await withClient((client) =>
      client.query(`INSERT INTO visits VALUES ('tcp') RETURNING by`),
    );
    expect(rows).toEqual([{ by: 'tcp' }]);
  });

  test('POST /sql', async () => {
    await asleep();
    const sql = neon(ebb.postgresUrl);
    expect(await sql`INSERT INTO visits VALUES (${'http'}) RETURNING by`).toEqual([{ by: 'http' }]);
    const [first, second] = await sql.transaction([
      sql`SELECT 1 AS one`,
      sql`SELECT count(*)::int AS n FROM visits`,
    ]);
    expect([first, second]).toEqual([[{ one: 1 }], [{ n: 2 }]]);
  });

  test('WebSocket', async () => {
    await asleep();
    const pool = new Pool({ connectionString: ebb.postgresUrl });
    const { rows } = await pool.query(`INSERT INTO visits VALUES ('websocket') RETURNING by`);
    expect(rows).toEqual([{ by: 'websocket' }]);
    await pool.end();
    const client = new NeonClient(ebb.postgresUrl);
    await client.connect();
    expect((await client.query('SELECT count(*)::int AS n FROM visits')).rows).toEqual([{ n: 3 }]);
    await client.end();
  });

  test('stays awake for a connected client and for a running query', async () => {
    await withClient(async (client) => {
      const { rows } = await client.query(`SELECT pg_backend_pid() AS pid, pg_sleep(5)`);
      const again = await client.query('SELECT pg_backend_pid() AS pid');
      expect(again.rows[0].pid).toBe(rows[0].pid);
    });
  });
});

test('a cancel request reaches the right backend and no other', async () => {
  await withClient(async (victim) => {
    await withClient(async (bystander) => {
      const slow = victim.query('SELECT pg_sleep(30)').catch((error: Error) => error);
      const other = bystander.query('SELECT pg_sleep(1.5)');
      await ebb.waitFor(
        async () =>
          (
            await withClient((c) =>
              c.query(`SELECT 1 FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(30)'`),
            )
          ).rowCount === 1,
        10_000,
        'the query to run',
      );
      // pg sends CancelRequest with the key that it was given, on a connection of its own.
      const canceller = new pg.Client(ebb.postgresUrl);
      (canceller as unknown as { cancel(client: pg.Client, query: unknown): void }).cancel(
        victim,
        (victim as unknown as { activeQuery: unknown }).activeQuery,
      );
      expect(await slow).toMatchObject({ code: '57014' });
      await other;
    });
  });
});

test('wrong password, unknown user and unknown endpoint get the same answer', async () => {
  const url = new URL(ebb.postgresUrl);
  const wrong = new URL(url);
  wrong.password = 'wrong';
  const stranger = new URL(url);
  stranger.username = 'stranger';
  const nowhere = new URL(url);
  nowhere.searchParams.set('options', 'endpoint=ep-no-such-42');
  const reserved = new URL(url);
  reserved.username = 'ebb_admin';
  for (const each of [wrong, stranger, nowhere, reserved]) {
    const error = await withClient(() => Promise.resolve(), each.href).catch((e: unknown) => e);
    expect(error).toMatchObject({
      code: '28P01',
      message: `password authentication failed for user "${each.username}"`,
    });
  }
});

test('a superseded compute acknowledges nothing more', async () => {
  await withClient(async (client) => {
    await client.query('CREATE TABLE claims (by text)');
    const own = partOf(ebb.pid, 'compute')[0];
    const env = Object.fromEntries(
      readFileSync(`/proc/${own.pid}/environ`, 'utf8')
        .split('\0')
        .filter((line) => line !== '' && !line.startsWith('NODE_CHANNEL_')) // the engine's channel, which it has not
        .map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
    );
    const spec = JSON.parse(env[ENV.spec]) as ComputeSpec;
    const disk = mkdtempSync(join(tmpdir(), 'ebb-rival-'));
    const [http, postgres] = [await freePort(), await freePort()];
    const rival = spawn(process.execPath, own.command.split(' ').slice(1), {
      env: {
        ...env,
        [ENV.spec]: JSON.stringify({ ...spec, term: spec.term + 1 }),
        [ENV.disk]: disk,
        [`PORT_${CONTAINER_PORT.http}`]: String(http),
        [`PORT_${CONTAINER_PORT.postgres}`]: String(postgres),
      },
      stdio: 'ignore',
    });
    try {
      const ready = async () =>
        fetch(`http://127.0.0.1:${http}/ready`, {
          headers: { authorization: `Bearer ${spec.sessionToken}` },
          signal: AbortSignal.timeout(10_000),
        }).then(
          (response) => response.ok,
          () => false,
        );
      await ebb.waitFor(ready, 30_000, 'the rival to be ready');
      const result = await client
        .query(`INSERT INTO claims VALUES ('superseded')`)
        .catch((error: Error) => error);
      expect(result).toBeInstanceOf(Error);
    } finally {
      if (rival.exitCode === null && rival.kill('SIGKILL')) await once(rival, 'exit');
      await unmountUnder(disk);
      rmSync(disk, { recursive: true, force: true });
    }
  });
  const { rows } = await withClient((client) => client.query('SELECT by FROM claims'));
  expect(rows).toEqual([]);
});

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}

describe('bad input', () => {
  const raw = async (bytes: Uint8Array): Promise<Buffer> => {
    const url = new URL(ebb.postgresUrl);
    const socket: Socket = connect(Number(url.port), '127.0.0.1');
    await once(socket, 'connect');
    const chunks: Buffer[] = [];
    socket.on('data', (chunk) => chunks.push(chunk));
    socket.on('error', () => undefined);
    socket.write(bytes);
    await once(socket, 'close', { signal: AbortSignal.timeout(30_000) });
    return Buffer.concat(chunks);
  };
  const startup = (protocol: number, body: string): Buffer => {
    const packet = Buffer.alloc(8 + Buffer.byteLength(body));
    packet.writeInt32BE(packet.length, 0);
    packet.writeInt32BE(protocol, 4);
    packet.write(body, 8);
    return packet;
  };

  test.each([
    ['garbage', Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n'), /08P01/],
    ['a length below the minimum', Buffer.from([0, 0, 0, 3, 0, 3, 0, 0]), /08P01/],
    ['an oversize length', Buffer.from([0, 16, 0, 0, 0, 3, 0, 0]), /08P01/],
    ['protocol 2.0', startup(0x20000, 'user\0x\0\0'), /0A000|08P01/],
    ['no terminator', startup(0x30000, 'user\0owner'), /08P01/],
    ['no user', startup(0x30000, 'database\0main\0\0'), /28000/],
  ])('startup packet: %s', async (_, bytes, code) => {
    const answer = (await raw(bytes)).toString('latin1');
    expect(answer[0]).toBe('E');
    expect(answer).toMatch(code);
  });

  test.each([
    ['not JSON', '{', 400],
    ['no query', '{}', 400],
    ['a query that is no string', '{"query": 1}', 400],
    ['params that are no array', '{"query": "SELECT 1", "params": 1}', 400],
    ['too large', `{"query": "${'x'.repeat(11 << 20)}"}`, 413],
  ])('POST /sql: %s', async (_, body, status) => {
    const response = await fetch(`${ebb.httpUrl}/sql`, {
      method: 'POST',
      body,
      headers: { 'Neon-Connection-String': ebb.postgresUrl },
    });
    expect(response.status).toBe(status);
    expect(await response.json()).toHaveProperty('message');
  });

  test('WebSocket: a text frame closes with its code', async () => {
    const socket = new WebSocket(`${ebb.httpUrl.replace('http', 'ws')}/v2?address=localhost:5432`);
    await once(socket, 'open');
    socket.send('hello');
    const [event] = (await once(socket, 'close')) as [CloseEvent];
    expect([1003, 1007, 1008, 1002]).toContain(event.code);
  });

  test('leaves no connection behind', async () => {
    await asleep();
  });
});
