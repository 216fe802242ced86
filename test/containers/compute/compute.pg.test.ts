/**
 * A compute from boot to exit: with a real Postgres, the real proposer and acceptors, and the template's pages.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { afterEach, describe, expect, test } from 'vitest';
import { EXIT } from '../../../containers/compute/exit-codes.ts';
import { Proposer } from '../../../containers/compute/proposer/proposer.ts';
import { lsnPlus } from '../../../lib/postgres/lsn.ts';
import { postgres18 } from '../../../lib/postgres/v18/wal.ts';
import { newWalRecord } from '../../../lib/postgres/wal/decode-record.ts';
import { WalDecoder } from '../../../lib/postgres/wal/decoder.ts';
import { SQL_HEADER } from '../../../lib/protocol/sql.ts';
import { scramSecret } from '../../support/compute-postgres.ts';
import { fuseMissing } from './datadir/fuse-available.ts';
import { type RunningCompute, World } from './world.ts';

/** The quicker one that this machine has. */
const anyMode = fuseMissing === undefined ? 'fuse' : 'plain';
let world: World;
let running: RunningCompute | null = null;
afterEach(async () => {
  await running?.compute.suspend();
  running = null;
  world.remove();
});
async function start(change: Parameters<typeof World.create>[0] = {}, mode: 'plain' | 'fuse' = anyMode) {
  world = await World.create(change);
  running = await world.compute(mode);
  expect(await (await running.http('GET', '/ready')).json()).toMatchObject({ dataDirectory: mode });
  return running;
}
const pidOf = (client: pg.Client): number => (client as unknown as { processID: number }).processID;

describe.each(['plain', 'fuse'] as const)('on a %s data directory', (mode) => {
  const unavailable = mode === 'fuse' ? fuseMissing : undefined;
  test.skipIf(unavailable)(
    `a commit is at a quorum when it returns, and a suspend leaves nothing behind${unavailable ? `: ${unavailable}` : ''}`,
    async () => {
      const { compute } = await start({}, mode);
      const client = await running!.client();
      const before = world.acceptors.log(1).flushLsn;
      await client.query('create role durable');
      const durable = [1, 2, 3].map((n) => world.acceptors.wal(n).includes('durable')).filter(Boolean);
      expect(durable.length).toBeGreaterThanOrEqual(2);
      expect(world.acceptors.log(1).flushLsn).toBeGreaterThan(before);
      await client.end();

      const status = (await (await running!.http('GET', '/status')).json()) as Record<string, never>;
      expect(status).toMatchObject({
        state: 'serving',
        term: 1,
        bootLsn: '0/3000000',
        dataDirectory: { mode },
        proposer: { phase: 'leading' },
        bootMs: { elect: expect.any(Number), postgres: expect.any(Number), total: expect.any(Number) },
      });

      expect((await running!.http('POST', '/suspend')).status).toBe(204);
      expect(await compute.exited).toBe(EXIT.suspended);
      // The last record is Postgres's shutdown checkpoint, and at least two acceptors have it.
      const logs = [1, 2, 3].map((n) => world.acceptors.wal(n)).sort((a, b) => b.length - a.length);
      expect(logs[1].equals(logs[0])).toBe(true);
      const decoder = new WalDecoder({
        startLsn: world.acceptors.startLsn,
        facts: postgres18,
        timelineId: 1,
      });
      decoder.push(new Uint8Array(logs[0]));
      const record = newWalRecord();
      let last = { resourceManager: -1, info: -1 };
      while (decoder.next(record)) last = { resourceManager: record.resourceManager, info: record.info };
      expect(last).toEqual({ resourceManager: 0, info: 0 });
      expect(decoder.endLsn).toBe(decoder.receivedLsn);
    },
  );
});

describe('a pageserver that falls behind', () => {
  const ahead = 4 << 20;
  const load = (client: pg.Client) =>
    client.query(`insert into loaded select repeat(md5(n::text), 30) from generate_series(1, 10000) n`);
  const lagOf = async () =>
    ((await (await running!.http('GET', '/status')).json()) as { pageserver: { state: string } }).pageserver;

  test('holds commits back, and lets them go as it gets on; one that goes away holds nobody', async () => {
    const { compute } = await start({ ingestLagBytesMax: ahead });
    const client = await running!.superuser();
    await client.query('create table loaded (payload text)');
    const begin = world.acceptors.log(1).flushLsn;
    world.ingested(begin);
    let isDone = false;
    const loaded = load(client).then(() => (isDone = true)); // 10 MB of WAL
    while ((await lagOf()).state !== 'held') await delay(10);
    await delay(300);
    expect(isDone).toBe(false);
    const most = () => Math.max(...[1, 2, 3].map((n) => world.acceptors.log(n).flushLsn));
    // What one read of Postgres's stream brings may be over it.
    expect(most() - begin).toBeGreaterThan(ahead / 2);
    expect(most() - begin).toBeLessThan(ahead + (1 << 20));
    const held = most();
    world.ingested(lsnPlus(begin, 2 << 20));
    while (most() - held < 1 << 20) await delay(10);
    await delay(300);
    expect(most() - begin).toBeLessThan(ahead + (3 << 20));
    expect(isDone).toBe(false);
    for (const socket of world.pageSockets) socket.close();
    await loaded;
    expect(await lagOf()).toMatchObject({ state: 'unknown' });
    await client.end();
    expect(await compute.suspend()).toBe(EXIT.suspended);
  });

  test('and stays there is not waited for; at its end a compute waits for none', async () => {
    const { compute } = await start({ ingestLagBytesMax: ahead });
    const client = await running!.superuser();
    await client.query('create table loaded (payload text)');
    world.ingested(world.acceptors.log(1).flushLsn);
    const begin = performance.now();
    await load(client);
    expect(performance.now() - begin).toBeGreaterThan(5_000);
    expect(await lagOf()).toMatchObject({ state: 'lapsed' });
    world.ingested(lsnPlus(world.acceptors.log(1).flushLsn, -ahead - 1000));
    const late = client.query('create role late').catch(() => undefined);
    while ((await lagOf()).state !== 'held') await delay(10);
    expect(await compute.suspend()).toBe(EXIT.suspended);
    await late;
    expect(world.acceptors.wal(1).includes('late')).toBe(true);
  });
});

