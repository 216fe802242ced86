/**
 * WAL on its way out of the safekeepers: to readers, to object storage, and from there back to readers.
 */
import { expect, test } from 'vitest';
import { REFUSALS } from '../../../lib/consensus/messages.ts';
import { formatLsn, lsn, lsnPlus } from '../../../lib/postgres/lsn.ts';
import { segmentFileName, WAL_SEGMENT_BYTES } from '../../../lib/postgres/wal/geometry.ts';
import { WAL_WINDOW_BYTES } from '../../../lib/protocol/wal-stream.ts';
import { Driver, walBytes } from './driver.ts';
import { SafekeeperEdge } from './edge.ts';
import { Reader, reportAll } from './reader.ts';

const START = lsn(0x3000000);

test('a reader gets committed WAL only, at once, and waits for what is not there yet', async () => {
  await using edge = await SafekeeperEdge.start();
  expect((await fetch(edge.url(1, 'wal?from=0/3000000'))).status).toBe(404);
  const driver = await new Driver(edge, 1).elected();
  const reader = new Reader(edge, 1, START, reportAll);
  const later = new Reader(edge, 2, lsnPlus(START, 700));
  for (const size of [300, 500, 20_000, 9]) {
    const at = driver.state.buffer.endLsn;
    const end = driver.push(walBytes(at, size));
    expect(await reader.upTo(end)).toEqual(walBytes(START, end - START));
    expect(driver.state.commitLsn).toBe(end);
  }
  const end = driver.state.buffer.endLsn;
  expect(await later.upTo(end)).toEqual(walBytes(lsnPlus(START, 700), end - START - 700));
  // Not a quorum, so not committed, so not seen.
  await driver.part(2);
  await driver.part(3);
  driver.push(walBytes(end, 100));
  await driver.when(({ acceptors }) => acceptors[0].flushLsn === end + 100);
  driver.join(3);
  await driver.committed(lsnPlus(end, 100));
  await reader.upTo(lsnPlus(end, 100));
  expect(reader.commitLsn).toBe(end + 100);

  for (const [path, status] of [
    ['wal?from=0/2FFFFF8', 416],
    ['wal?from=nonsense', 400],
    ['wal', 400],
    ['wal?from=0/3000000', 426],
    ['elsewhere', 404],
  ] as const) {
    expect((await fetch(edge.url(1, path))).status, path).toBe(status);
  }
  await driver.stop();
});

test('a reader that reports nothing gets one window; malformed and impossible reports end it', async () => {
  await using edge = await SafekeeperEdge.start();
  const driver = await new Driver(edge, 1).elected();
  const total = WAL_WINDOW_BYTES + (3 << 20);
  await driver.pushMany(total, 700_000, walBytes);
  await driver.everywhere();
  const reader = new Reader(edge, 1, START);
  await reader.upTo(lsnPlus(START, WAL_WINDOW_BYTES));
  const status = await edge.status(1);
  expect(status.readers).toMatchObject([{ sentLsn: formatLsn(lsnPlus(START, WAL_WINDOW_BYTES)) }]);
  expect(reader.endLsn).toBe(START + WAL_WINDOW_BYTES);
  reader.report(reader.endLsn);
  const all = await reader.upTo(lsnPlus(START, total));
  expect(Buffer.compare(all, walBytes(START, total))).toBe(0);

  reader.report(lsnPlus(START, total + 1));
  expect(await reader.closed.promise).toMatchObject({ code: REFUSALS.outOfRange.code });
  for (const garbage of [new Uint8Array([1, 2, 3]), new Uint8Array(0), 'text']) {
    const other = new Reader(edge, 1, lsnPlus(START, total));
    other.socket.addEventListener('open', () => other.socket.send(garbage));
    expect(await other.closed.promise).toMatchObject({ code: REFUSALS.malformed.code });
  }
  await driver.stop();
});

