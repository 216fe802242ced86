/**
 * Ingest over everything that the workloads of the redo oracle do, against a Postgres that recovered the same WAL: every kind of
 * index with its splits, deletions and vacuums, and what no block reference tells: sizes and truncations, visibility
 * bits, SLRUs of a million transactions that are made and dropped again, multixacts, relation maps, checkpoint fields.
 *
 * The oracle itself (test/lib/postgres/redo/oracle.pg.test.ts) compares record by record; here it is what is left at the end.
 */
import { beforeAll, expect, test } from 'vitest';
import { changesPages18 } from '../../../../lib/postgres/v18/page-changes.ts';
import { compareGroundTruth } from '../../../support/ground-truth.ts';
import { runWorkload } from '../../../support/redo-oracle.ts';
import { counterWorkloads, UNREACHABLE } from '../../../support/redo-workloads/server.ts';
import { mainCluster } from '../../../support/redo-workloads/index.ts';
import { recordTypes } from '../../../support/redo-workloads/table.ts';
import type { Workload } from '../../../support/redo-workloads/workload.ts';
import type { WorkloadStep } from '../../../support/mixed-workload.ts';
import { RecordedTimeline } from '../../../support/recorded-timeline.ts';

const step = (workload: Workload): WorkloadStep => ({
  name: workload.name,
  run: (target) => runWorkload(target, workload, { inSchema: true }),
});
/** Ebb refuses tablespaces (mixedWorkload has the databases), and writes its WAL with wal_level = replica. */
const LEFT_OUT = new Set([
  'server: databases and tablespaces',
  'heap: catalogs rewritten under a logical slot',
]);
const workloads = mainCluster.workloads.filter(({ name }) => !LEFT_OUT.has(name));
const BEFORE_COUNTERS = workloads[workloads.length - 1].name;

let recorded: RecordedTimeline;
beforeAll(async () => {
  recorded = await RecordedTimeline.record({
    settings: { autovacuum: 'off', max_prepared_transactions: '230', track_commit_timestamp: 'on' },
    steps: [...workloads, ...counterWorkloads].map(step),
    cutsAfter: [BEFORE_COUNTERS],
  });
}, 180_000);

test('every record type that changes pages was written', () => {
  const types = [...recordTypes()].filter(({ manager, info }) => changesPages18(manager, info));
  const elsewhere = new Set(['XLOG/FPI_FOR_HINT', ...Object.keys(UNREACHABLE)]);
  const missing = types.filter(({ name }) => !recorded.typesSeen.has(name) && !elsewhere.has(name));
  expect(missing.map(({ name }) => name)).toEqual([]);
  for (const type of ['CLOG/TRUNCATE', 'CommitTs/TRUNCATE', 'MultiXact/TRUNCATE_ID', 'Storage/TRUNCATE']) {
    expect(recorded.typesSeen.has(type), type).toBe(true);
  }
});

test.each([BEFORE_COUNTERS, 'end'])('after %s, all is as in a recovered Postgres', async (after) => {
  const cut = recorded.cut(after);
  await using truth = await recorded.recoveredAt(cut);
  const { differences, ...counts } = await compareGroundTruth(truth, await recorded.subjectAt(cut));
  console.log(`${after}: ${JSON.stringify(counts)}`);
  expect(differences).toEqual([]);
});