describe('what its Durable Object asks', () => {
  test('only with the token', async () => {
    await start();
    expect(
      (await running!.http('GET', '/status', undefined, { authorization: 'Bearer another' })).status,
    ).toBe(401);
    expect(
      (await running!.http('GET', '/healthz', undefined, { authorization: 'Bearer another' })).status,
    ).toBe(204);
  });

  test('apply makes roles and databases, and they are reported', async () => {
    await start();
    const { secret } = await scramSecret('sun');
    const spec = {
      roles: [{ name: 'ada', scramSecret: secret, owner: true }],
      databases: [{ name: 'shop', owner: 'ada' }],
    };
    const empty = { roles: [], databases: [], droppedRoles: [], droppedDatabases: [] };
    expect((await running!.http('POST', '/apply', { ...empty, ...spec })).status).toBe(204);
    const { roles } = await world.untilRole('ada');
    expect(roles.find(({ name }) => name === 'ada')).toEqual({
      name: 'ada',
      scramSecret: secret,
      canLogin: true,
    });
    expect(roles.some(({ name }) => name === 'ebb_admin' || name.startsWith('pg_'))).toBe(false);
    await (await running!.client('ada', 'sun', 'shop')).end();
    const refused = await running!.http('POST', '/apply', { ...empty, droppedRoles: ['ebb_admin'] });
    expect(refused.status).toBe(400);
    expect((await running!.http('POST', '/apply', { roles: 1 })).status).toBe(400);
  });

  test('cancel reaches exactly the backend, by its key', async () => {
    await start();
    const client = await running!.client();
    const answer = client.query('select pg_sleep(600)').catch((error: unknown) => error);
    const activity = async () =>
      ((await (await running!.http('GET', '/activity')).json()) as { activeQueries: number }).activeQueries;
    while ((await activity()) === 0);
    const key = Buffer.alloc(4);
    const cancel = (secret: number) => {
      key.writeInt32BE(secret);
      return running!.http('POST', '/cancel', { pid: pidOf(client), key: key.toString('base64') });
    };
    const { secretKey } = client as unknown as { secretKey: number };
    expect((await cancel(secretKey ^ 1)).status).toBe(204); // a wrong key does nothing, and says nothing
    expect(await activity()).toBe(1);
    expect((await cancel(secretKey)).status).toBe(204);
    expect(await answer).toMatchObject({ code: '57014' });
    expect((await running!.http('POST', '/cancel', { pid: 'x', key: '' })).status).toBe(400);
    await client.end();
  });

  test('sql runs, and counts as activity', async () => {
    await start();
    const { clientKey } = await scramSecret('moon');
    const query = { query: 'select $1::int + 1 as a', params: [1] };
    const answer = await running!.http('POST', '/sql', query, {
      [SQL_HEADER.role]: 'conrad',
      [SQL_HEADER.database]: 'postgres',
      [SQL_HEADER.clientKey]: Buffer.from(clientKey).toString('base64'),
    });
    expect(await answer.json()).toMatchObject({ rows: [{ a: 2 }] });
  });
});

describe('roles made by SQL', () => {
  test('are reported once their transaction has ended', async () => {
    await start();
    await world.untilRole('conrad');
    const client = await running!.client();
    await client.query('begin');
    await client.query("create role by_sql login password 'x'");
    const other = await running!.client();
    await other.query('create role other_role');
    await world.untilRole('other_role');
    expect(world.told.findLast(({ what }) => what === 'POST /roles')?.body).not.toMatchObject({
      roles: expect.arrayContaining([expect.objectContaining({ name: 'by_sql' })]) as unknown,
    });
    await client.query('commit');
    await world.untilRole('by_sql');
    await other.query('drop role by_sql');
    await world.untilTold<{ roles: { name: string }[] }>(
      'POST /roles',
      ({ roles }) =>
        roles.some(({ name }) => name === 'other_role') && !roles.some(({ name }) => name === 'by_sql'),
    );
    await Promise.all([client.end(), other.end()]);
  });
});

