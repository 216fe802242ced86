import { expect, test } from 'vitest';
import { PostgresCluster } from './postgres-cluster.ts';

test('a cluster starts, keeps what it committed over a kill, and leaves nothing behind', async () => {
  await using cluster = await PostgresCluster.create({ settings: { wal_level: 'replica' } });
  await cluster.query('create table t (a int); insert into t values (1)');
  await cluster.kill();
  await cluster.start();
  expect(await cluster.query('select a from t where a = $1', [1])).toEqual([{ a: 1 }]);
  await cluster.stop();
  await cluster.start();
  expect(await cluster.query('select current_user, a from t')).toEqual([{ current_user: 'ebb_admin', a: 1 }]);
});
