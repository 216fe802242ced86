/**
 * Branches of a timeline in one process: what they read is compared with ingest of the ancestors' WAL up to each branch
 * point and the branch's own after it, without any layer in between.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterEach, describe, expect, test } from 'vitest';
import { Pageserver } from '../../../../containers/pageserver/pageserver.ts';
import { MemoryStorage } from '../../../../containers/pageserver/remote/memory.ts';
import type { Timeline } from '../../../../containers/pageserver/timeline/timeline.ts';
import { formatLsn, type Lsn } from '../../../../lib/postgres/lsn.ts';
import { postgres18 } from '../../../../lib/postgres/v18/wal.ts';
import { newWalRecord } from '../../../../lib/postgres/wal/decode-record.ts';
import { WalDecoder } from '../../../../lib/postgres/wal/decoder.ts';
import type { TimelineSpec } from '../../../../lib/protocol/specs.ts';
import {
  CHECKPOINT_KEY,
  COMMIT_TIME_KEY,
  CONTROL_FILE_KEY,
  kindRange,
  relationPageKey,
  relationSizeKey,
  slruPageKey,
  type Key,
} from '../../../../lib/storage/key.ts';
import { timelinePrefix } from '../../../../lib/storage/layers/timeline-index.ts';
import { decodeSize } from '../../../../lib/storage/value.ts';
import { MemoryStore, MemoryTimeline } from '../../../support/memory-store.ts';
import {
  FakeSafekeepers,
  importTinyTemplate,
  spec as rootSpec,
  START_LSN,
  SYSTEM_IDENTIFIER,
  testContext,
  type TestContext,
} from './support.ts';
import { WalBuilder } from './wal-builder.ts';

const RELATIONS = [16384, 16385, 16386];
const BLOCKS = 9;

/** A branch as a test makes it: its log, and where it began in which other one. */
class Branch {
  readonly spec: TimelineSpec;
  readonly wal: WalBuilder;
  readonly safekeepers: FakeSafekeepers;
  readonly parent: Branch | null;

  constructor(parent: Branch | null, at: { lsn: Lsn; previousLsn: Lsn }, number: number) {
    this.parent = parent;
    this.wal = new WalBuilder(at.lsn, SYSTEM_IDENTIFIER, at.previousLsn);
    this.safekeepers = new FakeSafekeepers(this.wal);
    this.safekeepers.commitLsn = at.lsn;
    this.spec =
      parent === null
        ? rootSpec
        : {
            ...rootSpec,
            timelineId: number.toString(16).padStart(32, '0'),
            startLsn: formatLsn(at.lsn),
            origin: {
              kind: 'branch',
              ancestor: parent.spec,
              ancestorLsn: formatLsn(at.lsn),
              previousLsn: formatLsn(at.previousLsn),
            },
          };
  }
  /** At the end of the log as it is now. */
  branch(number: number): Branch {
    return new Branch(this, { lsn: this.wal.endLsn, previousLsn: this.wal.previousLsn }, number);
  }
  /** Pages and commits that follow from `seed`, the commits a second apart from `time` on. */
  write(count: number, seed: number, time = 0): void {
    let state = seed;
    const random = (max: number) => (state = (Math.imul(state, 1103515245) + 12345) >>> 0) % max;
    for (let i = 0; i < count; i++) {
      if (random(3) === 0) this.wal.commit(700 + seed * 100 + i, time + i * 1_000_000);
      else this.wal.page(RELATIONS[random(3)], random(BLOCKS), seed * 1000 + i);
    }
    this.safekeepers.commit();
  }
  /** The logs that make up this branch, oldest first, each up to where the next one begins. */
  chain(to: Lsn): { wal: WalBuilder; to: Lsn }[] {
    const older = this.parent === null ? [] : this.parent.chain(this.wal.startLsn);
    return [...older, { wal: this.wal, to }];
  }
  async model(): Promise<MemoryStore> {
    const store = new MemoryStore();
    await importTinyTemplate(rootSpec, (key, value) => store.put(START_LSN, key, value));
    const model = await MemoryTimeline.open(store, START_LSN);
    // One decoder over all: the log is one, whichever timelines its parts are of. xl_prev is checked as it goes.
    const decoder = new WalDecoder({ startLsn: START_LSN, facts: postgres18 });
    for (const { wal, to } of this.chain(this.wal.endLsn)) decoder.push(wal.bytes(wal.startLsn, to));
    const record = newWalRecord();
    while (decoder.next(record)) await model.ingest(record);
    expect(model.endLsn).toBe(this.wal.endLsn);
    return store;
  }
}

