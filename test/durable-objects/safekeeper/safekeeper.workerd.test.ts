/**
 * Three real safekeepers in workerd: quorum, catch-up, supersession, and kill -9 in the middle of appends.
 */
import { expect, test } from 'vitest';
import { formatLsn, lsn, lsnPlus, parseLsn, type Lsn } from '../../../lib/postgres/lsn.ts';
import { Driver, walBytes } from './driver.ts';
import { SafekeeperEdge } from './edge.ts';

const START = lsn(0x3000000);
const range = (from: Lsn, to: Lsn): string => `from=${formatLsn(from)}&to=${formatLsn(to)}`;

test('a commit is durable on a quorum; all three hold the same bytes; an unfinished record is never committed', async () => {
  await using edge = await SafekeeperEdge.start();
  expect((await fetch(edge.url(1, 'inspect/status'))).status).toBe(404);
  const driver = await new Driver(edge, 1).elected();
  expect(driver.state.termStartLsn).toBe(START);
  for (let i = 1; i <= 20; i++)
    await driver.committed(driver.push(walBytes(driver.state.buffer.endLsn, i * 100)));
  const end = driver.state.buffer.endLsn;
  driver.push(walBytes(end, 5000), false);
  await driver.everywhere();
  await driver.when(({ acceptors }) =>
    acceptors.every(({ at }) => at.phase === 'streaming' && at.writtenLsn === end + 5000),
  );
  for (const n of [1, 2, 3]) {
    const status = await edge.status(n);
    expect(status).toMatchObject({ term: 1, flushLsn: formatLsn(end), commitLsn: formatLsn(end) });
    expect(status.writtenLsn).toBe(formatLsn(lsnPlus(end, 5000)));
    expect(await edge.wal(n, range(START, end))).toEqual(walBytes(START, end - START));
    const beyond = lsnPlus(end, 5000);
    expect(await edge.wal(n, `${range(end, beyond)}&uncommitted=1`)).toEqual(walBytes(end, 5000));
    await expect(edge.wal(n, range(end, beyond))).rejects.toThrow(/416/);
  }
  // The next proposer begins at the record's end: the unfinished bytes are cut off.
  const next = await new Driver(edge, 2).elected();
  expect(next.state.termStartLsn).toBe(end);
  await next.everywhere();
  for (const n of [1, 2, 3])
    expect(await edge.status(n)).toMatchObject({ term: 2, writtenLsn: formatLsn(end) });
  await next.stop();
});

test('one safekeeper down: commits go on, and it is fed by a peer when it comes', async () => {
  await using edge = await SafekeeperEdge.start();
  const driver = await new Driver(edge, 1, [1, 2]).elected();
  await driver.pushMany(20 << 20, 100_000, walBytes); // more than the proposer keeps
  driver.push(walBytes(driver.state.buffer.endLsn, 77));
  const end = driver.state.buffer.endLsn;
  await driver.committed(end);
  driver.join(3);
  await driver.everywhere();
  expect(await edge.status(3)).toMatchObject({ flushLsn: formatLsn(end), commitLsn: formatLsn(end) });
  expect(Buffer.compare(await edge.wal(3, range(START, end)), walBytes(START, end - START))).toBe(0);
  // Now the two that were there first go, and the third one's log is enough for a new quorum.
  await driver.part(1);
  await driver.committed(driver.push(walBytes(end, 1000)));
  await driver.stop();
  const next = await new Driver(edge, 2, [1, 3]).elected();
  expect(next.state.termStartLsn).toBe(end + 1000);
  await next.stop();
});

test('a superseded proposer can append nowhere, and its divergent tail is cut', async () => {
  await using edge = await SafekeeperEdge.start();
  const first = await new Driver(edge, 1).elected();
  await first.committed(first.push(walBytes(START, 1000)));
  await first.part(2);
  await first.part(3);
  const tail = first.push(walBytes(lsn(START + 1000), 500)); // on safekeeper 1 only
  await first.when(({ acceptors }) => acceptors[0].flushLsn === tail);
  const second = await new Driver(edge, 2, [2, 3]).elected();
  expect(second.state.termStartLsn).toBe(START + 1000);
  const end = second.push(walBytes(lsn(START + 1000), 300, 0x55));
  await second.committed(end);
  first.join(2);
  await first.when(({ phase }) => phase === 'superseded');
  expect(first.state).toMatchObject({ supersededBy: 2, commitLsn: START + 1000 });
  second.join(1);
  await second.everywhere();
  const status = await edge.status(1);
  expect(status).toMatchObject({ term: 2, flushLsn: formatLsn(end), commitLsn: formatLsn(end) });
  expect(status.history.map((entry) => entry.term)).toEqual([0, 1, 2]);
  const kept = await edge.wal(1, range(lsn(START + 1000), end));
  expect(kept).toEqual(walBytes(lsn(START + 1000), 300, 0x55));
  await Promise.all([first.stop(), second.stop()]);
});

test('what a proposer committed last is known after a restart, once it has left', async () => {
  await using edge = await SafekeeperEdge.start();
  const driver = await new Driver(edge, 1).elected();
  const end = driver.push(walBytes(START, 3000));
  await driver.everywhere();
  await driver.leave();
  const by = driver.state.backupBy;
  await expect.poll(() => edge.status(by).then((status) => status.partialBackupLsn)).toBe(formatLsn(end));
  await edge.kill();
  await edge.restart();
  for (const n of [1, 2, 3]) expect(parseLsn((await edge.status(n)).commitLsn)).toBe(end);
  expect((await fetch(edge.url(1, 'remove'))).status).toBe(204);
  expect((await fetch(edge.url(1, 'inspect/status'))).status).toBe(404);
});
