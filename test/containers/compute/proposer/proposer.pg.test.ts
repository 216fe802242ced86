/**
 * The proposer shell between a real Postgres, booted normally, and three acceptors in memory.
 */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { Proposer } from '../../../../containers/compute/proposer/proposer.ts';
import { formatLsn, parseLsn, type Lsn } from '../../../../lib/postgres/lsn.ts';
import {
  segmentFileName,
  segmentNumber,
  segmentStart,
  WAL_SEGMENT_BYTES,
} from '../../../../lib/postgres/wal/geometry.ts';
import type { TimelineSpec } from '../../../../lib/protocol/specs.ts';
import { PostgresCluster } from '../../../support/postgres-cluster.ts';
import { MemoryAcceptors } from './memory-acceptors.ts';

const SETTINGS = {
  wal_level: 'replica',
  synchronous_standby_names: 'ebb_proposer',
  synchronous_commit: 'on',
  fsync: 'off',
  full_page_writes: 'off',
  wal_keep_size: '1GB',
  autovacuum: 'off',
};

interface World {
  cluster: PostgresCluster;
  acceptors: MemoryAcceptors;
  socketPath: string;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Postgres whose WAL from now on is a timeline. */
async function world(): Promise<World> {
  const cluster = await PostgresCluster.create({ settings: SETTINGS });
  const [row] = await cluster.query<{ lsn: string; id: string }>(
    `SELECT pg_current_wal_flush_lsn()::text AS lsn, system_identifier::text AS id FROM pg_control_system()`,
  );
  const timeline: TimelineSpec = {
    projectId: 'quiet-tide-1',
    timelineId: 'c0ffee00c0ffee00c0ffee00c0ffee00',
    postgresMajor: 18,
    systemIdentifier: row.id,
    startLsn: row.lsn,
    origin: { kind: 'template' },
  };
  return {
    cluster,
    acceptors: new MemoryAcceptors(timeline),
    socketPath: join(cluster.socketDirectory, `.s.PGSQL.${cluster.port}`),
    [Symbol.asyncDispose]: () => cluster.remove(),
  };
}
const propose = ({ acceptors }: World, term: number, extra: object = {}): Proposer =>
  new Proposer({ timeline: acceptors.timeline, term, connect: acceptors.connect, ...extra });
const streaming = ({ socketPath }: World) => ({ socketPath, user: 'ebb_admin' });

/** The WAL in [from, to) as Postgres has it in its own files. */
function ownWal(cluster: PostgresCluster, from: Lsn, to: Lsn): Buffer {
  const parts: Buffer[] = [];
  for (let at: number = segmentStart(from); at < to; at += WAL_SEGMENT_BYTES) {
    const name = segmentFileName(1, segmentNumber(at as Lsn));
    const segment = readFileSync(join(cluster.dataDirectory, 'pg_wal', name));
    parts.push(segment.subarray(Math.max(from - at, 0), Math.min(to - at, WAL_SEGMENT_BYTES)));
  }
  return Buffer.concat(parts);
}

test('commits return when a quorum has them, and the acceptors hold exactly the WAL', async () => {
  await using w = await world();
  const records: number[] = [];
  const proposer = propose(w, 1, { onRecord: (record: { lsn: Lsn }) => records.push(record.lsn) });
  const election = await proposer.elect();
  expect(election).toEqual({ term: 1, startLsn: parseLsn(w.acceptors.timeline.startLsn) });
  await proposer.startStreaming(streaming(w));
  const client = await w.cluster.connect();
  await client.query('CREATE TABLE t (a int, b text)');
  await client.query(`INSERT INTO t SELECT i, repeat('x', 500) FROM generate_series(1, 20000) i`);
  const { rows } = await client.query<{ lsn: string }>('SELECT pg_current_wal_insert_lsn()::text AS lsn');
  expect(proposer.commitLsn).toBeGreaterThan(w.acceptors.startLsn + 10_000_000);

  // Postgres stops in order: it waits until all of its WAL is acknowledged, the shutdown checkpoint included.
  const ended = once(proposer, 'ended');
  await client.end();
  await w.cluster.stop();
  await ended;
  expect(proposer.commitLsn).toBeGreaterThanOrEqual(parseLsn(rows[0].lsn));
  expect(proposer.commitLsn).toBe(proposer.flushedByPostgresLsn);
  await proposer.close();
  const expected = ownWal(w.cluster, w.acceptors.startLsn, proposer.commitLsn);
  for (const n of [1, 2, 3]) {
    expect(w.acceptors.log(n).flushLsn, `acceptor ${n}`).toBe(proposer.commitLsn);
    expect(w.acceptors.log(n).commitLsn, `acceptor ${n}`).toBe(proposer.commitLsn);
    expect(w.acceptors.acceptors[n - 1].state.left).toBe(true);
    expect(Buffer.compare(w.acceptors.wal(n), expected), `WAL of acceptor ${n}`).toBe(0);
  }
  expect(records.length).toBeGreaterThan(20_000);
  expect(records).toEqual(records.toSorted((a, b) => a - b));
});

test('one acceptor down: commits go on; it is fed when it comes back; two down: they wait', async () => {
  await using w = await world();
  const proposer = propose(w, 1, { limits: { bufferBytesMax: 1 << 20 } });
  await proposer.elect();
  await proposer.startStreaming(streaming(w));
  const client = await w.cluster.connect();
  await client.query('CREATE TABLE t (a int, b text)');
  w.acceptors.away(3);
  await client.query(`INSERT INTO t SELECT i, repeat('x', 500) FROM generate_series(1, 20000) i`);
  expect(w.acceptors.log(3).flushLsn).toBeLessThan(proposer.commitLsn - 1_000_000);

  w.acceptors.away(2);
  let returned = false;
  const waiting = client.query(`INSERT INTO t VALUES (0, 'alone')`).then(() => (returned = true));
  await untilFlushed(w, 1, async () => {
    const [row] = await w.cluster.query<{ lsn: string }>('SELECT pg_current_wal_flush_lsn()::text AS lsn');
    return parseLsn(row.lsn);
  });
  const [alone] = await w.cluster.query<{ wait: string }>(
    `SELECT wait_event AS wait FROM pg_stat_activity WHERE wait_event = 'SyncRep'`,
  );
  expect(alone).toEqual({ wait: 'SyncRep' });
  expect(returned).toBe(false);
  w.acceptors.back(3); // far behind the buffer: it is fed with WAL that acceptor 1 is asked for
  await waiting;
  w.acceptors.back(2);
  await client.query(`INSERT INTO t VALUES (0, 'all')`);
  await client.end();
  await w.cluster.stop();
  await proposer.close();
  await expect.poll(() => w.acceptors.log(3).flushLsn).toBe(proposer.commitLsn);
  const expected = ownWal(w.cluster, w.acceptors.startLsn, proposer.commitLsn);
  for (const n of [1, 3]) expect(Buffer.compare(w.acceptors.wal(n), expected), `acceptor ${n}`).toBe(0);
});

/** Waits until acceptor `n` has what Postgres has flushed. */
async function untilFlushed(w: World, n: number, flushed: () => Promise<Lsn>): Promise<void> {
  const position = await flushed();
  await expect.poll(() => w.acceptors.log(n).flushLsn).toBeGreaterThanOrEqual(position);
}

test('a superseded proposer acknowledges nothing more, and its compute cannot commit', async () => {
  await using w = await world();
  const first = propose(w, 1);
  await first.elect();
  await first.startStreaming(streaming(w));
  const client = await w.cluster.connect();
  await client.query('CREATE TABLE t (a int)');
  const committed = first.commitLsn;

  const superseded = once(first, 'superseded');
  const second = propose(w, 2);
  const election = await second.elect();
  expect(election.startLsn).toBeGreaterThanOrEqual(committed);
  // The first one learns of it when it appends; until then, and ever after, the commit waits.
  let returned = false;
  const waiting = client.query('INSERT INTO t VALUES (1)').then(
    () => (returned = true),
    () => undefined,
  );
  expect(await superseded).toEqual([2]);
  await expect(first.waitForCommit((first.commitLsn + 1) as Lsn, 10_000)).rejects.toMatchObject({
    code: 'superseded',
  });
  await expect(first.startStreaming(streaming(w))).rejects.toMatchObject({ code: 'superseded' });
  expect(returned).toBe(false);
  for (const n of [1, 2, 3])
    await expect.poll(() => w.acceptors.log(n)).toMatchObject({ term: 2, flushLsn: election.startLsn });
  await w.cluster.stop('immediate');
  await waiting;
  expect(returned).toBe(false);

  // The same term again, from another process, and an older one: no.
  await expect(propose(w, 2).elect()).rejects.toMatchObject({ code: 'superseded' });
  await expect(propose(w, 1).elect()).rejects.toMatchObject({ code: 'superseded' });
  await second.close();
});

test('no quorum: elect says unavailable and why', async () => {
  const timeline: TimelineSpec = {
    projectId: 'p',
    timelineId: '00000000000000000000000000000001',
    postgresMajor: 18,
    systemIdentifier: '1',
    startLsn: '0/3000000',
    origin: { kind: 'template' },
  };
  const acceptors = new MemoryAcceptors(timeline);
  acceptors.away(1);
  acceptors.away(3);
  const proposer = new Proposer({ timeline, term: 1, connect: acceptors.connect });
  await expect(proposer.elect(500)).rejects.toThrow(/no quorum for term 1 within 500 ms: safekeeper 1: away/);
  await proposer.close();
});

test('a WAL stream that breaks is taken up where it stopped; commits in between only wait', async () => {
  await using w = await world();
  const proposer = propose(w, 1);
  await proposer.elect();
  await proposer.startStreaming(streaming(w));
  const client = await w.cluster.connect();
  await client.query('CREATE TABLE t (a int)');
  await client.query(`SELECT pg_terminate_backend(pid) FROM pg_stat_replication`);
  await client.query('INSERT INTO t SELECT generate_series(1, 5000)');
  const lsn = await client.query<{ lsn: string }>('SELECT pg_current_wal_flush_lsn()::text AS lsn');
  await proposer.waitForCommit(parseLsn(lsn.rows[0].lsn), 10_000);
  await client.end();
  await w.cluster.stop();
  await proposer.close();
  const expected = ownWal(w.cluster, w.acceptors.startLsn, proposer.commitLsn);
  for (const n of [1, 2, 3]) expect(Buffer.compare(w.acceptors.wal(n), expected), `acceptor ${n}`).toBe(0);
  expect(formatLsn(proposer.commitLsn)).toBe(formatLsn(proposer.flushedByPostgresLsn));
});

test('a record larger than every limit streams through', async () => {
  await using w = await world();
  const limits = { bufferBytesMax: 1 << 20, unwrittenBytesMax: 2 << 20, bytesInFlightMax: 1 << 20 };
  const proposer = propose(w, 1, { limits });
  await proposer.elect();
  await proposer.startStreaming(streaming(w));
  const client = await w.cluster.connect();
  const { rows } = await client.query<{ lsn: string }>(
    `SELECT pg_logical_emit_message(true, 'large', repeat('y', 40 << 20))::text AS lsn`,
  );
  expect(proposer.commitLsn).toBeGreaterThanOrEqual(parseLsn(rows[0].lsn));
  await client.end();
  await w.cluster.stop();
  await proposer.close();
  for (const n of [1, 2]) expect(w.acceptors.log(n).commitLsn).toBe(proposer.commitLsn);
});
