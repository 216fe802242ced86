/**
 * `kill -9` of the workerd that runs all three safekeepers, at random moments under append: nothing acknowledged is lost.
 *
 * Appends are of many sizes, so that kills come into group commits, finished segments, backup and trimming as well.
 * `npm run test:kills` is the long form (EBB_KILLS, EBB_SEED).
 */
import { setTimeout as delay } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { wantsWal } from '../../../lib/consensus/proposer-state.ts';
import { formatLsn, lsn, lsnPlus, type Lsn } from '../../../lib/postgres/lsn.ts';
import { Driver, walBytes } from './driver.ts';
import { SafekeeperEdge } from './edge.ts';
import { Reader, reportAll } from './reader.ts';

const START = lsn(0x3000000);
const KILLS = Number(process.env['EBB_KILLS'] ?? 5);
const SEED = Number(process.env['EBB_SEED'] ?? Date.now() % 1_000_000);
const MIB = 1 << 20;

/** mulberry32 */
function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** What each session wrote, from where it began up to where the next one did. */
interface Session {
  start: Lsn;
  salt: number;
}
function expected(sessions: readonly Session[], from: Lsn, to: Lsn): Uint8Array {
  const bytes = new Uint8Array(to - from);
  for (const [i, { start, salt }] of sessions.entries()) {
    const begin = Math.max(start, from);
    const end = Math.min(sessions[i + 1]?.start ?? to, to);
    if (begin < end) bytes.set(walBytes(lsn(begin), end - begin, salt), begin - from);
  }
  return bytes;
}

test(
  `${KILLS} kills under append, seed ${SEED}`,
  { timeout: 60_000 + KILLS * 10_000, retry: 0 },
  async () => {
    await using edge = await SafekeeperEdge.start({
      SAFEKEEPER_WAL_BYTES_MAX: String(64 * MIB),
      SAFEKEEPER_WAL_KEPT_BYTES: String(MIB),
    });
    const next = random(SEED);
    const sessions: Session[] = [];
    let acknowledged = START;
    let checked = START;

    /** A new proposer finds all that was acknowledged, and what it finds is what was written. */
    const recover = async (term: number): Promise<Driver> => {
      const driver = await new Driver(edge, term).elected();
      const start = driver.state.termStartLsn;
      expect(start, `seed ${SEED}, term ${term}`).toBeGreaterThanOrEqual(acknowledged);
      await driver.everywhere();
      for (const n of [1, 2, 3]) {
        const reader = new Reader(edge, n, checked, reportAll);
        const found = await reader.upTo(start);
        const same = Buffer.compare(found.subarray(0, start - checked), expected(sessions, checked, start));
        expect(same, `seed ${SEED}, term ${term}, safekeeper ${n} from ${formatLsn(checked)}`).toBe(0);
        reader.socket.close();
      }
      checked = start;
      sessions.push({ start, salt: (term * 17) & 0xff });
      return driver;
    };

    for (let kill = 1; kill <= KILLS; kill++) {
      const driver = await recover(kill);
      const { salt } = sessions[sessions.length - 1];
      const large = next() < 0.3;
      const fate = { killed: false };
      const death = delay(5 + next() * 250).then(async () => {
        fate.killed = true;
        await edge.kill();
      });
      while (!fate.killed) {
        for (let i = 0; i < 4 && wantsWal(driver.state); i++) {
          const size = 1 + Math.floor(next() * (large ? 400_000 : 3000));
          driver.push(walBytes(driver.state.buffer.endLsn, size, salt), next() < 0.9);
        }
        const { commitLsn } = driver.state;
        await Promise.race([driver.when((state) => state.commitLsn > commitLsn), death]);
      }
      await death;
      await driver.when(({ acceptors }) => acceptors.every(({ at }) => at.phase === 'disconnected'));
      acknowledged = lsnPlus(driver.state.commitLsn, 0);
      await driver.stop();
      await edge.restart();
    }

    const last = await recover(KILLS + 1);
    for (const n of [1, 2, 3]) {
      const reader = new Reader(edge, n, START, reportAll);
      const all = await reader.upTo(acknowledged);
      const want = expected(sessions, START, acknowledged);
      expect(Buffer.compare(all.subarray(0, want.length), want), `safekeeper ${n}`).toBe(0);
      reader.socket.close();
    }
    console.log(`${KILLS} kills, seed ${SEED}: ${acknowledged - START} bytes acknowledged, all there`);
    await last.stop();
  },
);
