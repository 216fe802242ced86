/**
 * Two pageservers of different generations at once, one of them held at every failpoint while the other does all of its work,
 * in both orders. Whatever happened, the next generation has every page as of every LSN, nothing that its index names
 * is missing, and no position was reported that storage does not hold.
 */
import { afterEach, describe, expect, test } from 'vitest';
import { FAILPOINTS, type Failpoint } from '../../../../containers/pageserver/failpoints.ts';
import { MemoryStorage } from '../../../../containers/pageserver/remote/memory.ts';
import type { ObjectStorage, TaggedObject } from '../../../../containers/pageserver/remote/storage.ts';
import type { TimelineSettings } from '../../../../containers/pageserver/timeline/context.ts';
import { Timeline } from '../../../../containers/pageserver/timeline/timeline.ts';
import { crc32c } from '../../../../lib/postgres/crc32c.ts';
import type { Lsn } from '../../../../lib/postgres/lsn.ts';
import { layerName } from '../../../../lib/storage/layers/descriptor.ts';
import { decodeIndex, timelinePrefix } from '../../../../lib/storage/layers/timeline-index.ts';
import { expectSame, idle, someWal } from '../timeline/some-wal.ts';
import { FakeSafekeepers, modelOf, spec, START_LSN, testContext } from '../timeline/support.ts';

const settings = { openLayerBytesMax: 120_000, quietMs: 5 };
const wal = someWal(160, 7);
const prefix = timelinePrefix(spec.projectId, spec.timelineId);

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0).toReversed()) cleanup();
});

/** One pageserver, with safekeepers of its own, that is held where `holdAt` says. */
function pageserver(
  storage: ObjectStorage,
  generation: number,
  holdAt: Failpoint | null,
  more: { settings?: Partial<TimelineSettings>; endLsn?: Lsn } = {},
) {
  const safekeepers = new FakeSafekeepers(wal);
  const endLsn = more.endLsn ?? wal.endLsn;
  safekeepers.commit(endLsn);
  const uploaded = Promise.withResolvers<void>();
  safekeepers.onReport = ({ remoteConsistentLsn }) => remoteConsistentLsn === endLsn && uploaded.resolve();
  const held = Promise.withResolvers<void>();
  const release = Promise.withResolvers<void>();
  let isHeld = false;
  const context = testContext({
    storage,
    safekeepers,
    generation,
    settings: { ...settings, ...more.settings },
    failpoint: async (name) => {
      if (name !== holdAt || isHeld) return;
      isHeld = true;
      held.resolve();
      await release.promise;
    },
  });
  cleanups.push(context.remove);
  const attached = Timeline.attach(context, spec);
  const work = async (): Promise<'done' | 'superseded'> => {
    attached.then(
      (timeline) => cleanups.push(() => timeline.abandon()),
      () => undefined,
    );
    const superseded = context.superseded.then(async () => {
      (await attached).abandon(); // as the process ends then
      return 'superseded' as const;
    });
    const done = async () => {
      const timeline = await attached;
      await timeline.waitFor(endLsn);
      await idle(timeline);
      await timeline.stop();
      return 'done' as const;
    };
    const failed = (error: Error) => {
      if (error.name === 'SupersededError') return 'superseded' as const;
      throw error;
    };
    return Promise.race([superseded, done().catch(failed)]);
  };
  return {
    held: held.promise,
    uploaded: uploaded.promise,
    release: release.resolve,
    work: work(),
    attached,

    reported: () => safekeepers.lastReport?.remoteConsistentLsn ?? START_LSN,
    context,
  };
}

