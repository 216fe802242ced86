import { afterEach, describe, expect, test } from 'vitest';
import { CompactionThread } from '../../../../containers/pageserver/maintenance/compaction-thread.ts';
import { CompactionError } from '../../../../containers/pageserver/maintenance/job.ts';
import { runJob } from '../../../../containers/pageserver/maintenance/run-job.ts';
import { withFaults } from '../../../../containers/pageserver/remote/faults.ts';
import { MemoryStorage } from '../../../../containers/pageserver/remote/memory.ts';
import type { TimelineSettings } from '../../../../containers/pageserver/timeline/context.ts';
import { Timeline } from '../../../../containers/pageserver/timeline/timeline.ts';
import { parseLsn, type Lsn } from '../../../../lib/postgres/lsn.ts';
import { timelinePrefix } from '../../../../lib/storage/layers/timeline-index.ts';
import type { MemoryStore } from '../../../support/memory-store.ts';
import { expectSame, idle, someWal } from './some-wal.ts';
import { FakeSafekeepers, modelOf, spec, testContext, type TestContext } from './support.ts';
import type { WalBuilder } from './wal-builder.ts';

const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

/** History is dropped as soon as it is 200 kB back, at once when nothing comes any more. */
const EAGER: Partial<TimelineSettings> = {
  quietMs: 5,
  retentionMs: 0,
  retentionBytes: 200_000,
  gcBytesMin: 1,
  openLayerBytesMax: 100_000,
};

const open: { timeline: Timeline; context: TestContext }[] = [];
const threads: CompactionThread[] = [];
afterEach(async () => {
  for (const { timeline, context } of open.splice(0)) {
    timeline.abandon();
    context.remove();
  }
  for (const thread of threads.splice(0)) await thread.close();
});

interface World {
  wal: WalBuilder;
  model: MemoryStore;
  storage: MemoryStorage;
  safekeepers: FakeSafekeepers;
}
async function world(records = 300): Promise<World> {
  const wal = someWal(records);
  const safekeepers = new FakeSafekeepers(wal);
  return { wal, model: await modelOf(wal), storage: new MemoryStorage(), safekeepers };
}
async function attach(
  { storage, safekeepers }: World,
  generation: number,
  change: Partial<Omit<TestContext, 'settings'>> & { settings?: Partial<TimelineSettings> } = {},
) {
  const { settings, ...rest } = change;
  const context = testContext({ storage, safekeepers, generation, settings: { ...EAGER, ...settings } });
  Object.assign(context, rest);
  const timeline = await Timeline.attach(context, spec);
  open.push({ timeline, context });
  return { timeline, context };
}
/** Ingests all of it and waits until history has been dropped. */
async function collected(timeline: Timeline, { wal, safekeepers }: World): Promise<Lsn> {
  safekeepers.commit();
  await timeline.waitFor(wal.endLsn);
  while (!timeline.isIdle || timeline.status().horizonLsn === '0/0')
    await new Promise((resolve) => setTimeout(resolve, 1));
  return parseLsn(timeline.status().horizonLsn);
}
const layerObjects = ({ storage }: World) =>
  [...storage.objects.keys()]
    .map((key) => key.slice(timelinePrefix(spec.projectId, spec.timelineId).length))
    .filter((name) => !name.startsWith('index-'))
    .sort();
const layersOf = (timeline: Timeline) => timeline.status().layers.map(({ name }) => name);
const refused = { code: 'belowWindow' };

