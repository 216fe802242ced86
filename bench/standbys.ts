/**
 * The baseline of commits: the same Postgres build with two real synchronous standbys, `ANY 1 (a, b)`, each of the
 * three with fsync on and a data directory of its own on this machine's disk.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PostgresCluster } from '../test/support/postgres-cluster.ts';
import { freePort } from './support.ts';

const DURABLE = { fsync: 'on', shared_buffers: '128MB', max_wal_size: '4GB' };

export interface ReplicatedPostgres {
  url: string;
  stop(): Promise<void>;
}

export async function startWithStandbys(): Promise<ReplicatedPostgres> {
  const port = await freePort();
  const primary = await PostgresCluster.create({
    settings: {
      ...DURABLE,
      listen_addresses: '127.0.0.1',
      port: String(port),
      wal_level: 'replica',
      wal_keep_size: '2GB',
      synchronous_commit: 'on',
    },
  });
  await primary.stop();
  const standbys: PostgresCluster[] = [];
  for (const name of ['a', 'b']) {
    const standby = await PostgresCluster.prepare({
      copyOf: primary.dataDirectory,
      settings: {
        ...DURABLE,
        port: String(await freePort()),
        primary_conninfo: `host=127.0.0.1 port=${port} user=ebb_admin application_name=${name}`,
      },
    });
    writeFileSync(join(standby.dataDirectory, 'standby.signal'), '', { mode: 0o644 });
    standbys.push(standby);
  }
  await primary.start({ synchronous_standby_names: 'ANY 1 (a,b)' });
  for (const standby of standbys) await standby.start();
  await bothAreSynchronous(primary);
  return {
    url: `postgres://ebb_admin@127.0.0.1:${port}/postgres`,
    async stop() {
      for (const cluster of [...standbys, primary]) await cluster.remove();
    },
  };
}

/** Throws unless both stream and count within ten seconds: a benchmark against fewer would measure something easier. */
async function bothAreSynchronous(primary: PostgresCluster): Promise<void> {
  const giveUpAt = performance.now() + 10_000;
  for (;;) {
    const rows = await primary.query(
      `SELECT application_name FROM pg_stat_replication WHERE sync_state = 'quorum' AND state = 'streaming'`,
    );
    if (rows.length === 2) return;
    if (performance.now() > giveUpAt) throw new Error(`${rows.length} synchronous standbys: 2 expected`);
    await primary.query(`SELECT pg_sleep(0.05)`);
  }
}
