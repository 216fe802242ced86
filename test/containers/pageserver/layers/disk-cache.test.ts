/** The disk as a cache: what is evicted and when, and a timeline that is larger than its bound. */
import { existsSync, readdirSync } from 'node:fs';
import { afterEach, describe, expect, test } from 'vitest';
import { DiskCache, type CachedLayer } from '../../../../containers/pageserver/layers/disk-cache.ts';
import { CHUNK_BYTES, RangeCache } from '../../../../containers/pageserver/layers/range-cache.ts';
import { newMetrics } from '../../../../containers/pageserver/metrics/metrics.ts';
import { MemoryStorage } from '../../../../containers/pageserver/remote/memory.ts';
import { Timeline } from '../../../../containers/pageserver/timeline/timeline.ts';
import { expectSame, idle, someWal } from '../timeline/some-wal.ts';
import {
  FakeSafekeepers,
  modelOf,
  spec,
  START_LSN,
  testContext,
  type TestContext,
} from '../timeline/support.ts';

class FakeLayer implements CachedLayer {
  readonly size: number;
  isEvictable = true;
  isEvicted = false;
  constructor(size: number) {
    this.size = size;
  }
  async evict(): Promise<void> {
    this.isEvicted = true;
  }
}
const onError = (error: unknown): never => {
  throw error;
};

describe('eviction', () => {
  test('drops what was read longest ago, and never what must stay', () => {
    const metrics = newMetrics();
    const cache = new DiskCache({ bytesMax: 30, metrics, onError });
    const [a, b, c, d] = [10, 10, 10, 10].map((size) => new FakeLayer(size));
    for (const layer of [a, b, c]) cache.add(layer);
    cache.touch(a);
    b.isEvictable = false;
    cache.add(d);
    expect([a, b, c, d].map(({ isEvicted }) => isEvicted)).toEqual([false, false, true, false]);
    expect(cache.bytes).toBe(30);
    for (const layer of [a, d]) layer.isEvictable = false;
    const e = new FakeLayer(20);
    e.isEvictable = false;
    cache.add(e);
    expect(cache.bytes, 'above the bound while nothing may go').toBe(50);
    b.isEvictable = true;
    d.isEvictable = true;
    cache.makeRoom();
    expect([a, b, d, e].map(({ isEvicted }) => isEvicted)).toEqual([false, true, true, false]);
    expect(metrics.evictions.value()).toBe(3);
    expect(metrics.evictedBytes.value()).toBe(30);
    expect(metrics.diskBytes.value()).toBe(30);
    cache.remove(e);
    cache.remove(e);
    expect(cache.bytes).toBe(10);
  });

  test('a layer is fetched at once while there is room, and in another’s place when much was read of it', () => {
    const cache = new DiskCache({ bytesMax: 100, metrics: newMetrics(), onError });
    const layer = new FakeLayer(40);
    expect(cache.isWorthFetching(layer, 0)).toBe(true);
    cache.add(new FakeLayer(70));
    expect(cache.isWorthFetching(layer, 39)).toBe(false);
    expect(cache.isWorthFetching(layer, 40)).toBe(true);
    expect(cache.isWorthFetching(new FakeLayer(101), 101), 'larger than the disk').toBe(false);
  });
});

describe('ranges', () => {
  const bytes = Uint8Array.from({ length: CHUNK_BYTES * 2 + 100 }, (_, i) => i % 251);
  const object = (fetched: number[]) => async (range: { offset: number; length: number }) => {
    fetched.push(range.offset);
    await new Promise((resolve) => setImmediate(resolve));
    return bytes.slice(range.offset, range.offset + range.length);
  };

  test('are fetched once for all who want them, across chunks, up to the end', async () => {
    const cache = new RangeCache(1 << 20);
    const fetched: number[] = [];
    const read = (offset: number, length: number) =>
      cache.read('a', { offset, length, size: bytes.length }, object(fetched));
    const wanted = [
      [10, 20],
      [CHUNK_BYTES - 5, 10],
      [CHUNK_BYTES * 2 + 50, 50],
      [0, bytes.length],
    ];
    const found = await Promise.all(wanted.map(([offset, length]) => read(offset, length)));
    for (const [at, [offset, length]] of wanted.entries())
      expect(Buffer.compare(found[at], bytes.subarray(offset, offset + length))).toBe(0);
    expect(fetched.sort((a, b) => a - b)).toEqual([0, CHUNK_BYTES, CHUNK_BYTES * 2]);
  });

  test('a failure is not remembered', async () => {
    const cache = new RangeCache(1 << 20);
    const range = { offset: 0, length: 1, size: 10 };
    await expect(cache.read('a', range, () => Promise.reject(new Error('down')))).rejects.toThrow('down');
    expect(await cache.read('a', range, async () => new Uint8Array(10))).toEqual(new Uint8Array(1));
  });
});

