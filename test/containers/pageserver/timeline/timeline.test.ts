import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';
import fc from 'fast-check';
import { afterEach, describe, expect, test } from 'vitest';
import { noFailpoints } from '../../../../containers/pageserver/failpoints.ts';
import { newMetrics } from '../../../../containers/pageserver/metrics/metrics.ts';
import { MemoryStorage } from '../../../../containers/pageserver/remote/memory.ts';
import { StorageError } from '../../../../containers/pageserver/remote/storage.ts';
import { MemoryBudget } from '../../../../containers/pageserver/timeline/memory-budget.ts';
import { RemoteIndex } from '../../../../containers/pageserver/timeline/remote-index.ts';
import { Timeline } from '../../../../containers/pageserver/timeline/timeline.ts';
import { crc32c } from '../../../../lib/postgres/crc32c.ts';
import { lsn, type Lsn } from '../../../../lib/postgres/lsn.ts';
import { layerName } from '../../../../lib/storage/layers/descriptor.ts';
import { decodeIndex, timelinePrefix } from '../../../../lib/storage/layers/timeline-index.ts';
import { FakeSafekeepers, modelOf, spec, START_LSN, testContext, type TestContext } from './support.ts';
import { expectSame, idle, someWal } from './some-wal.ts';
import type { WalBuilder } from './wal-builder.ts';

const objectKey = (name: string) => timelinePrefix(spec.projectId, spec.timelineId) + name;

const contexts: TestContext[] = [];
const timelines: Timeline[] = [];
afterEach(() => {
  for (const timeline of timelines.splice(0)) timeline.abandon();
  for (const context of contexts.splice(0)) context.remove();
});
async function attach(
  options: Parameters<typeof testContext>[0],
): Promise<{ timeline: Timeline; context: TestContext }> {
  const context = testContext(options);
  contexts.push(context);
  const timeline = await Timeline.attach(context, spec);
  timelines.push(timeline);
  return { timeline, context };
}

const layerCount = (timeline: Timeline, kind: 'level0' | 'delta' | 'image') =>
  timeline
    .status()
    .layers.filter(({ name }) =>
      kind === 'image'
        ? /__[0-9a-f]{16}-[0-9a-f]{8}$/.test(name)
        : /__.{16}-.{16}-/.test(name) && name.startsWith('0'.repeat(36)) === (kind === 'level0'),
    ).length;

describe('reads', () => {
  test('equal the model at every LSN, from memory, from layers, after compaction, after restarts', async () => {
    const wal = someWal(500);
    const model = await modelOf(wal);
    const safekeepers = new FakeSafekeepers(wal);
    const storage = new MemoryStorage();
    const some = wal.ends.filter((_, i) => i % 41 === 0);

    const settings = { quietMs: 20 };
    const { timeline: first, context } = await attach({ storage, safekeepers, generation: 1, settings });
    for (const at of some) {
      safekeepers.commit(at);
      await expectSame(first, model, at);
    }
    safekeepers.commit();
    for (const at of [...some, wal.endLsn]) await expectSame(first, model, at);
    await idle(first);
    expect(layerCount(first, 'delta')).toBeGreaterThan(0);
    expect(layerCount(first, 'image')).toBeGreaterThan(1);
    await first.stop();
    expect(context.errors).toEqual([]);

    const { timeline: cold } = await attach({ storage, safekeepers, generation: 2 });
    expect(cold.ingestedLsn).toBe(wal.endLsn);
    for (const at of [wal.endLsn, ...some]) await expectSame(cold, model, at);
    await cold.stop();

    const { diskFolder } = context;
    const { timeline: warm } = await attach({ storage, safekeepers, generation: 3, diskFolder });
    expect(warm.status().layers.some(({ isLocal }) => isLocal)).toBe(true);
    for (const at of [wal.endLsn, ...some]) await expectSame(warm, model, at);
  });

  test('equal the model whatever the sizes of chunks and layers', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 1000 }),
        fc.integer({ min: 100, max: 300_000 }),
        fc.integer({ min: 20_000, max: 500_000 }),
        fc.array(fc.nat(149), { minLength: 1, maxLength: 3 }),
        async (seed, chunkBytes, openLayerBytesMax, cuts) => {
          const wal = someWal(150, seed);
          const safekeepers = new FakeSafekeepers(wal);
          safekeepers.chunkBytes = chunkBytes;
          let storage = new DyingStorage(Infinity);
          const model = await modelOf(wal);
          let generation = 0;
          for (const cut of [...cuts.sort((a, b) => a - b), 149]) {
            const settings = { openLayerBytesMax };
            const { timeline } = await attach({ storage, safekeepers, generation: ++generation, settings });
            safekeepers.commit(wal.ends[cut]);
            await timeline.waitFor(wal.ends[cut]);
            if (generation % 2 === 1) await timeline.stop();
            else {
              timeline.abandon();
              storage = storage.survivor();
            }
          }
          const { timeline } = await attach({ storage, safekeepers, generation: ++generation });
          for (const at of [START_LSN, wal.ends[70], wal.endLsn]) await expectSame(timeline, model, at);
        },
      ),
      { numRuns: 6 },
    );
  });

  test('a new timeline is readable at its start before any WAL, by whatever position names that', async () => {
    const wal = someWal(0);
    const { timeline } = await attach({
      storage: new MemoryStorage(),
      safekeepers: new FakeSafekeepers(wal),
      generation: 1,
    });
    await expectSame(timeline, await modelOf(wal), START_LSN);
    expect(await timeline.waitFor(lsn(START_LSN + 40)), 'just behind the page header').toBe(START_LSN);
    await expect(timeline.waitFor(lsn(START_LSN - 8))).rejects.toMatchObject({ code: 'belowWindow' });
  });
});