const root = () => new Branch(null, { lsn: START_LSN, previousLsn: 0 as Lsn }, 0);

const contexts: TestContext[] = [];
const pageservers: Pageserver[] = [];
afterEach(async () => {
  for (const pageserver of pageservers.splice(0)) await pageserver.abandon();
  for (const context of contexts.splice(0)) context.remove();
});

function start(
  branches: readonly Branch[],
  options: Partial<Parameters<typeof testContext>[0]> = {},
): { pageserver: Pageserver; context: TestContext; storage: MemoryStorage } {
  const storage = (options.storage as MemoryStorage | undefined) ?? new MemoryStorage();
  const generation = options.generation ?? 1;
  const context = testContext({ safekeepers: branches[0].safekeepers, ...options, storage, generation });
  context.openWal = (n, { timelineId }, from) => {
    const of = branches.find(({ spec }) => spec.timelineId === timelineId);
    if (of === undefined) throw new Error(`WAL of ${timelineId} was asked for`);
    return of.safekeepers.connect(n, from);
  };
  contexts.push(context);
  const spec = { projectId: rootSpec.projectId, generation, sessionToken: 'token', stopAfterMs: 0 };
  const pageserver = new Pageserver(spec, context);
  pageservers.push(pageserver);
  return { pageserver, context, storage };
}

/** Everything that the timeline says as of `at` equals what the model says. */
async function expectSame(timeline: Timeline, model: MemoryStore, at: Lsn): Promise<void> {
  const truth = model.view(at);
  const view = timeline.view(await timeline.waitFor(at));
  for (const kind of ['database', 'relationMap', 'slruSegment', 'relationSize'] as const) {
    const [expected, found] = [truth, view].map((each) => Array.fromAsync(each.scan(kindRange(kind))));
    expect(await found, kind).toEqual(await expected);
  }
  const keys: Key[] = [CHECKPOINT_KEY, CONTROL_FILE_KEY, COMMIT_TIME_KEY, slruPageKey('pg_xact', 0, 0)];
  for (const relNumber of RELATIONS) {
    const relation = { spcOid: 1663, dbOid: 5, relNumber, fork: 0 };
    const size = await truth.get(relationSizeKey(relation));
    for (let block = 0; block < (size === null ? 0 : decodeSize(size)); block++)
      keys.push(relationPageKey(relation, block));
  }
  for (const key of keys) expect(await view.get(key)).toEqual(await truth.get(key));
}