test('finished segments and the tail are in the bucket, byte for byte; trimmed WAL is read from there', async () => {
  await using edge = await SafekeeperEdge.start();
  const bucket = await edge.bucket();
  const prefix = `projects/${edge.timeline.projectId}/wal/${edge.timeline.timelineId}/`;
  const keys = async (): Promise<string[]> =>
    (await bucket.list({ prefix })).objects.map((object) => object.key.slice(prefix.length)).toSorted();
  const object = async (name: string): Promise<Uint8Array> =>
    new Uint8Array(await (await bucket.get(prefix + name))!.arrayBuffer());

  // A first session ends in the middle of a segment.
  const first = await new Driver(edge, 1).elected();
  await first.pushMany(5_000_000, 900_000, walBytes);
  await first.everywhere();
  const tail = first.state.commitLsn;
  await first.leave();
  const partial = `${segmentFileName(1, 3)}.${tail.toString(16).toUpperCase().padStart(16, '0')}.partial`;
  await expect.poll(keys).toEqual([partial]);
  expect(Buffer.compare(await object(partial), walBytes(START, tail - START))).toBe(0);

  // A second one finishes it.
  const second = await new Driver(edge, 2).elected();
  expect(second.state.termStartLsn).toBe(tail);
  await second.pushMany(WAL_SEGMENT_BYTES + 2_000_000 - 5_000_000, 1_000_000, walBytes);
  await second.everywhere();
  const end = second.state.commitLsn;
  const names = [segmentFileName(1, 3)];
  await expect.poll(keys, { timeout: 20_000 }).toEqual(names);
  for (const [i, name] of names.entries()) {
    const at = lsnPlus(START, i * WAL_SEGMENT_BYTES);
    expect(Buffer.compare(await object(name), walBytes(at, WAL_SEGMENT_BYTES)), name).toBe(0);
  }

  // Nothing is trimmed before the pageserver says that it does not need it.
  for (const n of [1, 2, 3]) expect((await edge.status(n)).localBeginLsn).toBe(formatLsn(START));
  const reader = new Reader(edge, 1, START, reportAll);
  await reader.upTo(end);
  second.push(walBytes(end, 10)); // an append tells the acceptors that all three have what is before
  await second.everywhere();
  const boundary = lsnPlus(START, WAL_SEGMENT_BYTES);
  reader.report(end, lsnPlus(boundary, 5));
  for (const n of [1, 2, 3]) {
    await expect
      .poll(() => edge.status(n).then((status) => status.localBeginLsn), { timeout: 20_000 })
      .not.toBe(formatLsn(START));
    expect((await edge.status(n)).backupLsn).toBe(formatLsn(boundary));
  }
  // A reader that begins at the very beginning does not notice.
  for (const n of [1, 3]) {
    const again = new Reader(edge, n, START, reportAll);
    const all = await again.upTo(lsnPlus(end, 10));
    expect(Buffer.compare(all, walBytes(START, end + 10 - START)), `safekeeper ${n}`).toBe(0);
    again.socket.close();
  }
  await second.leave();
  await edge.kill();
  await edge.restart();
  const third = await new Driver(edge, 3).elected();
  expect(third.state.termStartLsn).toBe(end + 10);
  await third.stop();
});

test('the one that was named to back up dies with its storage before the tail is copied: another one does it', async () => {
  await using edge = await SafekeeperEdge.start();
  const bucket = await edge.bucket();
  const prefix = `projects/${edge.timeline.projectId}/wal/${edge.timeline.timelineId}/`;
  const driver = await new Driver(edge, 1).elected();
  await driver.pushMany(300_000, 50_000, walBytes);
  await driver.everywhere();
  const { backupBy, commitLsn } = driver.state;
  await edge.bucketFails(true);
  await driver.leave();
  await fetch(edge.url(backupBy, 'remove'));
  await edge.bucketFails(false);
  const next = await new Driver(
    edge,
    2,
    [1, 2, 3].filter((n) => n !== backupBy),
  ).elected();
  expect(next.state.backupBy).not.toBe(backupBy);
  await next.when(({ acceptors }) =>
    acceptors.every(({ at, flushLsn }) => at.phase !== 'streaming' || at.toldCommitLsn === flushLsn),
  );
  await next.leave();
  const end = next.state.commitLsn;
  expect(end).toBe(commitLsn);
  const partial = `${segmentFileName(1, 3)}.${end.toString(16).toUpperCase().padStart(16, '0')}.partial`;
  await expect
    .poll(async () => (await bucket.list({ prefix })).objects.map(({ key }) => key.slice(prefix.length)), {
      timeout: 20_000,
    })
    .toEqual([partial]);
});