describe('waiting for an LSN', () => {
  test('ends when it is ingested, and is bounded', async () => {
    const wal = someWal(20);
    const safekeepers = new FakeSafekeepers(wal);
    const { timeline } = await attach({ storage: new MemoryStorage(), safekeepers, generation: 1 });
    await expect(timeline.waitFor(wal.endLsn, 20)).rejects.toMatchObject({ code: 'behind' });
    const waiting = timeline.waitFor(wal.endLsn);
    safekeepers.commit(wal.ends[5]);
    safekeepers.commit();
    expect(await waiting).toBe(wal.endLsn);
    const stopping = timeline.waitFor(lsn(wal.endLsn + 800));
    timeline.abandon();
    await expect(stopping).rejects.toMatchObject({ code: 'stopping' });
    await expect(timeline.waitFor(wal.endLsn)).rejects.toMatchObject({ code: 'stopping' });
  });

  test('tries another safekeeper when one is down or does not get on', async () => {
    const wal = someWal(50);
    const safekeepers = new FakeSafekeepers(wal);
    safekeepers.state[1] = 'down';
    safekeepers.state[2] = 'stuck';
    const { timeline } = await attach({ storage: new MemoryStorage(), safekeepers, generation: 1 });
    safekeepers.commit();
    await timeline.waitFor(wal.endLsn, 5_000);
    expect(safekeepers.connections.map(({ n }) => n).slice(0, 3)).toEqual([1, 2, 3]);
  });

  test('goes on at the last whole record after a connection was lost in the middle of one', async () => {
    const wal = someWal(60);
    const safekeepers = new FakeSafekeepers(wal);
    const { timeline } = await attach({ storage: new MemoryStorage(), safekeepers, generation: 1 });
    for (let i = 10; i < 60; i += 10) {
      safekeepers.commit(lsn(wal.ends[i] + 40));
      await timeline.waitFor(wal.ends[i]);
      safekeepers.disconnect(1 + ((safekeepers.connections.length - 1) % 3));
    }
    safekeepers.commit();
    await timeline.waitFor(wal.endLsn);
    await expectSame(timeline, await modelOf(wal), wal.endLsn);
    expect(safekeepers.connections.every(({ from }) => from === START_LSN || wal.ends.includes(from))).toBe(
      true,
    );
  });

  test('says why when the WAL is damaged, and recovers when another safekeeper has it whole', async () => {
    const wal = someWal(30);
    const safekeepers = new FakeSafekeepers(wal);
    const { timeline } = await attach({ storage: new MemoryStorage(), safekeepers, generation: 1 });
    const damaged = wal.bytes(wal.ends[10], wal.ends[11]);
    damaged[30] ^= 1;
    safekeepers.commit();
    await expect(timeline.waitFor(wal.endLsn, 300)).rejects.toThrow(/CRC/);
    await expectSame(timeline, await modelOf(someWal(30)), wal.ends[10]);
    damaged[30] ^= 1;
    await timeline.waitFor(wal.endLsn);
    await expectSame(timeline, await modelOf(wal), wal.endLsn);
  });
});

