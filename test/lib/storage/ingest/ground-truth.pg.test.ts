/**
 * Ingest and redo against a real Postgres: after a mixed workload, at several LSNs, every page and file that the store
 * gives equals that of a Postgres that recovered the same WAL to the same LSN; and a Postgres that starts from
 * what the store gives finds itself consistent.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { formatLsn } from '../../../../lib/postgres/lsn.ts';
import { compareGroundTruth, type GroundTruthSubject } from '../../../support/ground-truth.ts';
import { materialize } from '../../../support/materialize.ts';
import { leaveUnfinished, mixedWorkload } from '../../../support/mixed-workload.ts';
import { PostgresCluster } from '../../../support/postgres-cluster.ts';
import { RecordedTimeline } from '../../../support/recorded-timeline.ts';

const SETTINGS = { max_prepared_transactions: '10', track_commit_timestamp: 'on', autovacuum: 'off' };
/** Steps after which the store is compared, besides the end. */
const CUTS = [
  'TOAST and large objects',
  'multixacts',
  'prepared transactions',
  'rewrites and mapped relations',
];
/** What the workload must have made Postgres write, lest the comparison compares nothing. */
const RECORD_TYPES = `
  Btree/DEDUP Btree/DELETE Btree/INSERT_LEAF Btree/INSERT_POST Btree/INSERT_UPPER Btree/MARK_PAGE_HALFDEAD
  Btree/META_CLEANUP Btree/NEWROOT Btree/SPLIT_L Btree/SPLIT_R Btree/UNLINK_PAGE Btree/VACUUM CLOG/ZEROPAGE
  CommitTs/ZEROPAGE Database/CREATE_FILE_COPY Database/CREATE_WAL_LOG Database/DROP Heap/DELETE Heap/HEAP_CONFIRM
  Heap/HOT_UPDATE Heap/INPLACE Heap/INSERT Heap/INSERT+INIT Heap/LOCK Heap/UPDATE Heap/UPDATE+INIT Heap2/LOCK_UPDATED
  Heap2/MULTI_INSERT Heap2/MULTI_INSERT+INIT Heap2/PRUNE_ON_ACCESS Heap2/PRUNE_VACUUM_CLEANUP
  Heap2/PRUNE_VACUUM_SCAN Heap2/VISIBLE LogicalMessage/MESSAGE MultiXact/CREATE_ID MultiXact/ZERO_MEM_PAGE
  MultiXact/ZERO_OFF_PAGE RelMap/UPDATE Sequence/LOG Standby/INVALIDATIONS Standby/LOCK Standby/RUNNING_XACTS
  Storage/CREATE Storage/TRUNCATE Transaction/ABORT Transaction/ABORT_PREPARED Transaction/ASSIGNMENT
  Transaction/COMMIT Transaction/COMMIT_PREPARED Transaction/PREPARE XLOG/CHECKPOINT_ONLINE XLOG/CHECKPOINT_REDO
  XLOG/FPI XLOG/NEXTOID XLOG/PARAMETER_CHANGE XLOG/SWITCH`
  .trim()
  .split(/\s+/);

/** What `SETTINGS` and Postgres's defaults come to. */
const CONTROL_SETTINGS = {
  maxConnections: 100,
  maxWorkerProcesses: 8,
  maxWalSenders: 10,
  maxPreparedTransactions: 10,
  maxLocksPerTransaction: 64,
};
/** amcheck on every index and table, pg_visibility on every table of one database. */
const CONSISTENCY_CHECKS = `
  create extension amcheck;
  create extension pg_visibility;
  with relation as (select oid, relkind, relam from pg_class where relpersistence = 'p')
  select
    (select count(bt_index_check(oid, true)) from relation where relkind = 'i' and relam = 403) as indexes,
    (select count(*) from relation, verify_heapam(oid) where relkind in ('r', 't', 'm')) as corrupt,
    (select count(*) from relation, pg_check_frozen(oid) where relkind in ('r', 't', 'm')) as not_frozen,
    (select count(*) from relation, pg_check_visible(oid) where relkind in ('r', 't', 'm')) as not_visible`;

let recorded: RecordedTimeline;

beforeAll(async () => {
  recorded = await RecordedTimeline.record({
    settings: SETTINGS,
    steps: mixedWorkload,
    cutsAfter: CUTS,
    finish: leaveUnfinished,
  });
});

test('the workload makes Postgres write every kind of record that matters', () => {
  expect(RECORD_TYPES.filter((type) => !recorded.typesSeen.has(type))).toEqual([]);
});

test.each(CUTS)('after %s, pages and files are those of a recovered Postgres', async (after) => {
  const cut = recorded.cut(after);
  await using truth = await recorded.recoveredAt(cut);
  const report = await compareGroundTruth(truth, await recorded.subjectAt(cut));
  expect(report.differences).toEqual([]);
});

