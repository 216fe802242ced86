/**
 * `POST /sql` in the real runtime, up to the compute's door: who is let in, what is passed on, and every refusal.
 * The compute's own answers are tested with its pool.
 */
import { neon, NeonDbError } from '@neondatabase/serverless';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { deriveKeys } from '../../../lib/postgres/scram/keys.ts';
import { fromBase64 } from '../../../lib/postgres/scram/base64.ts';
import { parseSecret } from '../../../lib/postgres/scram/secret.ts';
import { SQL_BODY_BYTES_MAX, SQL_HEADER } from '../../../lib/protocol/sql.ts';
import { PROXY_LIMITS } from '../../../workers/proxy/limits.ts';
import { pointNeonAt } from '../../support/neon.ts';
import { EdgeUnderTest, ENDPOINT, PASSWORD, ROLE } from '../proxy/edge.ts';

let edge: EdgeUnderTest;
beforeAll(async () => {
  edge = await EdgeUnderTest.start();
  pointNeonAt(edge.http.href);
});
afterAll(() => edge?.stop());
afterEach(() => edge.configure());

interface Post {
  url?: string | null;
  body?: string | Uint8Array<ArrayBuffer>;
  headers?: Record<string, string>;
}
async function post({ url = edge.hostUrl(), body = '{"query":"SELECT 1"}', headers = {} }: Post = {}) {
  const named = url === null ? {} : { 'Neon-Connection-String': url };
  const response = await fetch(new URL('/sql', edge.http), {
    method: 'POST',
    body,
    headers: { ...named, ...headers },
  });
  const json = (await response.json()) as Record<string, unknown>;
  return { status: response.status, headers: response.headers, json };
}

const ROWS = {
  command: 'SELECT',
  rowCount: 1,
  rows: [['1']],
  fields: [{ name: 'one', dataTypeID: 23 }],
  rowAsArray: true,
};

describe('the driver', () => {
  test('neon(): its query, options and identity reach the compute, its password does not', async () => {
    await edge.configure({ sql: { status: 200, body: ROWS } });
    const sql = neon(edge.hostUrl({ database: 'böse namen' }));
    expect(await sql`SELECT ${1}::int AS one`).toEqual([{ one: 1 }]);
    const { lastSql } = await edge.state();
    const { headers, body } = lastSql!;
    expect(JSON.parse(body)).toEqual({ query: 'SELECT $1::int AS one', params: ['1'] });
    expect(headers).toMatchObject({
      [SQL_HEADER.role]: ROLE,
      [SQL_HEADER.database]: encodeURIComponent('böse namen'),
      'neon-raw-text-output': 'true',
      'neon-array-mode': 'true',
    });
    expect(headers).not.toHaveProperty('neon-connection-string');
    const { salt, iterations } = parseSecret(edge.secret)!;
    const keys = await deriveKeys({ password: new TextEncoder().encode(PASSWORD), salt, iterations });
    expect(fromBase64(headers[SQL_HEADER.clientKey])).toEqual(keys.clientKey);
  });
  test('transaction(): options of the batch reach the compute', async () => {
    await edge.configure({ sql: { status: 200, body: { results: [ROWS, ROWS] } } });
    const sql = neon(edge.url());
    const options = { isolationLevel: 'Serializable', readOnly: true, deferrable: true } as const;
    const results = await sql.transaction([sql`SELECT 1 AS one`, sql`SELECT 1 AS one`], options);
    expect(results).toEqual([[{ one: 1 }], [{ one: 1 }]]);
    expect((await edge.state()).lastSql!.headers).toMatchObject({
      'neon-batch-isolation-level': 'Serializable',
      'neon-batch-read-only': 'true',
      'neon-batch-deferrable': 'true',
    });
  });
  test('an error of Postgres reaches it with all its fields', async () => {
    const body = {
      message: 'relation "x" does not exist',
      code: '42P01',
      position: '15',
      routine: 'parserOpenTable',
    };
    await edge.configure({ sql: { status: 400, body } });
    const error: unknown = await neon(edge.hostUrl())`SELECT * FROM x`.catch((e: unknown) => e);
    expect(error).toBeInstanceOf(NeonDbError);
    expect(error).toMatchObject(body);
  });
  test.each([
    ['a wrong password', () => edge.hostUrl({ password: 'wrong' }), ROLE],
    ['an unknown role', () => edge.hostUrl({ role: 'stranger' }), 'stranger'],
    ['an unknown endpoint', () => edge.hostUrl({ endpoint: 'ep-no-such-42' }), ROLE],
    ['the reserved role', () => edge.hostUrl({ role: 'ebb_admin' }), 'ebb_admin'],
  ])('%s', async (_, url, role) => {
    const { sqlRequests, wakes } = await edge.state();
    const error: unknown = await neon(url())`SELECT 1`.catch((e: unknown) => e);
    expect(error).toMatchObject({
      code: '28P01',
      severity: 'FATAL',
      message: `password authentication failed for user "${role}"`,
    });
    expect(await edge.state()).toMatchObject({ sqlRequests, wakes });
  });
});