describe('uploads', () => {
  test('report a position only once it is in storage; after a wipe everything from there on is pulled again', async () => {
    const wal = someWal(120);
    const model = await modelOf(wal);
    const safekeepers = new FakeSafekeepers(wal);
    const storage = new MemoryStorage();
    const { timeline } = await attach({ storage, safekeepers, generation: 1 });
    safekeepers.onReport = ({ remoteConsistentLsn, ingestedLsn }) => {
      const index = [...storage.objects].find(([key]) => key.endsWith('index-00000001.json'))![1];
      expect(decodeIndex(index, crc32c).diskConsistentLsn).toBeGreaterThanOrEqual(remoteConsistentLsn);
      expect(ingestedLsn).toBeGreaterThanOrEqual(remoteConsistentLsn);
    };
    safekeepers.commit();
    await timeline.waitFor(wal.endLsn);
    timeline.abandon();
    const from = safekeepers.lastReport!.remoteConsistentLsn;
    const { timeline: next } = await attach({ storage, safekeepers, generation: 2 });
    await expectSame(next, model, wal.endLsn);
    expect(safekeepers.connections.at(-1)!.from).toBeGreaterThanOrEqual(from);
  });

  test('storage that is down stops nothing else, and is caught up with when it comes back', async () => {
    const wal = someWal(300);
    const model = await modelOf(wal);
    const safekeepers = new FakeSafekeepers(wal);
    const storage = new MemoryStorage();
    const { timeline, context } = await attach({ storage, safekeepers, generation: 1 });
    storage.before = () => {
      throw new StorageError('unavailable', 'down');
    };
    safekeepers.commit();
    await timeline.waitFor(wal.endLsn);
    await expectSame(timeline, model, wal.endLsn);
    expect(timeline.isIdle).toBe(false);
    expect(context.errors.length).toBeGreaterThan(0);
    storage.before = null;
    await timeline.stop();
    expect(timeline.status().remoteConsistentLsn).toBe(timeline.status().lastRecordLsn);
  });

  test('with no compute the tail is uploaded without being asked, and the timeline is idle', async () => {
    const wal = someWal(10);
    const safekeepers = new FakeSafekeepers(wal);
    const { timeline } = await attach({
      storage: new MemoryStorage(),
      safekeepers,
      generation: 1,
      settings: { quietMs: 5 },
    });
    const told: Lsn[] = [];
    const session = timeline.computeAttached(({ ingestedLsn }) => told.push(ingestedLsn));
    expect(told).toEqual([START_LSN]);
    safekeepers.commit();
    await timeline.waitFor(wal.endLsn);
    expect(timeline.isIdle).toBe(false);
    session.close();
    await idle(timeline);
    expect(timeline.status().remoteConsistentLsn).toBe(timeline.status().lastRecordLsn);
  });
});

describe('memory', () => {
  test('a layer that has more values than memory may hold reads as any other', async () => {
    const wal = someWal(600);
    const model = await modelOf(wal);
    const safekeepers = new FakeSafekeepers(wal);
    const storage = new MemoryStorage();
    const settings = { openLayerBytesMax: 1 << 30, layerMemoryBytesMax: 500_000 };
    const { timeline, context } = await attach({ storage, safekeepers, generation: 1, settings });
    safekeepers.commit();
    await timeline.waitFor(wal.endLsn);
    expect(timeline.measurements.spilledBytes).toBeGreaterThan(500_000);
    for (const at of [START_LSN, wal.ends[300], wal.endLsn]) await expectSame(timeline, model, at);
    await timeline.stop();
    expect(context.errors).toEqual([]);
    const { timeline: next } = await attach({ storage, safekeepers, generation: 2 });
    for (const at of [START_LSN, wal.ends[300], wal.endLsn]) await expectSame(next, model, at);
  });

  test('is bounded over all timelines: the open layer goes to disk when all of them are too much', async () => {
    const wal = someWal(600);
    const model = await modelOf(wal);
    const safekeepers = new FakeSafekeepers(wal);
    const context = testContext({
      storage: new MemoryStorage(),
      safekeepers,
      generation: 1,
      settings: { openLayerBytesMax: 1 << 30 },
    });
    contexts.push(context);
    context.memory = new MemoryBudget(500_000);
    const timeline = await Timeline.attach(context, spec);
    timelines.push(timeline);
    let most = 0;
    for (const at of wal.ends.filter((_, i) => i % 10 === 9)) {
      safekeepers.commit(at);
      await timeline.waitFor(at);
      await new Promise((resolve) => setTimeout(resolve, 12));
      most = Math.max(most, context.memory.bytes);
    }
    expect(most).toBeLessThan(700_000);
    expect(layerCount(timeline, 'level0') + layerCount(timeline, 'delta')).toBeGreaterThan(1);
    for (const at of [START_LSN, wal.ends[300], wal.ends.at(-1)!]) await expectSame(timeline, model, at);
  });
});

