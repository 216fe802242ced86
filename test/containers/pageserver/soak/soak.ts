/**
 * The soak: random SQL on several branches at once, over a pageserver that compacts and collects all the time, whose bucket
 * fails and which is killed. After each phase what every branch says is compared with the model, at its head, at LSNs
 * in its window and at its branch points; below the window it must refuse.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readRuns } from '../../../../containers/pageserver/read/page-service.ts';
import type { Timeline } from '../../../../containers/pageserver/timeline/timeline.ts';
import { decodeControlFile } from '../../../../lib/postgres/control-file.ts';
import { formatLsn, parseLsn, type Lsn } from '../../../../lib/postgres/lsn.ts';
import { keyBlock, type Key } from '../../../../lib/storage/key.ts';
import { buildBootManifest } from '../../../../lib/storage/state/boot-manifest.ts';
import { materialize } from '../../../support/materialize.ts';
import { initdbTemplate, PostgresCluster } from '../../../support/postgres-cluster.ts';
import { endOfRecord } from '../../../support/recorded-timeline.ts';
import type { Branch, RecordPosition } from './branch.ts';
import { compareWithModel } from './compare.ts';
import { Random } from './random.ts';
import { runRandomSql } from './random-sql.ts';
import { World, type WorldOptions } from './world.ts';

export interface SoakOptions {
  seed: number;
  /** Whether another phase is to begin. */
  goesOn: (phase: number, world: World) => boolean;
  statements: number;
  branchesMax: number;
  faults: number;
  log: (line: string) => void;
}

const SETTINGS = {
  wal_level: 'replica',
  full_page_writes: 'off',
  wal_keep_size: '10GB',
  autovacuum: 'off',
};
const CONTROL_SETTINGS = {
  maxConnections: 100,
  maxWorkerProcesses: 8,
  maxWalSenders: 10,
  maxPreparedTransactions: 0,
  maxLocksPerTransaction: 64,
};
/** The first relfilenumber of a user's relation. */
const USER_RELATION = 16_384;

/** What the soak was through, for the caller to judge: that it was through enough. */
export interface SoakReport {
  world: World;
  comparisons: number;
  pages: number;
  refusals: number;
  kills: number;
  differences: string[];
}

export async function soak(options: SoakOptions): Promise<SoakReport> {
  const { seed, log } = options;
  const random = new Random(seed);
  const world = await newWorld(random, options.faults);
  const report: SoakReport = { world, comparisons: 0, pages: 0, refusals: 0, kills: 0, differences: [] };
  const root = await world.addRoot();
  world.start();
  root.cluster = await PostgresCluster.create({ settings: SETTINGS });
  for (let phase = 0; options.goesOn(phase, world) && report.differences.length === 0; phase++) {
    if (phase > 0 && world.branches.length < options.branchesMax) await makeBranch(world, random);
    const writers = world.branches.filter(() => random.chance(0.8));
    const writes = Promise.all(
      writers.map(async (branch) => {
        await runRandomSql(branch.cluster!, random, options.statements);
        await branch.takeWal();
      }),
    );
    const dies = random.chance(0.7) ? world.dies(1 + random.below(60)) : null;
    await writes;
    await settled(world, random, dies, report);
    await compareAll(world, random, report, (page) => isLively(page));
    log(`phase ${phase}: ${world.branches.map(String).join(', ')}: ${describe(report)}`);
  }
  if (report.differences.length === 0) await compareAll(world, random, report, () => true);
  log(
    `seed ${seed}: ${describe(report)}; ${JSON.stringify([...world.events])}; evictions ${world.metrics.evictions.value()}`,
  );
  return report;
}

const describe = ({ comparisons, pages, refusals, kills, differences, world }: SoakReport): string =>
  `${comparisons} comparisons of ${pages} pages, ${refusals} refusals, ${kills} kills, ` +
  `${differences.length} differences, ${world.errors.length} errors`;

/** Pages of users' relations, and some of the rest. */
const isLively = (page: Key): boolean => {
  const relNumber = (page.charCodeAt(11) << 8) | page.charCodeAt(12) | (page.charCodeAt(10) << 16);
  return relNumber >= USER_RELATION || keyBlock(page) % 16 === 0;
};

async function newWorld(random: Random, faults: number): Promise<World> {
  const template = await initdbTemplate();
  const control = decodeControlFile(readFileSync(join(template, 'global/pg_control')));
  const startLsn = endOfRecord(template, control.checkPoint);
  return new World({ template, systemIdentifier: control.systemIdentifier, startLsn, random, faults });
}