describe('sleep', () => {
  test('comes when nobody is there, and only when the Durable Object agrees', async () => {
    world = await World.create({ suspendAfterMs: 300 });
    world.mayStop = false;
    running = await world.compute(anyMode);
    await running.http('GET', '/ready');
    await world.untilTold('POST /idle');
    world.mayStop = true;
    expect(await running.compute.exited).toBe(EXIT.suspended);
  });

  test('does not come while a client is connected, nor while its query runs on', async () => {
    await start({ suspendAfterMs: 200 });
    const client = await running!.client();
    const admin = await running!.superuser();
    void client.query('select pg_sleep(1.0)').catch(() => undefined);
    await new Promise<void>((resolve) => {
      const poll = async (): Promise<void> => {
        const { rows } = await admin.query(
          "select 1 from pg_stat_activity where query like 'select pg_sleep%' and state = 'active'",
        );
        if (rows.length > 0) resolve();
        else await poll();
      };
      void poll();
    });
    expect(world.told.some(({ what }) => what === 'POST /idle')).toBe(false);
    (client as unknown as { connection: { stream: { destroy: () => void } } }).connection.stream.destroy();
    expect(await running!.compute.exited).toBe(EXIT.suspended);
    await admin.end();
  });
});

test('a transaction may write far ahead of the quorum: its WAL is kept until it is taken', async () => {
  await start({ settings: { max_wal_size: '64MB', min_wal_size: '32MB' } });
  const admin = await running!.superuser();
  for (const n of [1, 2]) world.acceptors.away(n);
  await admin.query('begin');
  await admin.query(
    `create table pg_temp_ahead as select repeat(md5(g::text), 60) as t from generate_series(1, 55000) g`,
  );
  await admin.query('checkpoint');
  await admin.query('checkpoint');
  const { rows } = await admin.query(
    'select wal_status, pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn) > 100e6 as far from pg_replication_slots',
  );
  expect(rows).toEqual([{ wal_status: 'extended', far: true }]);
  const commit = admin.query('commit');
  for (const n of [1, 2]) world.acceptors.back(n);
  await commit;
  await admin.end();
});

describe('the other ways out', () => {
  test('a newer term stops it, and no commit of the old one is acknowledged', async () => {
    await start();
    const client = await running!.client();
    await client.query('create temporary table warm (a int)');
    const { acceptors } = world;
    const successor = new Proposer({ timeline: world.spec.timeline, term: 2, connect: acceptors.connect });
    const { startLsn } = await successor.elect();
    const outcome = await client.query('create role never').then(
      () => 'acknowledged',
      () => 'refused',
    );
    expect(outcome).toBe('refused');
    expect(await running!.compute.exited).toBe(EXIT.superseded);
    expect(world.told).toContainEqual({ what: 'POST /superseded', body: { term: 2 } });
    expect(startLsn).toBeGreaterThan(acceptors.startLsn);
    await successor.close();
  });

  test('a term that is superseded already does not boot', async () => {
    world = await World.create();
    const successor = new Proposer({
      timeline: world.spec.timeline,
      term: 5,
      connect: world.acceptors.connect,
    });
    await successor.elect();
    running = await world.compute(anyMode);
    const response = await running.http('GET', '/ready');
    expect(response.status).toBe(503);
    expect(await response.json()).toMatchObject({ code: 'superseded' });
    expect(await running.compute.exited).toBe(EXIT.superseded);
    await successor.close();
  });

  test('a backend that is killed takes everything with it: no recovery on its own files', async () => {
    await start();
    const client = await running!.client();
    process.kill(pidOf(client), 'SIGKILL');
    expect(await running!.compute.exited).toBe(EXIT.crashed);
  });

  test('a cancelled commit without a quorum is an unknown outcome to its client', async () => {
    await start();
    const [client, admin] = [await running!.client(), await running!.superuser()];
    await client.query('select 1');
    world.acceptors.acceptors[0].silent = true;
    world.acceptors.acceptors[1].silent = true;
    const answer = client.query('create role maybe').catch((error: unknown) => error);
    const waits = async (): Promise<boolean> =>
      (
        await admin.query("select 1 from pg_stat_activity where pid = $1 and wait_event = 'SyncRep'", [
          pidOf(client),
        ])
      ).rows.length > 0;
    while (!(await waits()));
    await admin.query('select pg_cancel_backend($1)', [pidOf(client)]);
    expect(await answer).toMatchObject({ code: '08007' });
    world.acceptors.acceptors[0].silent = false;
    world.acceptors.acceptors[1].silent = false;
    await admin.end();
  });

  test('a setting that cannot be is a failure that says so', async () => {
    world = await World.create({ settings: { archive_command: 'id' } });
    running = await world.compute(anyMode);
    const response = await running.http('GET', '/ready');
    expect(await response.json()).toEqual({
      code: 'failed',
      message: 'setting archive_command cannot be changed',
    });
    expect(await running.compute.exited).toBe(EXIT.failed);
  });
});