describe('the local disk is a cache', () => {
  test('a damaged or vanished file is dropped, and the object is read', async () => {
    const wal = someWal(200);
    const model = await modelOf(wal);
    const safekeepers = new FakeSafekeepers(wal);
    const storage = new MemoryStorage();
    const { timeline, context } = await attach({ storage, safekeepers, generation: 1 });
    safekeepers.commit();
    await timeline.waitFor(wal.endLsn);
    await timeline.stop();
    const folder = `${context.diskFolder}/layers/${spec.timelineId}`;
    for (const [i, name] of readdirSync(folder).entries()) {
      const bytes = readFileSync(`${folder}/${name}`);
      for (let at = 0; at < bytes.length; at += 512) bytes[at] ^= 0x40;
      if (i % 2 === 0) writeFileSync(`${folder}/${name}`, bytes);
    }
    writeFileSync(`${folder}/leftover.partial`, 'x');
    const { diskFolder } = context;
    const { timeline: next, context: nextContext } = await attach({
      storage,
      safekeepers,
      generation: 2,
      diskFolder,
    });
    expect(existsSync(`${folder}/leftover.partial`)).toBe(false);
    rmSync(`${folder}/${readdirSync(folder)[1]}`);
    for (const at of [wal.ends[50], wal.ends[120], wal.endLsn]) await expectSame(next, model, at);
    expect(nextContext.errors.map(({ what }) => what).join()).toContain('dropped');
  });

  test('a damaged object is an error, never a wrong page', async () => {
    const wal = someWal(200);
    const safekeepers = new FakeSafekeepers(wal);
    const storage = new MemoryStorage();
    const { timeline } = await attach({ storage, safekeepers, generation: 1 });
    safekeepers.commit();
    await timeline.waitFor(wal.endLsn);
    await timeline.stop();
    for (const [key, bytes] of storage.objects) if (!key.endsWith('.json')) bytes[bytes.length >> 1] ^= 1;
    const attached = attach({ storage, safekeepers, generation: 2 }).then(async ({ timeline }) =>
      expectSame(timeline, await modelOf(wal), wal.endLsn),
    );
    await expect(attached).rejects.toThrow(/checksum|was not ingested/);
  });

  test('the index of another cluster is refused', async () => {
    const safekeepers = new FakeSafekeepers(someWal(0));
    const storage = new MemoryStorage();
    const { timeline } = await attach({ storage, safekeepers, generation: 1 });
    await timeline.stop();
    const context = testContext({ storage, safekeepers, generation: 2 });
    contexts.push(context);
    await expect(Timeline.attach(context, { ...spec, systemIdentifier: '1' })).rejects.toMatchObject({
      code: 'mismatch',
    });
  });
});

