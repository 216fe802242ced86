/**
 * The raw TCP entrance with real clients, real runtime and real Postgres.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import fc from 'fast-check';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { makeSecret } from '../../../lib/postgres/scram/secret.ts';
import {
  buildPasswordMessage,
  buildSaslInitialResponse,
  parseAuthentication,
} from '../../../lib/postgres/wire/authentication.ts';
import { TAG, WireWriter } from '../../../lib/postgres/wire/bytes.ts';
import { parseBackendKeyData, parseNegotiateProtocolVersion } from '../../../lib/postgres/wire/session.ts';
import {
  buildCancelRequest,
  buildGssencRequest,
  buildSslRequest,
  buildStartupMessage,
} from '../../../lib/postgres/wire/startup.ts';
import { PROXY_LIMITS } from '../../../workers/proxy/limits.ts';
import { EdgeUnderTest, ENDPOINT, ENDPOINT_NUMBER, LIMITS, PASSWORD, ROLE } from './edge.ts';
import { RawClient } from './raw-client.ts';

let edge: EdgeUnderTest;
beforeAll(async () => {
  edge = await EdgeUnderTest.start();
});
afterAll(() => edge?.stop());
afterEach(async () => {
  await edge.configure();
  await edge.quiet();
});

async function withClient<T>(
  use: (client: pg.Client) => Promise<T>,
  config: pg.ClientConfig = {},
): Promise<T> {
  const client = new pg.Client({ connectionString: edge.url(), ...config });
  client.on('error', () => undefined);
  await client.connect();
  try {
    return await use(client);
  } finally {
    await client.end();
  }
}

const failure = (config: pg.ClientConfig): Promise<unknown> =>
  withClient(() => Promise.resolve(), config).catch((error: unknown) => error);

test('pg: the session is the role, in the database, with its options', async () => {
  const connectionString = `${edge.url()}%20-c%20work_mem%3D77MB&application_name=tour`;
  await withClient(
    async (client) => {
      const { rows } = await client.query(`SELECT current_user AS role, current_database() AS database,
        current_setting('work_mem') AS memory, current_setting('application_name') AS application`);
      expect(rows).toEqual([{ role: ROLE, database: 'postgres', memory: '77MB', application: 'tour' }]);
    },
    { connectionString },
  );
});

const psqlMissing = existsSync('/usr/bin/psql') ? '' : ': skipped, /usr/bin/psql is not installed';
test.skipIf(psqlMissing)(`psql${psqlMissing}`, async () => {
  const psql = spawn('/usr/bin/psql', [edge.url(), '-XAtc', 'SELECT current_user'], { stdio: 'pipe' });
  const [out] = (await once(psql.stdout, 'data')) as [Buffer];
  await once(psql, 'exit');
  expect(out.toString()).toBe(`${ROLE}\n`);
  expect(psql.exitCode).toBe(0);
});

test('large results and large parameters come through whole, many sessions at a time', async () => {
  const big = 'x'.repeat(3 << 20);
  const roundTrip = () =>
    withClient(async (client) => {
      const { rows } = await client.query('SELECT $1::text || $2 AS echo', [big, 'y']);
      return (rows as { echo: string }[])[0].echo === `${big}y`;
    });
  expect(await Promise.all(Array.from({ length: 8 }, roundTrip))).toEqual(
    Array.from({ length: 8 }, () => true),
  );
});

test('COPY both ways', async () => {
  await withClient(async (client) => {
    await client.query('CREATE TEMP TABLE numbers (n int)');
    await client.query('INSERT INTO numbers SELECT generate_series(1, 200000)');
    expect((await client.query('SELECT sum(n)::text AS sum FROM numbers')).rows).toEqual([
      { sum: '20000100000' },
    ]);
  });
});

/** A session by raw messages, up to ReadyForQuery. */
async function rawSession(): Promise<RawClient> {
  const client = await RawClient.open(edge.port);
  client.send(
    buildStartupMessage(0, [
      ['user', ROLE],
      ['database', 'postgres'],
    ]),
  );
  client.send(buildPasswordMessage(new TextEncoder().encode(`endpoint=${ENDPOINT};${PASSWORD}`)));
  while ((await client.message())!.tag !== TAG.readyForQuery);
  return client;
}
const simpleQuery = (sql: string): Uint8Array => new WireWriter().cstring(sql).message(TAG.query);

test('a client that does not read makes Postgres wait, not the proxy grow', async () => {
  const total = 128 << 20;
  const client = await rawSession();
  client.pause();
  const before = await edge.stalled();
  client.send(simpleQuery(`SELECT repeat('x', 1 << 16) FROM generate_series(1, ${total >> 16})`));
  expect((await edge.stalled()) - before).toBeLessThan(total / 2);
  client.resume();
  while ((await client.message())!.tag !== TAG.readyForQuery);
  expect(client.received).toBeGreaterThan(total);
  client.close();
});

