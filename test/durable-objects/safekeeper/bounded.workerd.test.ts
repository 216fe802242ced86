/**
 * What a safekeeper keeps is bounded, whoever is away: object storage, the pageserver, a peer.
 */
import { expect, test } from 'vitest';
import { wantsWal } from '../../../lib/consensus/proposer-state.ts';
import { formatLsn, lsn, lsnPlus, parseLsn } from '../../../lib/postgres/lsn.ts';
import { WAL_SEGMENT_BYTES } from '../../../lib/postgres/wal/geometry.ts';
import { Driver, walBytes } from './driver.ts';
import { SafekeeperEdge } from './edge.ts';
import { Reader, reportAll } from './reader.ts';

const START = lsn(0x3000000);
const MIB = 1 << 20;
const BYTES_MAX = 34 * MIB;
const KEPT_BYTES = 4 * MIB;
const bounded = () =>
  SafekeeperEdge.start({
    SAFEKEEPER_WAL_BYTES_MAX: String(BYTES_MAX),
    SAFEKEEPER_WAL_KEPT_BYTES: String(KEPT_BYTES),
  });

test('object storage is away: the proposer is held back, no connection ends, and all goes on when it is back', async () => {
  await using edge = await bounded();
  const driver = await new Driver(edge, 1).elected();
  await edge.bucketFails(true);
  while (wantsWal(driver.state)) {
    driver.push(walBytes(driver.state.buffer.endLsn, 500_000));
    // Either there is room again, or every acceptor has taken all that it can and nothing is on its way.
    await driver.when(
      (state) =>
        wantsWal(state) ||
        state.acceptors.every(
          ({ at, limitLsn }) => at.phase === 'streaming' && at.writtenLsn === limitLsn && limitLsn > START,
        ),
    );
  }
  const held = driver.state;
  expect(held.commitLsn).toBeLessThanOrEqual(START + BYTES_MAX);
  expect(held.buffer.endLsn).toBeGreaterThan(held.commitLsn + 10 * MIB);
  for (const n of [1, 2, 3]) {
    expect(await edge.status(n)).toMatchObject({
      full: true,
      walBytes: BYTES_MAX,
      walBytesMax: BYTES_MAX,
      backupLsn: formatLsn(START),
    });
    expect(driver.lastFailure(n)).toBe('not connected yet'); // that is, there was none
  }
  const { backupBy } = held;
  expect((await edge.status(backupBy)).backupFailure).toMatch(/out of reach/);

  // A full one that is killed says so when it comes back; nothing is lost, nothing goes on.
  await edge.bucketFails(false);
  await driver.committed(held.buffer.endLsn);
  await driver.pushMany(6 * MIB, 700_000, walBytes);
  await driver.everywhere();
  const end = driver.state.commitLsn;
  for (const n of [1, 2, 3]) {
    await expect
      .poll(() => edge.status(n).then(({ walBytes: kept }) => kept), { timeout: 20_000 })
      .toBeLessThan(BYTES_MAX);
    expect(await edge.status(n)).toMatchObject({ full: false, flushLsn: formatLsn(end) });
  }
  expect((await edge.status(backupBy)).backupFailure).toBe(null);
  await driver.stop();
});

test('a peer and the pageserver are away: WAL goes once it is in object storage, from which both are served later', async () => {
  await using edge = await bounded();
  const driver = await new Driver(edge, 1, [1, 2]).elected();
  const total = 2 * WAL_SEGMENT_BYTES + 5 * MIB;
  await driver.pushMany(total, 700_000, walBytes);
  const end = driver.state.commitLsn;
  expect(end).toBe(START + total);
  const boundary = lsnPlus(START, 2 * WAL_SEGMENT_BYTES);
  for (const n of [1, 2]) {
    await expect
      .poll(() => edge.status(n).then(({ backupLsn }) => backupLsn), { timeout: 20_000 })
      .toBe(formatLsn(boundary));
    const status = await edge.status(n);
    expect(status.walBytes).toBeLessThanOrEqual(5 * MIB + MIB); // rows are of up to 1 MiB
    expect(status).toMatchObject({ truncateLsn: formatLsn(START), remoteConsistentLsn: formatLsn(START) });
  }
  // The peer comes: what it lacks is nowhere but in object storage.
  driver.join(3);
  await driver.everywhere();
  const status = await edge.status(3);
  expect(status).toMatchObject({ flushLsn: formatLsn(end), commitLsn: formatLsn(end) });
  expect(end - parseLsn(status.localBeginLsn)).toBeLessThanOrEqual(BYTES_MAX);
  for (const n of [1, 3]) {
    const reader = new Reader(edge, n, START, reportAll);
    expect(Buffer.compare(await reader.upTo(end), walBytes(START, total)), `safekeeper ${n}`).toBe(0);
    reader.socket.close();
  }
  // With object storage away, a reader of what is there only is told so, and the log is unharmed.
  await edge.bucketFails(true);
  const refused = new Reader(edge, 2, START);
  expect(await refused.closed.promise).toMatchObject({ code: 4500 });
  await driver.committed(driver.push(walBytes(end, 100)));
  await driver.stop();
});

test('a variable that is not a size is refused', async () => {
  await using edge = await SafekeeperEdge.start({ SAFEKEEPER_WAL_BYTES_MAX: '1 GB' });
  const answer = await fetch(edge.url(1, 'inspect/status'));
  expect(answer.status).toBe(500);
  expect(await answer.text()).toMatch(/SAFEKEEPER_WAL_BYTES_MAX 1 GB/);
});