/** The newest index names only what is there, in its size; the next generation says what the model says. */
async function expectUnharmed(storage: MemoryStorage, reported: number): Promise<void> {
  const newest = [...storage.objects.keys()]
    .filter((key) => key.endsWith('.json'))
    .sort()
    .at(-1)!;
  const index = decodeIndex(storage.objects.get(newest)!, crc32c);
  for (const { descriptor, size } of index.layers)
    expect(storage.objects.get(prefix + layerName(descriptor))?.length, layerName(descriptor)).toBe(size);
  expect(index.diskConsistentLsn).toBeGreaterThanOrEqual(reported);

  const model = await modelOf(wal);
  const readAll = async (timeline: Timeline): Promise<'done'> => {
    for (const at of [START_LSN, wal.ends[40], wal.ends[110], wal.endLsn])
      await expectSame(timeline, model, at);
    await idle(timeline);
    for (const at of [wal.ends[70], wal.endLsn]) await expectSame(timeline, model, at);
    await timeline.stop();
    return 'done';
  };
  // A put of one that was superseded may still come: the generation that meets it gives way to the next, as in production.
  for (let generation = 9; ; generation++) {
    const safekeepers = new FakeSafekeepers(wal);
    safekeepers.commit();
    const context = testContext({ storage, safekeepers, generation, settings });
    cleanups.push(context.remove);
    const next = await Timeline.attach(context, spec);
    cleanups.push(() => next.abandon());
    if ((await Promise.race([context.superseded, readAll(next)])) === 'done') return;
    next.abandon();
  }
}

/** Failpoints of what a pageserver does with a timeline that another has left to it are not reached by one that makes it. */
const REACHED_BY_FIRST = (Object.keys(FAILPOINTS) as Failpoint[]).filter(
  (name) => !/^(download|evict)/.test(name),
);
const REACHED_BY_SECOND = REACHED_BY_FIRST.filter((name) => !name.startsWith('bootstrap'));

describe('the older one is held, and goes on when the newer one has done all of its work', () => {
  test.each(REACHED_BY_FIRST)('%s', async (name) => {
    const storage = new MemoryStorage();
    const older = pageserver(storage, 1, name);
    await older.held;
    const newer = pageserver(storage, 2, null);
    await newer.work; // superseded where the older one published meanwhile beside what is held
    older.release();
    await older.work;
    await expectUnharmed(storage, Math.max(older.reported(), newer.reported()));
  });
});

describe('the newer one is held, and goes on when the older one has done all of its work', () => {
  test.each(REACHED_BY_SECOND)('%s', async (name) => {
    const storage = new MemoryStorage();
    const older = pageserver(storage, 1, 'report.before');
    await older.held;
    const newer = pageserver(storage, 2, name);
    await Promise.race([newer.held, newer.work]);
    older.release();
    await older.work;
    newer.release();
    await newer.work;
    await expectUnharmed(storage, Math.max(older.reported(), newer.reported()));
  });
});

test('the check finds a pageserver that takes over without reading the index again', async () => {
  const storage = new MemoryStorage();
  const read = new Map<string, Promise<TaggedObject | null>>();
  const stale: ObjectStorage = {
    put: (...args) => storage.put(...args),
    get: (...args) => storage.get(...args),
    delete: (keys) => storage.delete(keys),
    list: (prefix) => storage.list(prefix),
    beginParts: (key) => storage.beginParts(key),
    getTagged: (key) => {
      const known = read.get(key) ?? storage.getTagged(key);
      read.set(key, known);
      return known;
    },
  };
  const older = pageserver(storage, 1, 'compaction.before-index', { endLsn: wal.ends[110] });
  await Promise.all([older.held, older.uploaded]);
  const newer = pageserver(stale, 2, 'take.before-fence', { settings: { level0Max: 1000 } });
  await newer.held;
  await expectSame(await newer.attached, await modelOf(wal), wal.ends[110]); // so that its disk has what it needs
  older.release();
  await older.work; // it has replaced and deleted what the newer one has read of
  newer.release();
  expect(await newer.work).toBe('done');
  await expect(expectUnharmed(storage, newer.reported())).rejects.toThrow('expected undefined to be');
});