test('what a client sends before it is asked is not lost', async () => {
  const client = await RawClient.open(edge.port);
  const startup = buildStartupMessage(0, [
    ['user', ROLE],
    ['database', 'postgres'],
  ]);
  const password = buildPasswordMessage(new TextEncoder().encode(`endpoint=${ENDPOINT};${PASSWORD}`));
  client.send(Buffer.concat([startup, password, simpleQuery('SELECT 1'), simpleQuery('SELECT 2')]));
  const ready: number[] = [];
  while (ready.length < 3) {
    const { tag } = (await client.message())!;
    if (tag === TAG.readyForQuery) ready.push(tag);
  }
  client.close();
});

describe('the endpoint is named', () => {
  const raw = async (parameters: [string, string][]): Promise<Record<string, string> | null> => {
    const client = await RawClient.open(edge.port);
    client.send(buildStartupMessage(0, [['user', ROLE], ...parameters]));
    const error = await client.error();
    client.close();
    return error;
  };

  test('before the password, by a client that can do nothing else', async () => {
    const connectionString = (password: string) =>
      `postgres://${ROLE}:${encodeURIComponent(password)}@127.0.0.1:${edge.port}/postgres`;
    for (const separator of [';', '$']) {
      const url = connectionString(`endpoint=${ENDPOINT}${separator}${PASSWORD}`);
      await withClient((client) => client.query('SELECT 1'), { connectionString: url });
    }
    expect(await failure({ connectionString: connectionString(PASSWORD) })).toMatchObject({
      code: '08004',
      message: 'no endpoint is named',
      hint: expect.stringContaining('options=endpoint%3D') as string,
    });
  });
  test('with the suffix of a pooler', async () => {
    const connectionString = edge.url({ endpoint: `${ENDPOINT}-pooler` });
    await withClient((client) => client.query('SELECT 1'), { connectionString });
  });
  test('twice and differently', async () => {
    expect(await raw([['options', 'endpoint=ep-one project=ep-two']])).toMatchObject({ C: '08004' });
  });
  test('badly', async () => {
    expect(await raw([['options', 'endpoint=../account']])).toMatchObject({ C: '08004' });
  });
});

describe('authentication', () => {
  const answers = {
    'a wrong password': () => edge.url({ password: 'wrong' }),
    'an unknown role': () => edge.url({ role: 'stranger' }),
    'an unknown endpoint': () => edge.url({ endpoint: 'ep-no-such-42' }),
    'the reserved role': () => edge.url({ role: 'ebb_admin' }),
  };

  test.each(Object.entries(answers))('%s is refused with the same words', async (_, url) => {
    const role = new URL(url()).username;
    const { opened } = await edge.state();
    const error = (await failure({ connectionString: url() })) as pg.DatabaseError;
    const { code, severity, detail, hint, message } = error;
    expect({ code, severity, detail, hint, message }).toEqual({
      code: '28P01',
      severity: 'FATAL',
      detail: undefined,
      hint: undefined,
      message: `password authentication failed for user "${role}"`,
    });
    expect((await edge.state()).opened).toBe(opened);
  });

  test('each costs the same time', async () => {
    const times = new Map(Object.keys(answers).map((name) => [name, [] as number[]]));
    for (let round = 0; round < 12; round++) {
      for (const [name, url] of Object.entries(answers)) {
        const begin = performance.now();
        await failure({ connectionString: url() });
        times.get(name)!.push(performance.now() - begin);
      }
    }
    const medians = [...times.values()].map((each) => each.sort((a, b) => a - b)[each.length / 2]);
    expect(Math.max(...medians) - Math.min(...medians)).toBeLessThan(PROXY_LIMITS.refusalGridMs / 2);
  });

  test('the salt of a role that does not exist is always the same', async () => {
    const salt = async (role: string, endpoint: string): Promise<string> => {
      const client = await RawClient.open(edge.port);
      client.send(
        buildStartupMessage(0, [
          ['user', role],
          ['options', `endpoint=${endpoint}`],
        ]),
      );
      await client.message();
      client.send(buildSaslInitialResponse('SCRAM-SHA-256', new TextEncoder().encode('n,,n=,r=nonce')));
      const { body } = (await client.message())!;
      client.close();
      return /,s=([^,]*),i=4096$/.exec(new TextDecoder('latin1').decode(body))![1];
    };
    const first = await salt('stranger', ENDPOINT);
    expect(await salt('stranger', ENDPOINT)).toBe(first);
    expect(await salt('stranger', 'ep-no-such-42')).not.toBe(first);
    expect(await salt('other', ENDPOINT)).not.toBe(first);
  });
});

