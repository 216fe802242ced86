/**
 * Branches against real Postgres: each is a Postgres that recovered to the branch point and then went its own way. What the
 * pageserver says of a branch, from its own WAL and its ancestors' layers, is what a Postgres has that recovered the
 * branch's whole log, ancestors' part and own; and of its branch point, one that recovered to there.
 *
 *   main ──┬── a ──── a1 ──── a2 ──── a3 ──── a4
 *          └── b
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { importTemplate } from '../../../containers/pageserver/import/template.ts';
import { Pageserver } from '../../../containers/pageserver/pageserver.ts';
import { readRuns } from '../../../containers/pageserver/read/page-service.ts';
import { MemoryStorage } from '../../../containers/pageserver/remote/memory.ts';
import { decodeControlFile } from '../../../lib/postgres/control-file.ts';
import { formatLsn, lsn, parseLsn, type Lsn } from '../../../lib/postgres/lsn.ts';
import { postgres18 } from '../../../lib/postgres/v18/wal.ts';
import { WalDecoder } from '../../../lib/postgres/wal/decoder.ts';
import { newWalRecord } from '../../../lib/postgres/wal/record.ts';
import type { TimelineSpec } from '../../../lib/protocol/specs.ts';
import { buildBootManifest } from '../../../lib/storage/state/boot-manifest.ts';
import { compareGroundTruth } from '../../support/ground-truth.ts';
import { initdbTemplate, PostgresCluster } from '../../support/postgres-cluster.ts';
import { recover } from '../../support/recovered-postgres.ts';
import { readWal } from '../../support/wal-files.ts';
import { FakeSafekeepers, testContext, type TestContext } from './timeline/support.ts';

const SETTINGS = {
  wal_level: 'replica',
  full_page_writes: 'off',
  wal_keep_size: '10GB',
  autovacuum: 'off',
  track_commit_timestamp: 'on',
};

interface Log {
  name: string;
  spec: TimelineSpec;
  /** The whole log, ancestors' part included, from the template's end on. */
  wal: Uint8Array;
  startLsn: Lsn;
  endLsn: Lsn;
  /** Start of the last record. */
  previousLsn: Lsn;
  safekeepers: FakeSafekeepers;
}

let template: string;
let templateEnd: Lsn;
let systemIdentifier: bigint;
const logs = new Map<string, Log>();
let context: TestContext;
let pageserver: Pageserver;

const MAIN = `
  create table kept(id int primary key, body text);
  insert into kept select i, repeat(md5(i::text), 10) from generate_series(1, 1500) i;
  create table dropped as select * from kept;
  create table truncated as select * from kept;
  create index on kept (body);
  vacuum kept;
  update kept set body = 'main' where id % 7 = 0;`;
/** Of a branch: changes what is inherited in every way, and makes its own. */
const diverge = (name: string, i: number) => `
  update kept set body = '${name}' where id % ${i + 3} = 0;
  delete from kept where id % 11 = ${i};
  create table own_${name} as select * from kept;
  create index on own_${name} (id);
  insert into truncated select -i, '${name}' from generate_series(1, 500) i;
  vacuum kept;`;

beforeAll(async () => {
  template = await initdbTemplate();
  const control = decodeControlFile(readFileSync(join(template, 'global/pg_control')));
  ({ systemIdentifier } = control);
  const decoder = new WalDecoder({ startLsn: control.checkPoint, facts: postgres18 });
  for (const bytes of readWal(template, control.checkPoint, lsn(control.checkPoint + 16_384)))
    decoder.push(bytes);
  decoder.next(newWalRecord());
  templateEnd = decoder.endLsn;

  {
    await using cluster = await PostgresCluster.create({ settings: SETTINGS });
    await run(cluster, MAIN);
    const branchLsn = await flushed(cluster);
    await run(cluster, `${diverge('main', 0)} drop table dropped; truncate truncated;`);
    await finish('main', null, cluster);
    const main = logs.get('main')!;
    await branch('a', main, branchLsn, `${diverge('a', 1)} drop table dropped;`);
    await branch('b', main, branchLsn, `${diverge('b', 2)} truncate truncated; create database of_b;`);
  }
  for (const [i, name] of ['a1', 'a2', 'a3', 'a4'].entries()) {
    const parent = logs.get(i === 0 ? 'a' : `a${i}`)!;
    await branch(name, parent, parent.endLsn, diverge(name, i + 3));
  }

  const [main] = logs.values();
  context = testContext({
    storage: new MemoryStorage(),
    safekeepers: main.safekeepers,
    generation: 1,
    settings: { openLayerBytesMax: 1 << 20, layerBytesTarget: 1 << 20 },
  });
  context.importTemplate = ({ startLsn }, emit) =>
    importTemplate({ directory: template, startLsn: parseLsn(startLsn), systemIdentifier }, emit);
  context.openWal = (n, { timelineId }, from) =>
    [...logs.values()].find(({ spec }) => spec.timelineId === timelineId)!.safekeepers.connect(n, from);
  const { projectId } = main.spec;
  pageserver = new Pageserver({ projectId, generation: 1, sessionToken: 'token', stopAfterMs: 0 }, context);
});
afterAll(async () => {
  await pageserver?.abandon();
  context?.remove();
});