test('after everything too, and the comparison finds what is planted', async () => {
  const cut = recorded.cut('end');
  await using truth = await recorded.recoveredAt(cut);
  const subject = await recorded.subjectAt(cut);
  const { differences, ...counts } = await compareGroundTruth(truth, subject);
  expect(differences).toEqual([]);
  expect(counts.relations).toBeGreaterThan(1500);
  expect(counts.pages).toBeGreaterThan(6000);
  expect(counts.slruPages).toBeGreaterThan(50);
  expect(subject.manifest.files.filter(({ path }) => path.startsWith('pg_twophase/'))).toHaveLength(2);
  console.log(`at ${formatLsn(cut.lsn)}: ${JSON.stringify(counts)} equal`);

  const { manifest } = subject;
  const heap = manifest.relations.find(([, , relNumber, fork]) => relNumber >= 16384 && fork === 0);
  const map = manifest.relations.find(([, , relNumber, fork]) => relNumber >= 16384 && fork === 2);
  const planted: GroundTruthSubject = {
    manifest: {
      ...manifest,
      relations: manifest.relations.filter((relation) => relation !== heap),
      directories: [...manifest.directories, 'base/999'],
      files: manifest.files.map((file) =>
        file.path === 'global/pg_filenode.map' ? { ...file, content: [0, 524] } : file,
      ),
    },
    blobs: subject.blobs,
    async pages(runs) {
      const pages = await subject.pages(runs);
      const isMap = runs[0].kind === 'relation' && runs[0].relNumber === map?.[2] && runs[0].fork === 2;
      if (!isMap && !(runs[0].kind === 'slru' && runs[0].slru === 'pg_xact')) return pages;
      const changed = pages[0]?.slice() ?? null;
      if (changed !== null) changed[100] ^= 1;
      return [changed, ...pages.slice(1)];
    },
  };
  const found = (await compareGroundTruth(truth, planted)).differences.sort();
  expect(found.map((line) => line.replace(/[0-9]{5,}|[0-9a-f]{32}/g, '#'))).toEqual([
    'directory base/999: not expected',
    'file global/pg_filenode.map: content differs',
    'no relation 1663/5/# main',
    'pg_xact/0000 block 0 at 100: #, # expected',
    'relation 1663/5/# vm block 0 at 100: #, # expected',
  ]);
});

test('a Postgres that starts from manifest and pages finds itself consistent', async () => {
  const scratch = mkdtempSync(join(tmpdir(), 'ebb-materialized-'));
  try {
    const directory = join(scratch, 'data');
    await materialize(await recorded.subjectAt(recorded.cut('end')), directory, {
      template: recorded.template,
      settings: CONTROL_SETTINGS,
      timeSeconds: Math.floor(Date.now() / 1000),
    });
    await using cluster = await PostgresCluster.create({ copyOf: directory, settings: SETTINGS });
    expect(cluster.log).not.toMatch(/recovery|ERROR|PANIC|WARNING/);
    const query = async (text: string, database?: string) =>
      (await cluster.query(text, [], database)).map((row) => Object.values(row).map(Number));

    for (const { datname } of await cluster.query<{ datname: string }>(
      'select datname from pg_database where datallowconn',
    )) {
      expect(await cluster.query(CONSISTENCY_CHECKS, undefined, datname), datname).toEqual([
        { indexes: expect.any(String) as string, corrupt: '0', not_frozen: '0', not_visible: '0' },
      ]);
    }
    // What was unfinished never was; what was committed last is there.
    expect(await cluster.query("select to_regclass('never') as never")).toEqual([{ never: null }]);
    expect(
      await query(
        'select count(*) from nested where a = 9999 union all select count(*) from account where balance = -1',
      ),
    ).toEqual([[1], [0]]);
    // Unlogged relations are empty and can be used.
    expect(await query('select count(*) from quick')).toEqual([[0]]);
    expect(await query("insert into quick (body) values ('again') returning id")).toEqual([[1]]);
    expect(await query("select nextval('quick_counter')")).toEqual([[1]]);
    await query('insert into here_unlogged values (1)', 'file_copy');
    await query('insert into here_unlogged values (1)', 'third');
    await query('insert into there_unlogged values (1)', 'fourth');
    // Prepared transactions can be ended.
    expect(await query('select count(*) from pg_prepared_xacts')).toEqual([[2]]);
    await cluster.query("commit prepared 'stays'");
    await cluster.query("rollback prepared 'stays too, with a longer name'");
    expect(await query('select a from pinned order by a')).toEqual([[5], [6]]);
    // Multixacts, sequences, large objects, copies of databases.
    expect(await query('update locked set v = v where id <= 2200 returning 1')).toHaveLength(2200);
    expect((await query("select nextval('counter')"))[0][0]).toBeGreaterThanOrEqual(7);
    expect(await query('select length(lo_get(oid)) from pg_largeobject_metadata')).toEqual([[30_000]]);
    expect(await query('select count(*) from here', 'third')).toEqual([[1000]]);
    expect(await query('select count(*) from there', 'fourth')).toEqual([[1000]]);
    await cluster.query('vacuum (freeze)');
    await cluster.query('create table afterwards as select * from account');
    await cluster.stop();
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
});