describe('protocol versions', () => {
  test('3.2 reaches Postgres; its client still gets a key of ours', async () => {
    await negotiated(2, [], null);
  });
  test('a newer minor version and unknown protocol options are negotiated down', async () => {
    await negotiated(9, [['_pq_.frobnicate', 'on']], {
      version: (3 << 16) | 2,
      unknownOptions: ['_pq_.frobnicate'],
    });
    await negotiated(0, [['_pq_.frobnicate', 'on']], {
      version: 3 << 16,
      unknownOptions: ['_pq_.frobnicate'],
    });
  });

  async function negotiated(
    minor: number,
    options: [string, string][],
    expected: { version: number; unknownOptions: string[] } | null,
  ): Promise<void> {
    const client = await RawClient.open(edge.port);
    client.send(buildStartupMessage(minor, [['user', ROLE], ['database', 'postgres'], ...options]));
    let message = (await client.message())!;
    if (expected !== null) {
      expect(message.tag).toBe(TAG.negotiateProtocolVersion);
      expect(parseNegotiateProtocolVersion(message.body)).toEqual(expected);
      message = (await client.message())!;
    }
    // No endpoint is named yet, so the password is asked for.
    expect(parseAuthentication(message.body)).toEqual({ kind: 'cleartextPassword' });
    client.send(buildPasswordMessage(new TextEncoder().encode(`endpoint=${ENDPOINT};${PASSWORD}`)));
    const tags: string[] = [];
    for (let tag = 0; tag !== TAG.readyForQuery;) {
      const next = (await client.message())!;
      tag = next.tag;
      tags.push(String.fromCharCode(tag));
      if (tag === TAG.backendKeyData)
        expect(parseBackendKeyData(next.body)).toMatchObject({ pid: ENDPOINT_NUMBER });
    }
    expect(tags.join('')).toMatch(/^RS+KZ$/);
    client.close();
  }

  test('encryption is declined, each kind once', async () => {
    const client = await RawClient.open(edge.port);
    client.send(buildGssencRequest());
    expect(await client.byte()).toBe('N');
    client.send(buildSslRequest());
    expect(await client.byte()).toBe('N');
    client.send(buildSslRequest());
    expect(await client.error()).toMatchObject({ C: '0A000' });
    client.close();
  });
});

describe('waking', () => {
  const notYet = { ok: false, code: 'unavailable', message: 'no quorum', retryable: true };

  test('is retried while failures are transient', async () => {
    const before = await edge.configure({ wakes: [notYet, notYet] });
    await withClient((client) => client.query('SELECT 1'));
    expect((await edge.state()).wakes - before.wakes).toBe(3);
  });
  test('is not retried when it failed for good', async () => {
    const before = await edge.configure({
      wakes: [{ ...notYet, code: 'failed', message: 'no disk', retryable: false }],
    });
    expect(await failure({})).toMatchObject({
      code: '57P03',
      message: 'the compute is not available: no disk',
      hint: expect.stringContaining('Try again') as string,
    });
    expect((await edge.state()).wakes - before.wakes).toBe(1);
  });
  test('is given up after its time', async () => {
    await edge.configure({ wakes: Array.from({ length: 1000 }, () => notYet) });
    expect(await failure({})).toMatchObject({ code: '57P03' });
  });
  test('goes with the connection: one that Postgres does not answer is tried again', async () => {
    const closed = createServer((socket) => socket.destroy()).listen(0, '127.0.0.1');
    await once(closed, 'listening');
    await edge.configure({ port: (closed.address() as { port: number }).port });
    const connecting = withClient((client) => client.query('SELECT 1'));
    await once(closed, 'connection');
    await edge.configure();
    await connecting;
    closed.close();
  });
  test('a superseded secret is an answer of Postgres, passed on', async () => {
    const stale = await makeSecret(PASSWORD, { salt: new Uint8Array(16) });
    await edge.configure({ secrets: { [ROLE]: stale } });
    expect(await failure({})).toMatchObject({ code: '28P01' });
  });
  test('what Postgres refuses is passed on', async () => {
    const connectionString = edge.url({ database: 'nowhere' });
    expect(await failure({ connectionString })).toMatchObject({
      code: '3D000',
      message: 'database "nowhere" does not exist',
    });
  });
});