async function run(cluster: PostgresCluster, sql: string): Promise<void> {
  for (const statement of sql.split(';').filter((each) => each.trim() !== '')) await cluster.query(statement);
}
const flushed = async (cluster: PostgresCluster): Promise<Lsn> =>
  parseLsn((await cluster.query<{ at: string }>('select pg_current_wal_flush_lsn() as at'))[0].at);

/** A Postgres that has recovered to the end of a record at or before `at` in the parent's log, and goes on. */
async function branch(name: string, parent: Log, at: Lsn, sql: string): Promise<void> {
  const point = recordEnd(parent, at);
  await using recovered = await recover({
    base: template,
    startLsn: templateEnd,
    wal: parent.wal,
    toLsn: point.endLsn,
    settings: SETTINGS,
  });
  await using cluster = await PostgresCluster.create({ copyOf: recovered.dataDirectory, settings: SETTINGS });
  await run(cluster, sql);
  await finish(name, { parent, ...point }, cluster);
}

/** Kills the server and keeps its log. */
async function finish(
  name: string,
  from: { parent: Log; endLsn: Lsn; recordLsn: Lsn } | null,
  cluster: PostgresCluster,
): Promise<void> {
  const flushLsn = await flushed(cluster);
  await cluster.kill();
  const startLsn = from?.endLsn ?? templateEnd;
  const own = Buffer.concat([...readWal(cluster.dataDirectory, startLsn, flushLsn)]);
  const inherited = from === null ? [] : [from.parent.wal.subarray(0, startLsn - templateEnd)];
  const log: Omit<Log, 'spec' | 'safekeepers'> = {
    name,
    wal: Buffer.concat([...inherited, own]),
    startLsn,
    endLsn: flushLsn,
    previousLsn: lsn(0),
  };
  const last = recordEnd(log, flushLsn);
  const wal = {
    endLsn: last.endLsn,
    bytes: (a: Lsn, b: Lsn) => log.wal.subarray(a - templateEnd, b - templateEnd),
  };
  const safekeepers = new FakeSafekeepers(wal);
  safekeepers.commit();
  logs.set(name, {
    ...log,
    endLsn: last.endLsn,
    previousLsn: last.recordLsn,
    safekeepers,
    spec: {
      projectId: 'quiet-tide',
      timelineId: (logs.size + 1).toString(16).padStart(32, '0'),
      postgresMajor: 18,
      systemIdentifier: `${systemIdentifier}`,
      startLsn: formatLsn(startLsn),
      origin:
        from === null
          ? { kind: 'template' }
          : {
              kind: 'branch',
              ancestor: from.parent.spec,
              ancestorLsn: formatLsn(startLsn),
              previousLsn: formatLsn(from.recordLsn),
            },
    },
  });
}

/** The last record that ends at or before `at`; xl_prev is checked over the whole log, branch points included. */
function recordEnd({ wal }: Pick<Log, 'wal'>, at: Lsn): { endLsn: Lsn; recordLsn: Lsn } {
  const decoder = new WalDecoder({ startLsn: templateEnd, facts: postgres18 });
  decoder.push(wal.subarray(0, at - templateEnd));
  const record = newWalRecord();
  let recordLsn = lsn(0);
  while (decoder.next(record)) recordLsn = record.lsn;
  return { endLsn: decoder.endLsn, recordLsn };
}

/** What the pageserver says of the branch at `at`, beside a Postgres that recovered to there. */
async function compare(log: Log, at: Lsn) {
  const timeline = await pageserver.timeline(log.spec);
  const readAt = await timeline.waitFor(at, 60_000);
  const { manifest, blobs } = await buildBootManifest(timeline.view(readAt));
  await using truth = await recover({
    base: template,
    startLsn: templateEnd,
    wal: log.wal,
    toLsn: at,
    settings: SETTINGS,
  });
  const report = await compareGroundTruth(truth, {
    manifest,
    blobs,
    pages: (runs) => readRuns(timeline, runs, readAt),
  });
  return { report, manifest };
}

test.each(['a4', 'b', 'main'])('%s at its end is what its Postgres has', async (name) => {
  const log = logs.get(name)!;
  const { report, manifest } = await compare(log, log.endLsn);
  expect(report.differences).toEqual([]);
  expect(report.pages).toBeGreaterThan(900);
  expect(parseLsn(manifest.previousLsn)).toBe(log.previousLsn);
});

test.each(['b'])('%s at its branch point is its parent at that LSN', async (name) => {
  const log = logs.get(name)!;
  const { report } = await compare(log, log.startLsn);
  expect(report.differences).toEqual([]);
});

test('nothing failed on the way', () => {
  expect(context.errors).toEqual([]);
});
