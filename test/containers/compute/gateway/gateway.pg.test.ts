/**
 * The trap of synchronous replication: a commit whose wait is cancelled is a success to its client. Behind the gateway
 * it never is, however the cancel came and whatever the client has done to its warnings. No standby is attached
 * here, so every commit waits; what the quorum has is the test's to say.
 */
import { once } from 'node:events';
import { connect } from 'node:net';
import pg from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { CommitGuard } from '../../../../containers/compute/gateway/commit-guard.ts';
import { Gateway } from '../../../../containers/compute/gateway/gateway.ts';
import { Connection, sendCancelRequest } from '../../../../containers/compute/postgres/connection.ts';
import { INVALID_LSN, LSN_MAX, type Lsn } from '../../../../lib/postgres/lsn.ts';
import { buildCancelRequest, buildStartupMessage } from '../../../../lib/postgres/wire/startup.ts';
import { passthroughPreamble } from '../../../../lib/protocol/specs.ts';
import { ComputePostgres, scramSecret } from '../../../support/compute-postgres.ts';

const TOKEN = 'a-session-token-of-32-characters';
const GRACE_MS = 300;
let compute: ComputePostgres;
let gateway: Gateway;
let guard: CommitGuard;
let port: number;
let quorumHas: Lsn;
let asked: Lsn[];
let refusal: string | null;
let clientKey: Uint8Array;

beforeAll(async () => {
  compute = await ComputePostgres.start({ quorum: true });
  const { secret, clientKey: key } = await scramSecret('moon');
  clientKey = key;
  await compute.superuser.query(`
    set synchronous_commit = local;
    create role conrad login password '${secret}';
    create table public.t (a int);
    grant all on public.t to conrad;
    create procedure public.slow_commit() language plpgsql as
      'begin insert into t values (100); commit; end'`);
  guard = new CommitGuard({
    flushLsn: () => compute.superuser.flushLsn(),
    waitForCommit: (lsn) => {
      asked.push(lsn);
      return lsn <= quorumHas ? Promise.resolve() : Promise.reject(new Error('no quorum'));
    },
    graceMs: GRACE_MS,
  });
  compute.onCancelledWait((pid) => guard.suspect(pid));
  gateway = new Gateway({
    sessionToken: TOKEN,
    socketPath: compute.socketPath,
    guard,
    refusal: () => refusal,
  });
  port = await gateway.listen(0, '127.0.0.1');
});
afterAll(async () => {
  await gateway.close();
  await compute[Symbol.asyncDispose]();
});
beforeEach(async () => {
  quorumHas = INVALID_LSN;
  asked = [];
  refusal = null;
  await compute.superuser.query('set synchronous_commit = local; truncate public.t');
});

/** What the Durable Object does: the preamble, then the client's bytes. */
function through(first: Uint8Array | string) {
  const socket = connect(port, '127.0.0.1');
  socket.write(passthroughPreamble(TOKEN));
  socket.write(first);
  return socket;
}
async function client(): Promise<pg.Client> {
  const stream = connect(port, '127.0.0.1');
  await once(stream, 'connect');
  stream.write(passthroughPreamble(TOKEN));
  // node-postgres writes its StartupMessage on "connect", which has happened
  stream.connect = () => {
    setImmediate(() => stream.emit('connect'));
    return stream;
  };
  const client = new pg.Client({
    user: 'conrad',
    password: 'moon',
    database: 'postgres',
    stream: () => stream,
  });
  client.on('error', () => undefined);
  await client.connect();
  return client;
}
const pidOf = (client: pg.Client): number => (client as unknown as { processID: number }).processID;
const keyOf = (client: pg.Client): number => (client as unknown as { secretKey: number }).secretKey;

/** Resolves when `pid` waits for the quorum. */
async function waits(pid: number): Promise<void> {
  for (;;) {
    const [{ rows }] = await compute.superuser.query(
      `select 1 from pg_stat_activity where pid = ${pid} and wait_event = 'SyncRep'`,
    );
    if (rows.length > 0) return;
  }
}
const cancelBackend = (pid: number) => compute.superuser.query(`select pg_cancel_backend(${pid})`);
/** Resolves when `t` holds one row: Postgres itself makes a transaction visible after it has logged and answered. */
async function oneRow(): Promise<void> {
  for (;;) {
    const [{ rows }] = await compute.superuser.query('select a from public.t');
    if (rows.length === 1) return;
  }
}

