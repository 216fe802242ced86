/**
 * A timeline that nobody writes costs nothing: its safekeepers sleep, with their connections open, and nothing wakes them.
 *
 * The short form idles for 13 s (workerd puts an object to sleep after 10); `npm run test:idle` for a minute.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { formatLsn, lsn, lsnPlus } from '../../../lib/postgres/lsn.ts';
import { Driver, walBytes } from './driver.ts';
import { SafekeeperEdge } from './edge.ts';
import { Reader, reportAll } from './reader.ts';

const START = lsn(0x3000000);
const IDLE_MS = Number(process.env['EBB_IDLE_SECONDS'] ?? 13) * 1000;
/** A commit position is written half a second late; the proposer announces what it owes. */
const SETTLE_MS = 1500;

test(
  'idle with a proposer and a reader connected: no wake-up; then the next commit finds everybody',
  { timeout: 60_000 + 2 * IDLE_MS },
  async () => {
    await using edge = await SafekeeperEdge.start();
    const driver = await new Driver(edge, 1).elected();
    const reader = new Reader(edge, 1, START, reportAll);
    for (let i = 0; i < 20; i++)
      await driver.committed(driver.push(walBytes(driver.state.buffer.endLsn, 500)));
    await driver.everywhere();
    await reader.upTo(driver.state.commitLsn);
    await delay(SETTLE_MS);
    await edge.wakes();

    await delay(IDLE_MS); // this is what is measured
    expect(await edge.wakes()).toEqual({ made: 0, events: 0 });

    const end = driver.push(walBytes(driver.state.buffer.endLsn, 700));
    await driver.committed(end);
    await driver.everywhere();
    await reader.upTo(end);
    expect(driver.lastFailure(1)).toBe('not connected yet'); // the connections outlived the sleep
    const { made } = await edge.wakes();
    expect(made).toBe(3); // all three were asleep
    for (const n of [1, 2, 3]) expect(await edge.status(n)).toMatchObject({ commitLsn: formatLsn(end) });

    // The compute is suspended: the tail goes to object storage, and that is the last that happens.
    await driver.leave();
    const by = driver.state.backupBy;
    await expect
      .poll(() => edge.status(by).then((status) => status.partialBackupLsn), { timeout: 20_000 })
      .toBe(formatLsn(end));
    reader.socket.close();
    await delay(SETTLE_MS);
    await edge.wakes();
    await delay(IDLE_MS);
    expect(await edge.wakes()).toEqual({ made: 0, events: 0 });

    const next = await new Driver(edge, 2).elected();
    expect(next.state.termStartLsn).toBe(lsnPlus(end, 0));
    await next.stop();
  },
);