describe('a timeline larger than its disk', () => {
  const contexts: TestContext[] = [];
  const timelines: Timeline[] = [];
  afterEach(() => {
    for (const timeline of timelines.splice(0)) timeline.abandon();
    for (const context of contexts.splice(0)) context.remove();
  });
  const DISK_BYTES = 150_000;

  test('has every page as of every LSN, and stays within it', async () => {
    const wal = someWal(400, 3);
    const model = await modelOf(wal);
    const storage = new MemoryStorage();
    const safekeepers = new FakeSafekeepers(wal);
    safekeepers.commit();
    for (const generation of [1, 2]) {
      const context = testContext({
        storage,
        safekeepers,
        generation,
        settings: { quietMs: 5 },
        diskBytesMax: DISK_BYTES,
      });
      contexts.push(context);
      const timeline = await Timeline.attach(context, spec);
      timelines.push(timeline);
      await timeline.waitFor(wal.endLsn);
      await idle(timeline);
      for (const at of [wal.endLsn, wal.ends[200], START_LSN, wal.ends[390], wal.ends[50]])
        await expectSame(timeline, model, at);
      const { layers } = timeline.status();
      expect(layers.reduce((sum, { size }) => sum + size, 0)).toBeGreaterThan(2 * DISK_BYTES);
      expect(context.disk.bytes).toBeLessThanOrEqual(DISK_BYTES);
      await expect.poll(() => context.metrics.evictions.value()).toBeGreaterThan(0);
      expect(context.metrics.rangeReads.value()).toBeGreaterThan(0);
      const folder = `${context.diskFolder}/layers/${spec.timelineId}`;
      // Downloads that nobody waits for may still come.
      const difference = (): string[] => {
        const local = timeline.status().layers.filter(({ isLocal }) => isLocal);
        return [...new Set(readdirSync(folder)).symmetricDifference(new Set(local.map(({ name }) => name)))];
      };
      await expect.poll(difference).toEqual([]);
      expect(context.errors).toEqual([]);
      await timeline.stop();
      expect(existsSync(folder)).toBe(true);
    }
  });

  test('keeps what is not uploaded, however much it is, and lets it go when it is', async () => {
    const wal = someWal(400, 3);
    const model = await modelOf(wal);
    const storage = new MemoryStorage();
    const safekeepers = new FakeSafekeepers(wal);
    const context = testContext({ storage, safekeepers, generation: 1, diskBytesMax: DISK_BYTES });
    contexts.push(context);
    const timeline = await Timeline.attach(context, spec);
    timelines.push(timeline);
    const open = Promise.withResolvers<void>();
    storage.before = ({ name }) => (name === 'put' ? open.promise : undefined);
    safekeepers.commit();
    await timeline.waitFor(wal.endLsn);
    await expect.poll(() => context.disk.bytes).toBeGreaterThan(2 * DISK_BYTES);
    await expectSame(timeline, model, wal.endLsn);
    const waiting = timeline.status().layers.filter(({ isUploaded }) => !isUploaded);
    expect(waiting.length).toBeGreaterThan(5);
    expect(waiting.every(({ isLocal }) => isLocal)).toBe(true);
    open.resolve();
    await timeline.stop();
    expect(context.disk.bytes).toBeLessThanOrEqual(DISK_BYTES);
  });
});