describe('cancel', () => {
  test('reaches the backend of its key and no other', async () => {
    await withClient(async (victim) => {
      await withClient(async (bystander) => {
        const cancelled = victim.query('SELECT pg_sleep(20)').catch((error: unknown) => error);
        const other = bystander.query('SELECT pg_sleep(0.3)');
        await running('SELECT pg_sleep(20)');
        await sendCancel(keyOf(victim));
        expect(await cancelled).toMatchObject({ code: '57014' });
        expect((await other).rowCount).toBe(1);
        expect((await victim.query('SELECT 1')).rowCount).toBe(1);
      });
    });
  });
  test('with a wrong secret, a wrong number or a key of another length does nothing, and says nothing', async () => {
    await withClient(async (client) => {
      const { pid, key } = keyOf(client);
      const { cancels } = await edge.state();
      const other = Uint8Array.from(key, (byte) => byte ^ 1);
      for (const forged of [
        { pid, key: other },
        { pid: pid + 1, key },
        { pid, key: new Uint8Array([...key, 0]) },
      ])
        expect(await sendCancel(forged)).toBe(0);
      expect((await edge.state()).cancels).toBe(cancels);
    });
  });

  interface Key {
    pid: number;
    key: Uint8Array;
  }
  function keyOf(client: pg.Client): Key {
    const { processID, secretKey } = client as unknown as { processID: number; secretKey: number };
    const key = new Uint8Array(4);
    new DataView(key.buffer).setInt32(0, secretKey);
    return { pid: processID, key };
  }
  /** How many bytes were answered before the proxy closed the connection. */
  async function sendCancel({ pid, key }: Key): Promise<number> {
    const client = await RawClient.open(edge.port);
    client.send(buildCancelRequest(pid, key));
    await client.ended();
    client.close();
    return client.received;
  }
  async function running(query: string): Promise<void> {
    const sql = `SELECT 1 FROM pg_stat_activity WHERE query = $1 AND state = 'active'`;
    while ((await edge.postgres.query(sql, [query])).length === 0);
  }
});

describe('endings', () => {
  test('a client that goes without a word leaves nothing behind', async () => {
    const client = new pg.Client({ connectionString: edge.url() });
    client.on('error', () => undefined);
    await client.connect();
    const { stream } = (client as unknown as { connection: { stream: Socket } }).connection;
    stream.resetAndDestroy();
    await edge.quiet();
  });
  test('a client that goes while its compute wakes leaves nothing behind', async () => {
    const slow = { ok: false, code: 'unavailable', message: 'not yet', retryable: true };
    await edge.configure({ wakes: [slow, slow, slow, slow] });
    const client = new pg.Client({ connectionString: edge.url() });
    client.on('error', () => undefined);
    const connecting = client.connect().catch(() => undefined);
    const { wakes } = await edge.state();
    while ((await edge.state()).wakes === wakes);
    (client as unknown as { connection: { stream: Socket } }).connection.stream.resetAndDestroy();
    await connecting;
    await edge.quiet();
  });
  test('a backend that breaks ends its client', async () => {
    const client = new pg.Client({ connectionString: edge.url() });
    client.on('error', () => undefined);
    await client.connect();
    const ended = new Promise((resolve) => client.once('end', resolve));
    edge.breakBackends();
    await ended;
  });
  test('pg_terminate_backend: the client hears why', async () => {
    await withClient(async (client) => {
      const error = await client
        .query('SELECT pg_terminate_backend(pg_backend_pid())')
        .catch((e: unknown) => e);
      expect(error).toMatchObject({ code: '57P01' });
    });
  });
  test('a client that has nothing more to say still gets its answer', async () => {
    const client = await rawSession();
    client.send(simpleQuery('SELECT pg_sleep(0.2)'));
    client.end();
    const tags: string[] = [];
    for (let next = await client.message(); next !== null; next = await client.message())
      tags.push(String.fromCharCode(next.tag));
    expect(tags.join('')).toBe('TDCZ');
    client.close();
  });
});