describe('generations', () => {
  test('an older pageserver that still runs does no harm, and learns that it is superseded', async () => {
    const wal = someWal(400);
    const model = await modelOf(wal);
    const safekeepers = new FakeSafekeepers(wal);
    const storage = new MemoryStorage();
    const settings = { quietMs: 5 };
    const { timeline: older, context } = await attach({ storage, safekeepers, generation: 1, settings });
    safekeepers.commit(wal.ends[100]);
    await older.waitFor(wal.ends[100]);
    await idle(older);
    const { timeline: newer } = await attach({ storage, safekeepers, generation: 2 });
    while (!storage.objects.has(objectKey('index-00000002.fence'))) await nextTurn();
    safekeepers.commit();
    await newer.waitFor(wal.endLsn);
    expect(await context.superseded).toMatchObject({ name: 'SupersededError' });
    older.abandon();
    await newer.stop();
    const index = decodeIndex(storage.objects.get(objectKey('index-00000002.json'))!, crc32c);
    for (const { descriptor, size } of index.layers)
      expect(storage.objects.get(objectKey(layerName(descriptor)))?.length).toBe(size);
    const { timeline: last } = await attach({ storage, safekeepers, generation: 3 });
    await expectSame(last, model, wal.endLsn);
    await last.stop();
    const refused = attach({ storage, safekeepers, generation: 2 });
    await expect(refused).rejects.toMatchObject({ name: 'SupersededError' });
  });

  const options = (storage: MemoryStorage, generation: number) => ({
    storage,
    crc32c: (bytes: Uint8Array) => crc32c(bytes),
    prefix: objectKey(''),
    spec,
    generation,
    owner: `process ${generation}`,
    metrics: newMetrics(),
    failpoint: noFailpoints,
    sleep: () => Promise.resolve(),
    onError: () => {},
  });
  const noLayers = () => Promise.resolve([]);
  const at = (position: number) => ({ lsn: lsn(position), previousLsn: lsn(position - 8) });

  test('what the older one published before our fence is never forgotten, whoever dies when', async () => {
    const storage = new MemoryStorage();
    const first = await RemoteIndex.create(options(storage, 1), at(800), noLayers);
    const second = (await RemoteIndex.open(options(storage, 2)))!;
    expect(second.position).toEqual(at(800));
    await first.publish({ position: at(1600) });
    await expect(second.take()).rejects.toThrow('still at work');
    await expect(second.publish({ position: at(2400) })).rejects.toThrow('still at work');
    const third = (await RemoteIndex.open(options(storage, 3)))!;
    expect(third.position).toEqual(at(1600));
    await third.publish({ position: at(2400) });
    for (const each of [first, second])
      await expect(each.publish({ position: at(3200) })).rejects.toMatchObject({ name: 'SupersededError' });
    expect((await RemoteIndex.open(options(storage, 4)))!.position).toEqual(at(2400));
  });

  test('after our fence the older one may put its index, but learns that it must not report it', async () => {
    const storage = new MemoryStorage();
    const first = await RemoteIndex.create(options(storage, 1), at(800), noLayers);
    const second = (await RemoteIndex.open(options(storage, 2)))!;
    await second.take();
    await expect(first.publish({ position: at(1600) })).rejects.toMatchObject({ name: 'SupersededError' });
    expect(first.position).toEqual(at(800));
    await second.publish({});
    expect((await RemoteIndex.open(options(storage, 3)))!.position).toEqual(at(800));
  });

  test('of two processes of one generation, one takes the timeline over', async () => {
    const storage = new MemoryStorage();
    await RemoteIndex.create(options(storage, 1), at(800), noLayers);
    const [one, other] = await Promise.all(
      ['one', 'other'].map(async (owner) => (await RemoteIndex.open({ ...options(storage, 2), owner }))!),
    );
    await one.take();
    await expect(other.take()).rejects.toThrow('another process');
    await one.publish({ position: at(1600) });
    await expect(other.publish({ position: at(2400) })).rejects.toMatchObject({ name: 'SupersededError' });
    const again = (await RemoteIndex.open({ ...options(storage, 2), owner: 'one' }))!;
    await again.publish({ position: at(2400) });
    expect((await RemoteIndex.open(options(storage, 3)))!.position).toEqual(at(2400));
  });

  test('a put that is in doubt is settled before anything else is published, and arrives too late to undo it', async () => {
    const storage = new MemoryStorage();
    const remote = await RemoteIndex.create(options(storage, 1), at(800), noLayers);
    const late: (() => Promise<unknown>)[] = [];
    const put = storage.put.bind(storage);
    let lost = 6;
    storage.put = async (...args) => {
      if (lost === 0 || !args[0].endsWith('.json')) return put(...args);
      // Of six puts each second one takes effect though it is not answered; the others arrive when all is done.
      if (lost-- % 2 === 0) await put(...args).catch(() => undefined);
      else late.push(() => put(...args));
      throw new StorageError('unavailable', 'no answer');
    };
    await Promise.all([1600, 2400, 3200].map((lsn) => remote.publish({ position: at(lsn) })));
    expect(remote.position).toEqual(at(3200));
    expect(late.length).toBe(3);
    for (const arrive of late) await arrive().catch(() => undefined);
    expect((await RemoteIndex.open(options(storage, 2)))!.position).toEqual(at(3200));
  });

  test('of two that make the timeline at once, the newer one wins', async () => {
    const storage = new MemoryStorage();
    const newer = new Promise<void>((resolve, reject) => {
      storage.before = ({ name, key }) => {
        if (name !== 'put' || !key.endsWith('index-00000001.json')) return;
        storage.before = null;
        return RemoteIndex.create(options(storage, 2), at(1600), noLayers).then(() => resolve(), reject);
      };
    });
    await expect(RemoteIndex.create(options(storage, 1), at(800), noLayers)).rejects.toMatchObject({
      name: 'SupersededError',
    });
    await newer;
    expect((await RemoteIndex.open(options(storage, 3)))!.position).toEqual(at(1600));
  });

  test('old fences and indexes do not pile up', async () => {
    const storage = new MemoryStorage();
    await RemoteIndex.create(options(storage, 1), at(800), noLayers);
    for (let generation = 2; generation < 10; generation++) {
      const index = (await RemoteIndex.open(options(storage, generation)))!;
      await index.take();
      if (generation % 3 === 0) await index.publish({ position: at(800 * generation) });
    }
    expect([...storage.objects.keys()].sort()).toEqual(
      ['index-00000009.fence', 'index-00000009.json'].map(objectKey),
    );
  });
});

