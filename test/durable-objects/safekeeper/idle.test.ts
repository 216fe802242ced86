/**
 * Wake-ups of three safekeepers over an idle hour of simulated time: none, once the tail is in object storage; and while
 * object storage is away, only its own attempts, once a minute.
 */
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { SafekeeperEdge } from './edge.ts';
import { Driver, walBytes } from './driver.ts';
import { End, Pair, SimulatedSafekeepers } from './simulated.ts';

vi.mock('cloudflare:workers', () => ({
  DurableObject: class {
    readonly ctx: unknown;
    readonly env: unknown;
    constructor(ctx: unknown, env: unknown) {
      this.ctx = ctx;
      this.env = env;
    }
  },
}));

/** Not a literal: its types are a Worker's. */
const SAFEKEEPER: string = new URL('../../../durable-objects/safekeeper/safekeeper.ts', import.meta.url).href;
const HOUR_MS = 3_600_000;
/** A commit position is written late; the proposer's own watch over answers runs out. */
const SETTLE_MS = 15_000;
beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'Date'] });
  vi.stubGlobal('WebSocketPair', Pair);
  vi.stubGlobal('WebSocket', End);
  vi.stubGlobal(
    'Response',
    class {
      readonly status: number;
      readonly webSocket: unknown;
      constructor(_: unknown, init: { status: number; webSocket?: unknown }) {
        this.status = init.status;
        this.webSocket = init.webSocket;
      }
    },
  );
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

async function session(world: SimulatedSafekeepers, term: number): Promise<Driver> {
  const driver = await new Driver(world as unknown as SafekeeperEdge, term).elected();
  for (let i = 0; i < 50; i++) await driver.committed(driver.push(walBytes(driver.state.buffer.endLsn, 300)));
  await driver.everywhere();
  return driver;
}
const world = async (): Promise<SimulatedSafekeepers> => {
  const { Safekeeper } = (await import(SAFEKEEPER)) as { Safekeeper: never };
  return new SimulatedSafekeepers(Safekeeper);
};

test('a proposer is connected and silent for an hour: no wake-up, no timer', async () => {
  const w = await world();
  const driver = await session(w, 1);
  await vi.advanceTimersByTimeAsync(SETTLE_MS);
  w.wakes = 0;
  expect(vi.getTimerCount()).toBe(0);
  await vi.advanceTimersByTimeAsync(HOUR_MS);
  expect(w.wakes).toBe(0);
  await driver.committed(driver.push(walBytes(driver.state.buffer.endLsn, 300)));
  await driver.leave();
});

test('the compute is suspended for an hour: the tail is copied once, then no wake-up, no timer', async () => {
  const w = await world();
  const driver = await session(w, 1);
  await driver.leave();
  await vi.advanceTimersByTimeAsync(SETTLE_MS);
  expect([...w.bucket.keys()]).toHaveLength(1);
  w.wakes = 0;
  expect(vi.getTimerCount()).toBe(0);
  await vi.advanceTimersByTimeAsync(HOUR_MS);
  expect(w.wakes).toBe(0);
});

test('object storage is away for an hour: a few attempts a minute at most; then the tail is copied and all is still', async () => {
  const w = await world();
  const warn = vi.spyOn(console, 'warn').mockImplementation(() => undefined);
  const driver = await session(w, 1);
  w.bucketFails = true;
  await driver.leave();
  await vi.advanceTimersByTimeAsync(SETTLE_MS);
  w.wakes = 0;
  await vi.advanceTimersByTimeAsync(HOUR_MS);
  expect(w.wakes).toBeGreaterThan(50);
  expect(w.wakes).toBeLessThan(200); // three safekeepers take turns, each a minute apart
  w.bucketFails = false;
  await vi.advanceTimersByTimeAsync(5 * 60_000);
  expect([...w.bucket.keys()]).toHaveLength(1);
  w.wakes = 0;
  expect(vi.getTimerCount()).toBe(0);
  await vi.advanceTimersByTimeAsync(HOUR_MS);
  expect(w.wakes).toBe(0);
  warn.mockRestore();
});

test('the one whose turn it is cannot reach object storage: the next one copies the tail a minute later, and all is still', async () => {
  const w = await world();
  const warn = vi.spyOn(console, 'warn').mockImplementation(() => undefined);
  const driver = await session(w, 1);
  w.cutOff = driver.state.backupBy;
  await driver.leave();
  await vi.advanceTimersByTimeAsync(50_000);
  expect(w.bucket.size).toBe(0);
  await vi.advanceTimersByTimeAsync(20_000);
  expect(w.bucket.size).toBe(1);
  await vi.advanceTimersByTimeAsync(120_000);
  w.wakes = 0;
  expect(vi.getTimerCount()).toBe(0);
  await vi.advanceTimersByTimeAsync(HOUR_MS);
  expect(w.wakes).toBe(0);
  expect(w.bucket.size).toBe(1);
  warn.mockRestore();
});