describe('branches', () => {
  test('a child has what its ancestor had at the branch point, and from then on only its own', async () => {
    const main = root();
    main.write(200, 1);
    const child = main.branch(1);
    main.write(200, 2);
    child.write(200, 3);
    const sibling = main.branch(2);
    sibling.write(50, 4);
    const all = [main, child, sibling];
    const { pageserver, context } = start(all);
    for (const branch of all) {
      const timeline = await pageserver.timeline(branch.spec);
      const model = await branch.model();
      for (const at of [branch.wal.startLsn, branch.wal.ends[20], branch.wal.endLsn])
        await expectSame(timeline, model, at);
    }
    expect(context.errors).toEqual([]);
  });

  test('a child whose records end where those of its ancestor do is compacted all the same', async () => {
    const main = root();
    main.write(40, 1);
    const child = main.branch(1);
    // Behind the branch point both write the same pages at the same LSNs, with other contents.
    for (const [number, { wal, safekeepers }] of [main, child].entries()) {
      for (let i = 0; i < 400; i++) wal.page(RELATIONS[i % 3], i % BLOCKS, 10_000 * (number + 1) + i);
      safekeepers.commit();
    }
    expect(child.wal.endLsn).toBe(main.wal.endLsn);
    const settings = { openLayerBytesMax: 60_000, level0Max: 2, imageDeltasMax: 1, quietMs: 5 };
    const { pageserver, context } = start([main, child], { settings });
    for (const { spec, wal } of [main, child]) {
      const timeline = await pageserver.timeline(spec);
      await timeline.waitFor(wal.endLsn);
      while (!timeline.isIdle || timeline.status().compaction.failures > 0) {
        expect(context.errors).toEqual([]);
        await nextTurn();
      }
    }
    const timeline = await pageserver.timeline(child.spec);
    expect(timeline.status().layers.some(({ name }) => /__[0-9a-f]{16}-[0-9a-f]{8}$/.test(name))).toBe(true);
    const model = await child.model();
    for (const at of [child.wal.startLsn, child.wal.ends[20], child.wal.endLsn])
      await expectSame(timeline, model, at);
  });

  test('an empty branch puts nothing into object storage, and is idle', async () => {
    const main = root();
    main.write(100, 1);
    const child = main.branch(1);
    const { pageserver, storage } = start([main, child]);
    const timeline = await pageserver.timeline(child.spec);
    await expectSame(timeline, await child.model(), child.wal.endLsn);
    await pageserver.stop();
    expect(await storage.list(timelinePrefix(rootSpec.projectId, child.spec.timelineId))).toEqual([]);
  });

  test('seven deep, with tiny layers, and again by the next pageserver on an empty disk', async () => {
    const branches = [root()];
    for (let depth = 0; depth < 7; depth++) {
      const parent = branches[depth];
      parent.write(150, depth + 1);
      branches.push(parent.branch(depth + 1));
      parent.write(60, depth + 100); // after the branch point: no child may see it
    }
    branches[7].write(150, 8);
    const models = await Promise.all(branches.map((branch) => branch.model()));
    const { pageserver, storage } = start(branches);
    const check = async (by: Pageserver) => {
      // The deepest first: it attaches all the others.
      for (const [i, branch] of [...branches.entries()].toReversed()) {
        const timeline = await by.timeline(branch.spec);
        for (const at of [branch.wal.startLsn, branch.wal.ends[70], branch.wal.endLsn])
          await expectSame(timeline, models[i], at);
      }
    };
    await check(pageserver);
    await pageserver.stop();
    const next = start(branches, { storage, generation: 2 });
    await check(next.pageserver);
    expect(next.context.errors).toEqual([]);
  });

  test('a branch that was compacted and has images of its own reads the same', async () => {
    const main = root();
    main.write(100, 1);
    const child = main.branch(1);
    child.write(900, 2);
    const model = await child.model();
    const { pageserver } = start([main, child]);
    const timeline = await pageserver.timeline(child.spec);
    await timeline.waitFor(child.wal.endLsn);
    while (!timeline.isIdle && timeline.status().layers.length === 0) await nextTurn();
    await expectSame(timeline, model, child.wal.endLsn);
    await expectSame(timeline, model, child.wal.ends[300]);
  });

  test('attaching waits until the ancestor has ingested the branch point', async () => {
    const main = root();
    main.write(100, 1);
    const child = main.branch(1);
    main.safekeepers.commitLsn = main.wal.ends[50];
    const { pageserver } = start([main, child]);
    let attached = false;
    const attaching = pageserver.timeline(child.spec).then((timeline) => {
      attached = true;
      return timeline;
    });
    const ancestor = await pageserver.timeline(main.spec);
    await ancestor.waitFor(main.wal.ends[50]);
    expect(attached).toBe(false);
    main.safekeepers.commit();
    await expectSame(await attaching, await child.model(), child.wal.startLsn);
  });

  test('below its branch point a branch refuses to be read', async () => {
    const main = root();
    main.write(100, 1);
    const child = main.branch(1);
    const { pageserver } = start([main, child]);
    const timeline = await pageserver.timeline(child.spec);
    await expect(timeline.waitFor(main.wal.ends[98])).rejects.toMatchObject({ code: 'belowWindow' });
  });

  test('an ancestor of another project is refused', async () => {
    const main = root();
    const child = main.branch(1);
    const { pageserver } = start([main, child]);
    const { origin } = child.spec;
    if (origin.kind !== 'branch') throw new Error('a child is a branch');
    const spec = {
      ...child.spec,
      origin: { ...origin, ancestor: { ...main.spec, projectId: 'another-project' } },
    };
    await expect(pageserver.timeline(spec)).rejects.toMatchObject({ code: 'notFound' });
  });

  test('a timeline that is forgotten writes nothing more and is not attached again; its ancestor goes on', async () => {
    const main = root();
    main.write(100, 1);
    const child = main.branch(1);
    child.write(100, 2);
    const { pageserver, storage } = start([main, child]);
    const timeline = await pageserver.timeline(child.spec);
    await timeline.waitFor(child.wal.endLsn);
    await pageserver.forget(child.spec.timelineId);
    const prefix = timelinePrefix(rootSpec.projectId, child.spec.timelineId);
    const names = await storage.list(prefix);
    await storage.delete(names);
    child.write(200, 3);
    await expect(pageserver.timeline(child.spec)).rejects.toMatchObject({ code: 'notFound' });
    const ancestor = await pageserver.timeline(main.spec);
    await expectSame(ancestor, await main.model(), main.wal.endLsn);
    await pageserver.stop();
    expect(await storage.list(prefix)).toEqual([]);
  });
});