/** Storage that stops for good once `changesMax` changes have taken effect: the process is killed there. */
class DyingStorage extends MemoryStorage {
  changes = 0;
  readonly dead: Promise<void>;
  #died: () => void;
  #changesMax: number;
  constructor(changesMax: number) {
    super();
    this.#changesMax = changesMax;
    ({ promise: this.dead, resolve: this.#died } = Promise.withResolvers<void>());
  }
  /** What is left for others; this one dies now. */
  survivor(): DyingStorage {
    this.#changesMax = 0;
    const survivor = new DyingStorage(Infinity);
    for (const [key, bytes] of this.objects) survivor.objects.set(key, bytes);
    return survivor;
  }
  async #step<T>(change: () => Promise<T>): Promise<T> {
    if (this.changes < this.#changesMax) {
      this.changes++;
      return change();
    }
    this.#died();
    return new Promise(() => {});
  }
  override put(...args: Parameters<MemoryStorage['put']>): Promise<string> {
    return this.#step(() => super.put(...args));
  }
  override delete(keys: readonly string[]): Promise<void> {
    return this.#step(() => super.delete(keys));
  }
}

test('a kill between any two changes of storage loses nothing', async () => {
  const wal = someWal(160, 7);
  const model = await modelOf(wal);
  const settings = { openLayerBytesMax: 120_000, quietMs: 5 };
  const run = async (storage: MemoryStorage, safekeepers: FakeSafekeepers) => {
    const { timeline } = await attach({ storage, safekeepers, generation: 1, settings });
    await timeline.waitFor(wal.endLsn);
    await idle(timeline);
    await timeline.stop();
  };
  const immortal = new DyingStorage(Infinity);
  await run(immortal, allCommitted(wal));
  expect(immortal.changes).toBeGreaterThan(20);
  for (let changes = 0; changes <= immortal.changes; changes++) {
    const storage = new DyingStorage(changes);
    const safekeepers = allCommitted(wal);
    await Promise.race([storage.dead, run(storage, safekeepers)]);
    for (const each of timelines.splice(0)) each.abandon();
    const reported = safekeepers.lastReport?.remoteConsistentLsn ?? START_LSN;
    const { timeline: next } = await attach({
      storage: storage.survivor(),
      safekeepers: allCommitted(wal),
      generation: 2,
    });
    expect(next.ingestedLsn).toBeGreaterThanOrEqual(reported);
    for (const at of [wal.ends[40], wal.ends[110], wal.endLsn]) await expectSame(next, model, at);
    await next.stop();
  }
}, 60_000);

function allCommitted(wal: WalBuilder): FakeSafekeepers {
  const safekeepers = new FakeSafekeepers(wal);
  safekeepers.commit();
  return safekeepers;
}