describe('a cancelled wait for the quorum', () => {
  test.each<[string, string[], string]>([
    ['of a simple statement', [], 'insert into t values (1)'],
    ['of a COMMIT', ['begin', 'insert into t values (1)'], 'commit'],
    ['of a COMMIT AND CHAIN', ['begin', 'insert into t values (1)'], 'commit and chain'],
    ['among several statements', [], 'begin; insert into t values (1); commit; select 1'],
    ['with the warning switched off', ['set client_min_messages = error'], 'insert into t values (1)'],
    ['of a prepared transaction', ['begin', 'insert into t values (1)'], "prepare transaction 'p'"],
  ])('%s is an unknown outcome when the quorum does not follow', async (_, before, statement) => {
    const session = await client();
    const ended = new Promise<void>((resolve) => session.once('end', () => resolve()));
    for (const sql of before) await session.query(sql);
    const answer = session.query(statement).then(
      (result) => result,
      (error: unknown) => error,
    );
    await waits(pidOf(session));
    await cancelBackend(pidOf(session));
    expect(await answer).toMatchObject({ code: '08007', severity: 'FATAL' });
    await ended;
    expect(asked.length).toBe(1);
    if (statement.startsWith('prepare')) {
      await compute.superuser.query('set synchronous_commit = local');
      await compute.superuser.query("rollback prepared 'p'");
    } else await oneRow(); // Postgres itself has it
  });

  test('is a success when the quorum has it', async () => {
    quorumHas = LSN_MAX as Lsn;
    const session = await client();
    const answer = session.query('insert into t values (2)');
    await waits(pidOf(session));
    await cancelBackend(pidOf(session));
    expect((await answer).rowCount).toBe(1);
    expect(asked.length).toBe(1);
    expect(asked[0]).toBeGreaterThan(0);
    expect((await session.query('select 1 as one')).rows).toEqual([{ one: 1 }]);
    expect(asked.length).toBe(1); // suspected once, cleared once
    await session.end();
  });

  test('by a CancelRequest is noticed too, and with the extended protocol', async () => {
    const session = await client();
    const answer = session.query('insert into t values ($1)', [3]).catch((error: unknown) => error);
    await waits(pidOf(session));
    const key = Buffer.alloc(4);
    key.writeInt32BE(keyOf(session));
    await sendCancelRequest(compute.socketPath, buildCancelRequest(pidOf(session), key));
    expect(await answer).toMatchObject({ code: '08007' });
  });

  test('by a timeout inside a procedure is noticed too', async () => {
    const session = await client();
    await session.query("set statement_timeout = '100ms'; set client_min_messages = error");
    expect(await session.query('call slow_commit()').catch((error: unknown) => error)).toMatchObject({
      code: '08007',
    });
  });

  test('of one session leaves the others alone', async () => {
    const [one, other] = [await client(), await client()];
    const answer = one.query('insert into t values (4)').catch((error: unknown) => error);
    await waits(pidOf(one));
    await cancelBackend(pidOf(one));
    expect((await other.query('select 1 as one')).rows).toEqual([{ one: 1 }]);
    expect(await answer).toMatchObject({ code: '08007' });
    await other.end();
  });

  test('that somebody only pretends costs the other session a look at the quorum', async () => {
    quorumHas = LSN_MAX as Lsn;
    const [one, other] = [await client(), await client()];
    await one.query(
      `do $$ begin raise warning '[${pidOf(other)}] WARNING:  canceling wait for synchronous replication due to user request'; end $$`,
    );
    expect((await other.query('select 1 as one')).rows).toEqual([{ one: 1 }]);
    expect(asked.length).toBe(1);
    await Promise.all([one.end(), other.end()]);
  });

  test('is found in the middle of a flood of long log messages', async () => {
    const [one, flood] = [await client(), await client()];
    const pouring = flood.query(
      `do $$ begin for i in 1..200 loop raise warning '%', repeat('x', 200000); end loop; end $$`,
    );
    const answer = one.query('insert into t values (6)').catch((error: unknown) => error);
    await waits(pidOf(one));
    await cancelBackend(pidOf(one));
    expect(await answer).toMatchObject({ code: '08007' });
    await pouring;
    await flood.end();
  });

  test('a query that is cancelled before its commit is an ordinary error', async () => {
    const session = await client();
    const answer = session.query('select pg_sleep(60)').catch((error: unknown) => error);
    for (;;) {
      const [{ rows }] = await compute.superuser.query(
        `select 1 from pg_stat_activity where pid = ${pidOf(session)} and wait_event = 'PgSleep'`,
      );
      if (rows.length > 0) break;
    }
    await cancelBackend(pidOf(session));
    expect(await answer).toMatchObject({ code: '57014' });
    expect((await session.query('select 1 as one')).rows).toEqual([{ one: 1 }]);
    await session.end();
  });

  test('of a connection of the /sql pool is an unknown outcome', async () => {
    const connection = await Connection.connect({
      socketPath: compute.socketPath,
      user: 'conrad',
      database: 'postgres',
      clientKey,
      settle: ({ pid }) => guard.clear(pid),
    });
    const answer = connection.execute('insert into t values (5)', []).catch((error: unknown) => error);
    await waits(connection.pid);
    await cancelBackend(connection.pid);
    expect(await answer).toMatchObject({ code: '08007' });
    expect(connection.isOpen).toBe(false);
  });
});

