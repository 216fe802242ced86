/**
 * Ingest over everything that the workloads of the redo oracle do, against a Postgres that recovered the same WAL: every kind of
 * index with its splits, deletions and vacuums, and what no block reference tells: sizes and truncations, visibility
 * bits, SLRUs of a million transactions that are made and dropped again, multixacts, relation maps, checkpoint fields.
 *
 * The oracle itself (test/lib/postgres/redo/oracle.pg.test.ts) compares record by record; here it is what is left at the end.
 */
import { beforeAll, expect, test } from 'vitest';
import { formatLsn } from '../../../../lib/postgres/lsn.ts';
import { changesPages18 } from '../../../../lib/postgres/v18/page-changes.ts';
import { postgres18 } from '../../../../lib/postgres/v18/wal.ts';
import { newWalRecord } from '../../../../lib/postgres/wal/decode-record.ts';
import { WalDecoder } from '../../../../lib/postgres/wal/decoder.ts';
import { describeRecord } from '../../../../lib/postgres/wal/describe.ts';
import type { PostgresCluster } from '../../../support/postgres-cluster.ts';
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

/** Of the last record of each type and of up to two lengths more: what Postgres's own pg_walinspect says of its main data, by LSN. */
const described = new Map<string, string>();
async function askForDescriptions(cluster: PostgresCluster): Promise<void> {
  await cluster.query('create extension pg_walinspect');
  const rows = await cluster.query<{ start_lsn: string; description: string }>(`
    select distinct on (resource_manager, record_type, record_length % 3) start_lsn,
      coalesce(description, '') as description
    from pg_get_wal_records_info('0/1000000', pg_current_wal_flush_lsn())
    order by resource_manager, record_type, record_length % 3, start_lsn desc`);
  for (const { start_lsn, description } of rows) described.set(start_lsn, description);
}

let recorded: RecordedTimeline;
beforeAll(async () => {
  recorded = await RecordedTimeline.record({
    settings: { autovacuum: 'off', max_prepared_transactions: '230', track_commit_timestamp: 'on' },
    steps: [...workloads, ...counterWorkloads].map(step),
    cutsAfter: [BEFORE_COUNTERS],
    finish: askForDescriptions,
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

/**
 * Fields that pg_walinspect leaves out, or says in other words. The database of Standby/INVALIDATIONS it prints only where
 * a relation cache's file is invalid too (standby_desc_invalidations, rmgrdesc/standbydesc.c).
 */
const NOT_PRINTED: Readonly<Record<string, string[]>> = {
  'Btree/NEWROOT': ['root'],
  'Btree/REUSE_PAGE': ['block'],
  'CLOG/TRUNCATE': ['oldestXidDatabase'],
  'Database/DROP': ['tablespaces'],
  'Gin/CREATE_PTREE': ['bytes'],
  'Gin/DELETE_PAGE': ['parentItem', 'right', 'deleteXid'],
  'Gin/INSERT': ['tree', 'page'],
  'Gin/INSERT_LISTPAGE': ['right', 'tuples'],
  'Gin/SPLIT': ['tree', 'page', 'root'],
  'Gin/UPDATE_META_PAGE': ['relation', 'tuples'],
  'Gist/PAGE_UPDATE': ['deleted', 'inserted'],
  'Heap2/NEW_CID': ['topXid'],
  'Heap2/PRUNE_ON_ACCESS': ['flags'],
  'Heap2/PRUNE_VACUUM_CLEANUP': ['flags'],
  'Heap2/PRUNE_VACUUM_SCAN': ['flags'],
  'MultiXact/TRUNCATE_ID': ['database'],
  'Standby/INVALIDATIONS': ['tablespace', 'messages'],
  'Standby/LOCK': ['locks'],
  'Standby/RUNNING_XACTS': ['running', 'subtransactions'],
  'Storage/CREATE': ['relation', 'fork'],
  'Storage/TRUNCATE': ['relation', 'flags'],
  'Transaction/COMMIT': ['subtransactions', 'relationsDropped', 'database'],
  'Transaction/ABORT': ['subtransactions', 'relationsDropped'],
  'Transaction/ASSIGNMENT': ['subtransactions'],
  'Transaction/COMMIT_PREPARED': ['subtransactions', 'relationsDropped', 'database'],
  'Transaction/ABORT_PREPARED': ['subtransactions', 'relationsDropped', 'database'],
  'Transaction/INVALIDATION': ['messages'],
  'Transaction/PREPARE': [
    'xid',
    'database',
    'subtransactions',
    'relationsDroppedOnCommit',
    'relationsDroppedOnAbort',
  ],
};

test('the fields of every record type are those that pg_walinspect prints', () => {
  const decoder = new WalDecoder({ startLsn: recorded.startLsn, facts: postgres18 });
  decoder.push(recorded.wal);
  const record = newWalRecord();
  const [wrong, types]: [string[], Set<string>] = [[], new Set()];
  while (decoder.next(record)) {
    const description = described.get(formatLsn(record.lsn));
    if (description === undefined) continue;
    const { resourceManager, type, fields } = describeRecord(record, postgres18);
    const name = `${resourceManager}/${type}`;
    types.add(name);
    const tokens = new Set(description.split(/[\s,;"'[\]()=]+|: ?(?!\d)|(?<=[a-z]):/));
    for (const [field, value] of Object.entries(fields)) {
      if (field === 'time' || field === 'infobits' || NOT_PRINTED[name]?.includes(field)) continue;
      if (tokens.has(String(value)) || description.includes(` ${value}`)) continue;
      if (field === 'version' && tokens.has(`v${value}`)) continue;
      if (name === 'Standby/INVALIDATIONS' && !description.includes('relcache init file inval')) continue;
      wrong.push(`${name} ${field}: ${value} is not in "${description.slice(0, 200)}"`);
    }
  }
  expect(wrong).toEqual([]);
  expect([...recorded.typesSeen].filter((type) => !types.has(type))).toEqual([]);
});