test('a refusal costs the same time whatever was wrong', async () => {
  const urls = [
    edge.hostUrl({ password: 'wrong' }),
    edge.hostUrl({ role: 'stranger' }),
    edge.hostUrl({ endpoint: 'ep-no-such-42' }),
  ];
  const times = urls.map(() => [] as number[]);
  for (let round = 0; round < 15; round++) {
    for (const [i, url] of urls.entries()) {
      const begin = performance.now();
      await post({ url });
      times[i].push(performance.now() - begin);
    }
  }
  const medians = times.map((each) => each.toSorted((a, b) => a - b)[7]);
  expect(Math.max(...medians) - Math.min(...medians)).toBeLessThan(PROXY_LIMITS.refusalGridMs / 2);
});

describe('what names the endpoint', () => {
  test.each([
    ['options', () => edge.url()],
    ['the host of a pooler', () => edge.hostUrl({ endpoint: `${ENDPOINT}-pooler` })],
    [
      'the password',
      () => `postgres://${ROLE}:${encodeURIComponent(`endpoint=${ENDPOINT};${PASSWORD}`)}@localhost/x`,
    ],
  ])('%s', async (_, url) => {
    expect((await post({ url: url() })).status).toBe(200);
  });
  test('nothing', async () => {
    const { status, json } = await post({ url: `postgres://${ROLE}:x@localhost/postgres` });
    expect({ status, code: json['code'] }).toEqual({ status: 400, code: '08004' });
  });
});

describe('bad input', () => {
  test.each<[string, number, string, Post]>([
    ['no connection string', 400, '08P01', { url: null }],
    ['a connection string that is no URL', 400, '08P01', { url: 'hello' }],
    ['another scheme', 400, '08P01', { url: 'mysql://a:b@ep-x.test/db' }],
    ['no role', 400, '08P01', { url: 'postgres://ep-x.test/db' }],
    ['no password', 400, '08P01', { url: 'postgres://conrad@ep-x.test/db' }],
    ['a role that is not UTF-8', 400, '08P01', { url: 'postgres://%ff:b@ep-x.test/db' }],
    ['a malformed endpoint name', 400, '08004', { url: 'postgres://a:b@x.test/db?options=endpoint%3Dep_x' }],
    ['a bearer token', 400, '0A000', { headers: { Authorization: 'Bearer x' } }],
    ['an empty body', 400, '08P01', { body: '' }],
    ['a body that is not JSON', 400, '08P01', { body: '{"query"' }],
    ['a body that is not UTF-8', 400, '08P01', { body: Uint8Array.of(0x22, 0xff, 0x22) }],
    ['null', 400, '08P01', { body: 'null' }],
    ['no query', 400, '08P01', { body: '{}' }],
    ['a query that is no string', 400, '08P01', { body: '{"query":1}' }],
    ['params that are no array', 400, '08P01', { body: '{"query":"","params":{}}' }],
    ['queries that are no array', 400, '08P01', { body: '{"queries":{}}' }],
    ['a query in queries that is none', 400, '08P01', { body: '{"queries":[{"query":"SELECT 1"},7]}' }],
    ['a body that is too large', 413, '54000', { body: ' '.repeat(SQL_BODY_BYTES_MAX + 1) }],
  ])('%s', async (_, status, code, request) => {
    const { wakes } = await edge.state();
    const answer = await post(request);
    expect(answer.status).toBe(status);
    expect(answer.json).toEqual({
      message: expect.any(String) as string,
      code,
      severity: 'FATAL',
      detail: null,
      hint: answer.json['hint'],
    });
    expect(JSON.stringify(answer.json)).not.toContain(PASSWORD);
    expect(answer.headers.get('access-control-allow-origin')).toBe('*');
    expect((await edge.state()).wakes).toBe(wakes);
  });

  test('a body that is too large and does not say so', async () => {
    const chunk = new Uint8Array(1 << 20).fill(0x20);
    let sent = 0;
    const body = new ReadableStream({
      pull: (controller) => (sent++ < 12 ? controller.enqueue(chunk) : controller.close()),
    });
    const request = {
      method: 'POST',
      body,
      headers: { 'Neon-Connection-String': edge.hostUrl() },
      duplex: 'half',
    };
    const response = await fetch(new URL('/sql', edge.http), request as RequestInit);
    expect(response.status).toBe(413);
  });
  test('another method', async () => {
    const response = await fetch(new URL('/sql', edge.http));
    expect(response.status).toBe(405);
    expect(response.headers.get('allow')).toBe('POST, OPTIONS');
  });
});

describe('the compute', () => {
  const notYet = { ok: false, code: 'unavailable', message: 'no quorum', retryable: true };
  test('is woken with patience', async () => {
    await edge.configure({ wakes: [notYet, notYet] });
    expect((await post()).status).toBe(200);
  });
  test('that does not wake is a 503', async () => {
    await edge.configure({ wakes: [{ ...notYet, code: 'failed', retryable: false }] });
    const { status, headers, json } = await post();
    expect({ status, code: json['code'] }).toEqual({ status: 503, code: '57P03' });
    expect(headers.get('retry-after')).toBe('1');
  });
  test('that its object cannot reach is a 503', async () => {
    await edge.configure({ sql: { status: 503, body: { message: 'stopping', retryable: true } } });
    expect(await post()).toMatchObject({ status: 503, json: { code: '57P03' } });
  });
});

test('a browser may ask', async () => {
  const response = await fetch(new URL('/sql', edge.http), { method: 'OPTIONS' });
  expect(response.status).toBe(204);
  expect(response.headers.get('access-control-allow-methods')).toBe('POST, OPTIONS');
  expect(response.headers.get('access-control-allow-headers')).toContain('Neon-Connection-String');
});
