/**
 * `POST /sql` with the unmodified @neondatabase/serverless: its requests come here as the Worker would pass them on.
 */
import { neon, neonConfig, types as neonTypes, type NeonDbError } from '@neondatabase/serverless';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { CommitGuard } from '../../../../containers/compute/gateway/commit-guard.ts';
import { SqlHandler } from '../../../../containers/compute/sql/handler.ts';
import { SQL_HEADER } from '../../../../lib/protocol/sql.ts';
import { ComputePostgres, scramSecret } from '../../../support/compute-postgres.ts';

const URL_OF_CONRAD = 'postgres://conrad:moon@ep-test.example.com/main';
let compute: ComputePostgres;
let handler: SqlHandler;
let clientKey: string;

/** What the Worker does: the connection string becomes Ebb's own headers. */
function asWorker(init: RequestInit, change: Record<string, string> = {}): Request {
  const headers = new Headers(init.headers);
  const target = new URL(headers.get('neon-connection-string') ?? URL_OF_CONRAD);
  headers.delete('neon-connection-string');
  headers.set(SQL_HEADER.role, target.username);
  headers.set(SQL_HEADER.database, target.pathname.slice(1));
  headers.set(SQL_HEADER.clientKey, clientKey);
  for (const [name, value] of Object.entries(change)) headers.set(name, value);
  return new Request('http://compute/sql', {
    method: 'POST',
    body: init.body ?? null,
    headers,
    signal: init.signal ?? null,
  });
}
async function answer(request: Request): Promise<Response> {
  const { headers, signal } = request;
  const { status, body } = await handler.handle({ headers, signal, body: await request.text() });
  return new Response(body, { status, headers: { 'content-type': 'application/json' } });
}
const post = (body: unknown, headers: Record<string, string> = {}, signal?: AbortSignal): Promise<Response> =>
  answer(
    asWorker(
      { body: typeof body === 'string' ? body : JSON.stringify(body), ...(signal && { signal }) },
      headers,
    ),
  );
const newHandler = (options: Partial<ConstructorParameters<typeof SqlHandler>[0]> = {}): SqlHandler =>
  new SqlHandler({
    socketPath: compute.socketPath,
    guard: new CommitGuard({
      flushLsn: () => compute.superuser.flushLsn(),
      waitForCommit: () => Promise.resolve(),
    }),
    ...options,
  });

beforeAll(async () => {
  compute = await ComputePostgres.start();
  const { secret, clientKey: key } = await scramSecret('moon');
  clientKey = Buffer.from(key).toString('base64');
  await compute.superuser.query(`create role conrad login password '${secret}'`);
  await compute.superuser.query('create database main owner conrad');
  neonConfig.fetchFunction = (_url: string, init: RequestInit) => answer(asWorker(init));
  handler = newHandler();
});
afterEach(() => {
  handler.close();
  handler = newHandler();
});
afterAll(() => compute[Symbol.asyncDispose]());