/** A branch of any branch at any record in its window, with a Postgres started from what the pageserver says of it. */
async function makeBranch(world: World, random: Random): Promise<void> {
  const parent = random.pick(world.branches);
  const horizon = world.horizons.get(parent.spec.timelineId) ?? 0;
  const points = parent.records.filter(({ lsn }) => lsn >= horizon && lsn > parent.start.lsn);
  if (points.length === 0) return;
  const branch = await world.addBranch(parent, random.pick(points));
  const scratch = mkdtempSync(join(tmpdir(), 'ebb-soak-branch-'));
  try {
    const directory = join(scratch, 'data');
    const template = await initdbTemplate();
    const subject = await subjectOf(await world.timeline(branch), branch.start);
    const timeSeconds = Math.floor(Date.now() / 1000);
    await materialize(subject, directory, { template, settings: CONTROL_SETTINGS, timeSeconds });
    branch.cluster = await PostgresCluster.create({ copyOf: directory, settings: SETTINGS });
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}
async function subjectOf(timeline: Timeline, { lsn, previousLsn }: RecordPosition) {
  const at = await timeline.waitFor(lsn);
  const { manifest, blobs } = await buildBootManifest(timeline.view(at));
  return {
    manifest: { ...manifest, previousLsn: formatLsn(previousLsn) },
    blobs,
    pages: (runs: Parameters<typeof readRuns>[1]) => readRuns(timeline, runs, at),
  };
}

/** Everything is ingested, whoever dies on the way. */
async function settled(
  world: World,
  random: Random,
  dies: Promise<void> | null,
  report: SoakReport,
): Promise<void> {
  const caughtUp = async (): Promise<'caught up'> => {
    for (const branch of world.branches) {
      const timeline = await world.timeline(branch);
      await timeline.waitFor(branch.head.lsn, 30_000);
      while (!timeline.isIdle) await new Promise((resolve) => setTimeout(resolve, 2));
    }
    return 'caught up';
  };
  // A process that dies may also leave its callers without an answer.
  const attempt = caughtUp();
  attempt.catch(() => undefined);
  const ended = await Promise.race(dies === null ? [attempt] : [attempt, dies]);
  world.spare();
  if (ended === 'caught up') return;
  report.kills++;
  world.restart(random.chance(0.5));
  for (let attempts = 1; ; attempts++) {
    try {
      await caughtUp();
      return;
    } catch (error) {
      // A fault of the bucket may fail an attach; whoever asked asks again.
      if (attempts === 10) throw error;
    }
  }
}

async function compareAll(
  world: World,
  random: Random,
  report: SoakReport,
  isAsked: (page: Key) => boolean,
): Promise<void> {
  for (const branch of world.branches) {
    const timeline = await world.timeline(branch);
    for (const at of readablePoints(world, branch, timeline, random)) {
      const release = timeline.hold(at);
      try {
        const { pages, differences } = await compareWithModel(timeline, branch.store, at, isAsked);
        report.comparisons++;
        report.pages += pages;
        report.differences.push(...differences.map((line) => `${branch.toString()}: ${line}`));
      } finally {
        release();
      }
    }
    await expectRefusals(world, branch, timeline, random, report);
  }
}

/** The head, two LSNs in the window, the horizon, and what its branches need of it. */
function readablePoints(world: World, branch: Branch, timeline: Timeline, random: Random): Set<Lsn> {
  const horizon = parseLsn(timeline.status().horizonLsn);
  const inWindow = branch.records.filter(({ lsn }) => lsn >= horizon);
  const some = inWindow.length === 0 ? [] : [random.pick(inWindow).lsn, random.pick(inWindow).lsn];
  const points = [branch.head.lsn, ...some, ...world.branchPoints(branch)];
  return new Set(points.filter((lsn) => lsn >= branch.start.lsn));
}

async function expectRefusals(
  world: World,
  branch: Branch,
  timeline: Timeline,
  random: Random,
  report: SoakReport,
): Promise<void> {
  const horizon = parseLsn(timeline.status().horizonLsn);
  const kept = new Set([...world.branchPoints(branch), ...timeline.status().retainedLsns.map(parseLsn)]);
  const gone = branch.records.filter(({ lsn }) => lsn < horizon && !kept.has(lsn));
  for (let i = 0; i < 3 && gone.length > 0; i++) {
    const { lsn } = random.pick(gone);
    const refused = await timeline.waitFor(lsn).then(
      () => 'answered',
      (error: { code?: string }) => error.code,
    );
    if (refused === 'belowWindow') report.refusals++;
    else
      report.differences.push(
        `${branch.toString()}: a read at ${formatLsn(lsn)}, below the window: ${refused}`,
      );
  }
}

/**
 * The logs of a soak once more, through a pageserver that may have something wrong with it: what differs then. WAL comes in
 * steps, so that there is compaction and collection in between.
 */
export async function replayed(
  recorded: World,
  options: Pick<WorldOptions, 'compaction'> = {},
): Promise<string[]> {
  const random = new Random(7);
  const world = World.replay(recorded, { ...options, random, diskBytesMax: Infinity });
  const report: SoakReport = { world, comparisons: 0, pages: 0, refusals: 0, kills: 0, differences: [] };
  try {
    world.start();
    for (const branch of world.branches) {
      for (let step = 1; step <= STEPS; step++) {
        const record = branch.records[Math.floor((branch.records.length * step) / STEPS) - 1];
        branch.safekeepers.commit(record?.lsn ?? branch.start.lsn);
        const timeline = await world.timeline(branch);
        await timeline.waitFor(record?.lsn ?? branch.start.lsn, 20_000);
        while (!timeline.isIdle) await new Promise((resolve) => setTimeout(resolve, 2));
      }
    }
    await compareAll(world, random, report, isLively);
  } catch (error) {
    report.differences.push(String(error));
  } finally {
    await world.close();
  }
  return report.differences;
}
const STEPS = 6;