describe('what is older than the window', () => {
  test('is dropped: reads within it are as before, below it they are refused, also by the next pageserver', async () => {
    const all = await world();
    const { wal, model } = all;
    const { timeline, context } = await attach(all, 1);
    const horizonLsn = await collected(timeline, all);
    expect(horizonLsn).toBeGreaterThan(wal.endLsn - 210_000);
    expect(layerObjects(all)).toEqual(layersOf(timeline));
    const within = wal.ends.filter((each) => each >= horizonLsn);
    const below = wal.ends.filter((each) => each < horizonLsn);
    for (const at of [horizonLsn, ...within]) await expectSame(timeline, model, at);
    for (const at of below) await expect(timeline.waitFor(at)).rejects.toMatchObject(refused);
    await expect(timeline.view(below[0]).get('\0'.repeat(18) as never)).rejects.toMatchObject(refused);
    await timeline.stop();
    expect(context.errors).toEqual([]);

    const { timeline: next } = await attach(all, 2);
    for (const at of [horizonLsn, ...within.filter((_, i) => i % 5 === 0)]) await expectSame(next, model, at);
    await expect(next.waitFor(below.at(-1)!)).rejects.toMatchObject(refused);
  });

  test('stays where the project retains an LSN, for exactly that LSN, until it does no more', async () => {
    const all = await world();
    const { wal, model } = all;
    let retained = [wal.ends[40], wal.ends[150]];
    const horizon: TestContext['horizon'] = (_, wanted) =>
      Promise.resolve({ horizonLsn: wanted, retainedLsns: retained.filter((each) => each < wanted) });
    const { timeline } = await attach(all, 1, { horizon });
    await collected(timeline, all);
    for (const at of [...retained, wal.endLsn]) await expectSame(timeline, model, at);
    for (const at of [wal.ends[39], wal.ends[41], wal.ends[149]])
      await expect(timeline.waitFor(at)).rejects.toMatchObject(refused);
    const before = layersOf(timeline).length;
    await timeline.stop();

    const [gone] = retained;
    retained = retained.slice(1);
    const { timeline: next } = await attach(all, 2, { horizon, settings: { gcPeriodMs: 5 } });
    await expectSame(next, model, gone);
    all.safekeepers.commit(all.wal.commit(9_999));
    await next.waitFor(all.wal.endLsn);
    while (next.status().retainedLsns.length > 1 || !next.isIdle)
      await new Promise((resolve) => setTimeout(resolve, 1));
    await expectSame(next, model, retained[0]);
    await expect(next.waitFor(gone)).rejects.toMatchObject(refused);
    expect(layersOf(next).length).toBeLessThan(before + 2);
    expect(layerObjects(all)).toEqual(layersOf(next));
  });

  test('stays where a compute reads, and for a while after it was last seen, also for the next pageserver', async () => {
    const all = await world();
    const { wal, model } = all;
    const { timeline } = await attach(all, 1, { settings: { gcPeriodMs: 5 } });
    all.safekeepers.commit(wal.ends[30]);
    await timeline.waitFor(wal.ends[30]);
    const session = timeline.computeAttached(() => undefined);
    session.readsAt(wal.ends[30]);
    const running = timeline.hold(wal.ends[20]);
    all.safekeepers.commit();
    await timeline.waitFor(wal.endLsn);
    while (parseLsn(timeline.status().horizonLsn) < wal.ends[100])
      await new Promise((resolve) => setTimeout(resolve, 1));
    for (const at of [wal.ends[20], wal.ends[30]]) await expectSame(timeline, model, at);
    running();
    session.close();
    await timeline.stop();
    let now = Date.now();
    const { timeline: next } = await attach(all, 2, { clock: () => now });
    await expectSame(next, model, wal.ends[30]);
    now += 2 * 3_600_000;
    all.safekeepers.commit(wal.commit(9_999));
    await next.waitFor(wal.endLsn);
    while (next.status().retainedLsns.length > 0) await new Promise((resolve) => setTimeout(resolve, 1));
    await expect(next.waitFor(wal.ends[30])).rejects.toMatchObject(refused);
  });

  test('is kept by time: nothing is dropped that was committed within it', async () => {
    const all = await world();
    const { timeline } = await attach(all, 1, { settings: { retentionMs: 3_600_000, retentionBytes: 0 } });
    all.safekeepers.commit();
    await timeline.waitFor(all.wal.endLsn);
    await idle(timeline);
    // The commits of this WAL are of the year 2000: only the time decides, and all of it is older.
    while (timeline.status().horizonLsn === '0/0') await new Promise((resolve) => setTimeout(resolve, 1));
    await timeline.stop();

    const young = await world();
    const clock = () => Date.UTC(2000, 0, 1) + 1_000;
    const { timeline: kept } = await attach(young, 1, {
      clock,
      settings: { retentionMs: 3_600_000, retentionBytes: 0 },
    });
    young.safekeepers.commit();
    await kept.waitFor(young.wal.endLsn);
    await idle(kept);
    expect(parseLsn(kept.status().horizonLsn)).toBeLessThanOrEqual(young.wal.ends[3]);
    await expectSame(kept, young.model, young.wal.ends[10]);
  });

  test('stays all of it while the project does not answer; compaction goes on', async () => {
    const all = await world();
    const { timeline, context } = await attach(all, 1, {
      horizon: () => Promise.reject(new Error('no such project')),
    });
    all.safekeepers.commit();
    await timeline.waitFor(all.wal.endLsn);
    await idle(timeline);
    while (context.errors.length === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    await idle(timeline);
    expect(context.errors.map(({ what }) => what)).toEqual(['garbage collection']);
    expect(timeline.status()).toMatchObject({ horizonLsn: '0/0', compaction: { failures: 0 } });
    expect(
      layersOf(timeline).some((name) => /__.{16}-.{16}-/.test(name) && !name.startsWith('0'.repeat(36))),
    ).toBe(true);
    await expectSame(timeline, all.model, all.wal.ends[3]);
  });
});

test('what a pageserver that died left behind is deleted by the next one, and nothing else', async () => {
  const all = await world();
  const { timeline } = await attach(all, 1);
  await collected(timeline, all);
  await timeline.stop();
  const prefix = timelinePrefix(spec.projectId, spec.timelineId);
  const name = layersOf(timeline)[0];
  const orphan = `${name.slice(0, -8)}00000001`.replace(/__.{16}/, '__0000000003000008');
  const newer = `${orphan.slice(0, -8)}00000009`;
  for (const each of [orphan, newer, 'something-else.json'])
    all.storage.objects.set(prefix + each, new Uint8Array(10));
  const { timeline: next } = await attach(all, 2);
  all.safekeepers.commit(all.wal.commit(9_999));
  await next.waitFor(all.wal.endLsn);
  await idle(next);
  while (all.storage.objects.has(prefix + orphan)) await new Promise((resolve) => setTimeout(resolve, 1));
  for (const each of [newer, 'something-else.json'])
    expect(all.storage.objects.has(prefix + each)).toBe(true);
  await expectSame(next, all.model, all.wal.ends.at(-2)!);
});

describe('compaction', () => {
  test('that fails pauses longer and longer and says so; ingest and reads go on; then it recovers', async () => {
    const all = await world();
    let attempts = 0;
    let isBroken = true;
    const compaction: TestContext['compaction'] = {
      run: (job, signal) => {
        attempts++;
        return isBroken ? Promise.reject(new CompactionError('failed', 'no disk')) : runJob(job, signal);
      },
    };
    const settings = { compactionPauseMs: 20, compactionPauseMsMax: 200, level0Stall: 4 };
    const { timeline, context } = await attach(all, 1, { compaction, settings });
    all.safekeepers.commit();
    await timeline.waitFor(all.wal.endLsn);
    await expectSame(timeline, all.model, all.wal.endLsn);
    while (timeline.status().compaction.failures < 4) await new Promise((resolve) => setTimeout(resolve, 1));
    expect(timeline.status().compaction).toMatchObject({ lastError: 'no disk' });
    expect(attempts).toBeLessThan(100);
    isBroken = false;
    while (timeline.status().compaction.failures > 0) await new Promise((resolve) => setTimeout(resolve, 1));
    await idle(timeline);
    expect(context.errors.every(({ what }) => what === 'compaction')).toBe(true);
    for (const at of all.wal.ends.slice(-20)) await expectSame(timeline, all.model, at);
  });

  test('that does not get done holds ingest back, also beside a flush; a stop ends both', async () => {
    const all = await world(600);
    const compaction: TestContext['compaction'] = {
      run: (_, signal) =>
        new Promise((_resolve, reject) =>
          signal.addEventListener('abort', () => reject(new CompactionError('cancelled', 'stopped'))),
        ),
    };
    const settings = { openLayerBytesMax: 50_000, level0Max: 2, level0Stall: 3 };
    const { timeline } = await attach(all, 1, { compaction, settings });
    all.safekeepers.commit();
    const level0 = () => layersOf(timeline).filter((name) => /^0{36}-f{36}__.{16}-.{16}-/.test(name)).length;
    while (level0() < 3) await sleep(1);
    await sleep(100);
    const at = timeline.ingestedLsn;
    await sleep(100);
    expect(timeline.ingestedLsn).toBe(at);
    expect(at).toBeLessThan(all.wal.endLsn);
    // Two more may have been frozen by then.
    expect(level0()).toBeLessThanOrEqual(5);
    await expectSame(timeline, all.model, at);
    await timeline.stop();
  });

  test('does not hold ingest back for layers that object storage does not take', async () => {
    const all = await world();
    const faulty = withFaults(all.storage, { random: Math.random, sleep: () => sleep(1) });
    const settings = { openLayerBytesMax: 50_000, level0Max: 2, level0Stall: 3 };
    const { timeline } = await attach(all, 1, { storage: faulty, settings });
    faulty.faults = { ...faulty.faults, down: 1 };
    all.safekeepers.commit();
    await timeline.waitFor(all.wal.endLsn);
    await expectSame(timeline, all.model, all.wal.endLsn);
    faulty.faults = { ...faulty.faults, down: 0 };
    await idle(timeline);
    await expectSame(timeline, all.model, all.wal.endLsn);
  });

  test('is done by a thread, which is started anew when it dies', async () => {
    const all = await world();
    const thread = new CompactionThread();
    threads.push(thread);
    const settings = { compactionPauseMs: 1 };
    const { timeline, context } = await attach(all, 1, { compaction: thread, settings });
    all.safekeepers.commit(all.wal.ends[150]);
    await timeline.waitFor(all.wal.ends[150]);
    await idle(timeline);
    await thread.close();
    const horizonLsn = await collected(timeline, all);
    const within = all.wal.ends.filter((each) => each >= horizonLsn);
    for (const at of within) await expectSame(timeline, all.model, at);
    const outcomes = [...context.metrics.compactions.samples()].map(({ labels }) => labels.outcome);
    expect(outcomes).toContain('done');
  });
});