describe('the serverless driver', () => {
  const sql = neon(URL_OF_CONRAD);

  test('gets rows as node-postgres gives them', async () => {
    const query = `select 1::int2 as a, 2::int8 as b, 1.50::numeric as c, true as d, null as e, 'x'::text as f,
      '2024-04-17'::date as g, '2024-04-17 10:00:00+00'::timestamptz as h, '{"k":[1]}'::jsonb as i, array[1,2,null]::int4[] as j,
      '\\xdeadbeef'::bytea as k, 'NaN'::float8 as l, array['a,b','"']::text[] as m, interval '1 day' as n`;
    const direct = await compute.connect('conrad', 'moon', 'main');
    const [expected] = (await direct.query(query)).rows as [pg.QueryResultRow];
    await direct.end();
    const [row] = await sql.query(query);
    expect(row).toEqual(expected);
    expect(neonTypes.getTypeParser(20)('2')).toBe('2');
  });

  test('gets full results', async () => {
    await sql.query('create table full_results (id int primary key, name varchar(20))');
    const inserted = await sql.query(
      'insert into full_results values ($1, $2), ($3, $4)',
      [1, 'a', 2, null],
      { fullResults: true },
    );
    expect(inserted).toMatchObject({ command: 'INSERT', rowCount: 2, rows: [], fields: [] });
    const found = await sql.query('select id, name from full_results order by id', [], {
      fullResults: true,
      arrayMode: true,
    });
    expect(found).toMatchObject({
      command: 'SELECT',
      rowCount: 2,
      rowAsArray: true,
      rows: [
        [1, 'a'],
        [2, null],
      ],
    });
    expect(found.fields).toEqual([
      {
        name: 'id',
        dataTypeID: 23,
        tableID: expect.any(Number),
        columnID: 1,
        dataTypeSize: 4,
        dataTypeModifier: -1,
        format: 'text',
      },
      {
        name: 'name',
        dataTypeID: 1043,
        tableID: expect.any(Number),
        columnID: 2,
        dataTypeSize: -1,
        dataTypeModifier: 24,
        format: 'text',
      },
    ]);
  });

  test('composes templates and sends every kind of parameter', async () => {
    const when = new Date('2024-04-17T00:00:00Z');
    const bytes = Buffer.from([0, 255, 10]);
    const list = ["it's", 'say "x"', 'back\\slash', 'a,b', null];
    const [row] =
      await sql`select ${1}::int + ${2}::int as sum, ${when}::timestamptz as when, ${bytes}::bytea as bytes,
      ${list}::text[] as list, ${{ a: [1, 'x'] }}::jsonb as json, ${null}::text as nothing, ${true}::bool as yes,
      ${[
        [1, 2],
        [3, 4],
      ]}::int[] as matrix, ${'😀'}::text as emoji`;
    expect(row).toEqual({
      sum: 3,
      when,
      bytes,
      list,
      json: { a: [1, 'x'] },
      nothing: null,
      yes: true,
      matrix: [
        [1, 2],
        [3, 4],
      ],
      emoji: '😀',
    });
  });

  test('runs a transaction, and takes back all of it', async () => {
    await sql.query('create table taken (a int unique)');
    const results = await sql.transaction([sql`insert into taken values (1)`, sql`select a from taken`]);
    expect(results).toEqual([[], [{ a: 1 }]]);
    const failing = sql.transaction([sql`insert into taken values (2)`, sql`insert into taken values (1)`]);
    await expect(failing).rejects.toMatchObject({ code: '23505', constraint: 'taken_a_key', table: 'taken' });
    expect(await sql`select a from taken`).toEqual([{ a: 1 }]);
  });

  test('chooses isolation, read only and deferrable', async () => {
    const show = [
      sql`show transaction_isolation`,
      sql`show transaction_read_only`,
      sql`show transaction_deferrable`,
    ];
    const options = { isolationLevel: 'Serializable', readOnly: true, deferrable: true } as const;
    expect(await sql.transaction(show, options)).toEqual([
      [{ transaction_isolation: 'serializable' }],
      [{ transaction_read_only: 'on' }],
      [{ transaction_deferrable: 'on' }],
    ]);
    const write = sql.transaction([sql`create table no (a int)`], { readOnly: true });
    await expect(write).rejects.toMatchObject({ code: '25006' });
  });

  test('gets errors with the fields of Postgres', async () => {
    const error = (await sql.query('select nothing_like_it').catch((e: unknown) => e)) as NeonDbError;
    expect(error).toMatchObject({
      name: 'NeonDbError',
      message: 'column "nothing_like_it" does not exist',
      code: '42703',
      severity: 'ERROR',
      position: '8',
      routine: 'errorMissingColumn',
    });
    await expect(
      sql.query("do $$ begin raise 'x' using detail = 'd', hint = 'h', errcode = 'P0077'; end $$"),
    ).rejects.toMatchObject({
      code: 'P0077',
      detail: 'd',
      hint: 'h',
      where: expect.stringContaining('PL/pgSQL') as unknown,
    });
  });
});

describe('results that are not raw text', () => {
  test('have JSON types where JSON has them', async () => {
    const query = `select 1::int4 as i, 9007199254740993::int8 as big, 1.5::float8 as f, 'Infinity'::float8 as inf, false as b,
      '{"a": 1}'::json as j, array[[1,2],[3,4]] as m, '[0:1]={a,"b\\"c"}'::text[] as t, array[true,null] as bs, '{}'::int[] as e,
      array['{"x":1}'::jsonb] as js, '(1,1),(0,0);'::text as s, array['(1,1),(0,0)'::box] as boxes, null::int as n`;
    const response = await post({ query });
    expect(response.headers.get('content-type')).toBe('application/json');
    const { rows, rowAsArray } = (await response.json()) as { rows: object[]; rowAsArray: boolean };
    expect(rowAsArray).toBe(false);
    expect(rows).toEqual([
      {
        i: 1,
        big: '9007199254740993',
        f: 1.5,
        inf: 'Infinity',
        b: false,
        j: { a: 1 },
        m: [
          [1, 2],
          [3, 4],
        ],
        t: ['a', 'b"c'],
        bs: [true, null],
        e: [],
        js: [{ x: 1 }],
        s: '(1,1),(0,0);',
        boxes: ['(1,1),(0,0)'],
        n: null,
      },
    ]);
  });
  test('keep the digits of large numbers in parameters', async () => {
    const body =
      '{"query": "select $1::numeric as n, $2::text as j", "params": [12345678901234567890.123, {"n": 12345678901234567890}], "arrayMode": true}';
    const { rows } = (await (await post(body)).json()) as { rows: unknown[][] };
    expect(rows).toEqual([['12345678901234567890.123', '{"n":12345678901234567890}']]);
  });
  test('of no columns, no rows, no statement', async () => {
    expect(await (await post({ query: 'select' })).json()).toMatchObject({
      fields: [],
      rows: [{}],
      rowCount: 1,
    });
    expect(await (await post({ query: '' })).json()).toMatchObject({
      fields: [],
      rows: [],
      rowCount: null,
      command: '',
    });
    expect(await (await post({ queries: [] })).json()).toEqual({ results: [] });
  });
});