describe('the way in', () => {
  const closed = async (socket: ReturnType<typeof connect>): Promise<string> => {
    const chunks: Buffer[] = [];
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    socket.on('error', () => undefined);
    await once(socket, 'close');
    return Buffer.concat(chunks).toString('latin1');
  };
  const startup = (parameters: Record<string, string>) => buildStartupMessage(0, Object.entries(parameters));

  test.each([
    ['a wrong token', `EBB/1 ${'b'.repeat(TOKEN.length)}\n`],
    ['another protocol', 'GET / HTTP/1.1\r\nhost: somewhere.example.com\r\n\r\n'],
    ['a client without a preamble', Buffer.concat([startup({ user: 'conrad' }), Buffer.alloc(60)])],
  ])('%s gets no answer', async (_, bytes) => {
    const socket = connect(port, '127.0.0.1');
    socket.write(bytes);
    expect(await closed(socket)).toBe('');
  });

  test('half a preamble and an end gets no answer', async () => {
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    socket.end('EBB/1 ');
    expect(await closed(socket)).toBe('');
  });

  test.each([
    ['the superuser', startup({ user: 'ebb_admin', database: 'postgres' }), '28000', 'reserved'],
    ['a replication connection', startup({ user: 'conrad', replication: 'true' }), '0A000', 'replication'],
    [
      'a logical replication connection',
      startup({ user: 'conrad', replication: 'database' }),
      '0A000',
      'replication',
    ],
    ['a cancel request', buildCancelRequest(1, new Uint8Array(4)), '08P01', 'StartupMessage'],
    ['a length beyond the limit', Uint8Array.of(0x7f, 0, 0, 0, 0, 3, 0, 0), '08P01', 'invalid length'],
    ['another major version', Uint8Array.of(0, 0, 0, 9, 0, 2, 0, 0, 0), '0A000', ''],
  ])('%s is refused', async (_, bytes, code, text) => {
    const answer = await closed(through(bytes));
    expect(answer).toContain(`C${code}\0`);
    expect(answer).toContain(text);
  });

  test('the superuser is refused though the name stands twice', async () => {
    const twice = buildStartupMessage(0, [
      ['user', 'conrad'],
      ['user', 'ebb_admin'],
    ]);
    expect(await closed(through(twice))).toContain('C28000\0');
  });

  test('nobody is let in while there is a reason not to', async () => {
    refusal = 'the compute is stopping';
    expect(await closed(through(startup({ user: 'conrad' })))).toContain('C57P03\0');
  });

  test('bytes go through in any pieces, and counting follows the connections', async () => {
    await expect.poll(() => gateway.connections).toBe(0); // those of the tests before have closed
    const socket = connect(port, '127.0.0.1');
    const bytes = Buffer.concat([Buffer.from(passthroughPreamble(TOKEN)), startup({ user: 'conrad' })]);
    for (const byte of bytes) socket.write(Uint8Array.of(byte));
    const [answer] = (await once(socket, 'data')) as [Buffer];
    expect(answer.toString('latin1')).toContain('SCRAM-SHA-256');
    expect(gateway.connections).toBe(1);
    socket.destroy();
  });

  test('large answers come whole, with a slow reader', async () => {
    const session = await client();
    const { rows } = await session.query("select repeat('x', 1000) as x from generate_series(1, 20000)");
    expect(rows.length).toBe(20_000);
    await session.end();
  });
});