describe('bad input', () => {
  const packet = (length: number, ...rest: number[]): Uint8Array => {
    const bytes = new Uint8Array(4 + rest.length);
    new DataView(bytes.buffer).setUint32(0, length);
    bytes.set(rest, 4);
    return bytes;
  };
  const text = (value: string): Uint8Array => new TextEncoder().encode(value);
  const startup = (minor: number, ...parameters: [string, string][]): Uint8Array =>
    buildStartupMessage(minor, [['options', `endpoint=${ENDPOINT}`], ...parameters]);
  const user: [string, string] = ['user', ROLE];

  test.each<[string, string, Uint8Array[]]>([
    ['HTTP', '08P01', [text('GET / HTTP/1.1\r\nHost: x\r\n\r\n')]],
    ['a TLS ClientHello', '08P01', [new Uint8Array([0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc])]],
    ['a packet that is too short', '08P01', [packet(7, 0, 3, 0)]],
    ['a packet that is too long', '08P01', [packet(10_005, 0, 3, 0, 0)]],
    ['a length beyond 31 bits', '08P01', [packet(0xffff_ffff, 0, 3, 0, 0)]],
    ['a cancel request without a key', '08P01', [packet(12, 4, 0xd2, 0x16, 0x2e, 0, 0, 0, 1)]],
    ['protocol 2.0', '0A000', [packet(8, 0, 2, 0, 0)]],
    ['protocol 4.0', '0A000', [packet(8, 0, 4, 0, 0)]],
    ['no terminator', '08P01', [packet(12, 0, 3, 0, 0, 117, 0, 120, 0)]],
    ['a name without a value', '08P01', [packet(10, 0, 3, 0, 0, 117, 0)]],
    ['bytes behind the terminator', '08P01', [packet(11, 0, 3, 0, 0, 0, 1, 2)]],
    ['no user', '28000', [startup(0)]],
    ['a user that is not UTF-8', '22021', [packet(16, 0, 3, 0, 0, 117, 115, 101, 114, 0, 0xff, 0, 0)]],
    ['physical replication', '0A000', [startup(0, user, ['replication', 'yes'])]],
    ['logical replication', '0A000', [startup(0, user, ['replication', 'database'])]],
    ['a replication that is neither', '22023', [startup(0, user, ['replication', 'perhaps'])]],
    ['data behind SSLRequest', '08P01', [new Uint8Array([...buildSslRequest(), ...startup(0, user)])]],
    ['a query instead of a password', '08P01', [startup(0, user), text('Q\0\0\0\x0dSELECT 1\0')]],
    ['an oversize SASL message', '08P01', [startup(0, user), text('p\0\0\x05\0')]],
    ['a truncated SASL message', '08P01', [startup(0, user), text('p\0\0\0\x06SC')]],
    ['another mechanism', '08P01', [startup(0, user), buildSaslInitialResponse('OAUTHBEARER', text('n,,'))]],
    [
      'garbage for SCRAM',
      '08P01',
      [startup(0, user), buildSaslInitialResponse('SCRAM-SHA-256', text('hello'))],
    ],
  ])('%s: %s', async (_, code, packets) => {
    const client = await RawClient.open(edge.port);
    for (const bytes of packets) client.send(bytes);
    expect(await client.error()).toMatchObject({ S: 'FATAL', V: 'FATAL', C: code });
    await client.ended();
    client.close();
  });

  test('what a client goes on sending does not cost it the error', async () => {
    const client = await RawClient.open(edge.port);
    client.send(packet(0xffff_ffff));
    client.send(new Uint8Array(4 << 20));
    expect(await client.error()).toMatchObject({ C: '08P01' });
    client.close();
  });
  test('one byte a time is served; a client that stops in the middle is not waited for', async () => {
    const client = await RawClient.open(edge.port);
    for (const byte of startup(0, user)) client.send(new Uint8Array([byte]));
    expect((await client.message())!.tag).toBe(TAG.authentication);
    client.send(text('p\0\0'));
    expect(await client.error()).toMatchObject({ C: '57014', M: 'canceling authentication due to timeout' });
    client.close();
  });
  test('silence is not waited for', async () => {
    const client = await RawClient.open(edge.port);
    expect(await client.error()).toMatchObject({ C: '57014' });
    client.close();
  });
  test('a client that ends at once gets no answer', async () => {
    const client = await RawClient.open(edge.port);
    client.end();
    expect(await client.error()).toBe(null);
    client.close();
  });
  test('any bytes at all end in an error or an end, never in silence', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 60 }), async (bytes) => {
        const client = await RawClient.open(edge.port);
        client.send(bytes);
        client.end();
        await client.error();
        await client.ended();
        client.close();
      }),
      { numRuns: 60 },
    );
  });
});

test('who is not authenticated takes one of a bounded number of places, and no place of those who are', async () => {
  const silent: RawClient[] = [];
  await withClient(async (client) => {
    while (silent.length < LIMITS.unauthenticatedMax) silent.push(await RawClient.open(edge.port));
    const refused = await (await RawClient.open(edge.port)).error();
    expect(refused).toMatchObject({ C: '53300', M: 'too many connections are being authenticated' });
    await client.query('SELECT 1');
  });
  for (const each of silent) each.end();
  await Promise.all(silent.map((each) => each.ended()));
  await withClient((client) => client.query('SELECT 1'));
});