describe('refused', () => {
  test.each<[string, unknown, Record<string, string>, number]>([
    ['no JSON', '{', {}, 400],
    ['an array', [], {}, 400],
    ['no query', { params: [] }, {}, 400],
    ['params that are no array', { query: 'select 1', params: {} }, {}, 400],
    ['queries that are no array', { queries: {} }, {}, 400],
    ['a query in queries that is none', { queries: [1] }, {}, 400],
    ['a zero byte', { query: 'select 1 \0' }, {}, 400],
    ['a zero byte in a parameter', { query: 'select $1', params: ['\0'] }, {}, 400],
    ['an unknown isolation level', { queries: [] }, { 'neon-batch-isolation-level': 'Chaos' }, 400],
    ['several statements in one query', { query: 'select 1; select 2' }, {}, 400],
    ['COPY FROM STDIN', { query: 'copy pg_class from stdin' }, {}, 400],
    ['COPY TO STDOUT', { query: 'copy (select 1) to stdout' }, {}, 400],
    [
      'a wrong client key',
      { query: 'select 1' },
      { [SQL_HEADER.clientKey]: Buffer.alloc(32).toString('base64') },
      400,
    ],
    ['a short client key', { query: 'select 1' }, { [SQL_HEADER.clientKey]: 'AAAA' }, 400],
    ['an unknown database', { query: 'select 1' }, { [SQL_HEADER.database]: 'nowhere' }, 400],
    ['the superuser', { query: 'select 1' }, { [SQL_HEADER.role]: 'ebb_admin' }, 400],
    ['a name that is not percent-encoded', { query: 'select 1' }, { [SQL_HEADER.role]: '%zz' }, 400],
    ['too few parameters', { query: 'select $1, $2', params: [1] }, {}, 400],
    ['too large an answer', { query: "select repeat('x', 1000000) from generate_series(1, 20)" }, {}, 507],
  ])('%s', async (_, body, headers, status) => {
    const response = await post(body, headers);
    expect(response.status).toBe(status);
    const error = (await response.json()) as { message: string; code: string };
    expect(error.message).toEqual(expect.any(String));
    expect(error.code).toMatch(/^[0-9A-Z]{5}$/);
    expect((await post({ query: 'select 1 as a' })).status).toBe(200);
  });
});

describe('the pool', () => {
  const pid = async () =>
    ((await (await post({ query: 'select pg_backend_pid() as pid' })).json()) as { rows: { pid: number }[] })
      .rows[0].pid;
  /** Resolves when what was released is idle again. */
  const settled = async () => {
    while (handler.connections.idle === 0) await new Promise((resolve) => setImmediate(resolve));
  };

  test('uses a connection again, with nothing left of the one before', async () => {
    const first = await pid();
    await settled();
    await post({ query: "set application_name = 'left over'" });
    await settled();
    expect(await pid()).toBe(first);
    await settled();
    const { rows } = (await (await post({ query: 'show application_name' })).json()) as { rows: object[] };
    expect(rows).toEqual([{ application_name: '' }]);
  });
  test('does not keep a connection inside a transaction', async () => {
    const first = await pid();
    await settled();
    await post({ query: 'begin' });
    expect(await pid()).not.toBe(first);
  });
  test('makes others wait at its limit, in order, and no longer than they may', async () => {
    handler.close();
    handler = newHandler({ connectionsMax: 1, waitMs: 200 });
    const slow = post({ query: 'select pg_sleep(0.1)' });
    expect((await post({ query: 'select 1' })).status).toBe(200);
    expect((await slow).status).toBe(200);
    const slower = post({ query: 'select pg_sleep(1)' });
    const late = await post({ query: 'select 1' });
    expect(late.status).toBe(503);
    expect(await late.json()).toMatchObject({ code: '53300' });
    await slower;
  });
  test('goes on when its connections are terminated', async () => {
    const first = await pid();
    await settled();
    await compute.superuser.query(`select pg_terminate_backend(${first}, 5000)`);
    expect(await pid()).not.toBe(first);
  });
  test('cancels what nobody waits for any more', async () => {
    const abandoned = new AbortController();
    const answer = post({ query: 'select pg_sleep(600)' }, {}, abandoned.signal);
    const running = () =>
      compute.superuser.query(
        "select pid from pg_stat_activity where query = 'select pg_sleep(600)' and state = 'active'",
      );
    while ((await running())[0].rows.length === 0);
    abandoned.abort();
    await answer;
    while ((await running())[0].rows.length > 0);
  });
  test('serves many at once', async () => {
    const responses = await Promise.all(
      Array.from({ length: 60 }, (_, i) => post({ query: `select ${i} as i` })),
    );
    const bodies = (await Promise.all(responses.map((response) => response.json()))) as {
      rows: { i: number }[];
    }[];
    expect(bodies.map(({ rows }) => rows[0].i)).toEqual(Array.from({ length: 60 }, (_, i) => i));
  });
});