describe('the LSN of a time', () => {
  const SECOND = 1_000_000;
  /** As the definition has it: the end of the first commit record whose time is after `time`, all up to it counted. */
  const oracle = (commits: { endLsn: Lsn; time: number }[], time: number): Lsn | null =>
    commits.find((commit) => commit.time > time)?.endLsn ?? null;

  test('is that of the last commit at or before it: before, between, at, and after commits, over branches', async () => {
    const main = root();
    const commits: { endLsn: Lsn; time: number }[] = [];
    const write = (branch: Branch, times: number[]) => {
      for (const time of times) {
        branch.wal.page(RELATIONS[0], 0, time);
        commits.push({ endLsn: branch.wal.commit(700 + commits.length, time * SECOND), time: time * SECOND });
        branch.wal.page(RELATIONS[1], 1, time);
      }
      branch.safekeepers.commit();
    };
    write(main, [10, 20, 20, 30, 25, 29, 40]); // 25 and 29 come after 30: they count as of 30
    const child = main.branch(1);
    main.wal.commit(900, 41 * SECOND); // not of the child's history
    main.safekeepers.commit();
    write(child, [50, 60]);
    const grandchild = child.branch(2);
    write(grandchild, [70]);
    const { pageserver } = start([main, child, grandchild]);
    const timeline = await pageserver.timeline(grandchild.spec);
    const to = await timeline.waitFor(grandchild.wal.endLsn);
    for (let time = 5 * SECOND; time <= 75 * SECOND; time += SECOND / 2)
      expect(await timeline.firstCommitAfter(time, to), `${time}`).toBe(oracle(commits, time));
    // The whole microsecond counts.
    expect(await timeline.firstCommitAfter(20 * SECOND - 1, to)).toBe(commits[1].endLsn);
    expect(await timeline.firstCommitAfter(20 * SECOND, to)).toBe(commits[3].endLsn);
  });

  test('survives compaction, images and a restart', async () => {
    const main = root();
    main.write(900, 1, SECOND);
    const { pageserver, storage } = start([main]);
    const timeline = await pageserver.timeline(main.spec);
    const to = await timeline.waitFor(main.wal.endLsn);
    const times = Array.from({ length: 60 }, (_, i) => i * 15 * SECOND);
    const expected: (Lsn | null)[] = [];
    for (const time of times) expected.push(await timeline.firstCommitAfter(time, to));
    expect(new Set(expected).size).toBeGreaterThan(50);
    await pageserver.stop();
    const next = start([main], { storage, generation: 2 });
    const again = await next.pageserver.timeline(main.spec);
    await again.waitFor(to);
    for (const [i, time] of times.entries())
      expect(await again.firstCommitAfter(time, to), `${time}`).toBe(expected[i]);
  });
});
