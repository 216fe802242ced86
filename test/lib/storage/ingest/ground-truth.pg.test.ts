/**
 * Ingest and redo against a real Postgres: after a mixed workload, at several LSNs, every page and file that the store
 * gives equals that of a Postgres that recovered the same WAL to the same LSN.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { importTemplate } from '../../../../containers/pageserver/import/template.ts';
import { decodeControlFile } from '../../../../lib/postgres/control-file.ts';
import { formatLsn, parseLsn, type Lsn } from '../../../../lib/postgres/lsn.ts';
import { postgres18 } from '../../../../lib/postgres/v18/wal.ts';
import { newWalRecord } from '../../../../lib/postgres/wal/decode-record.ts';
import { recordTypeName, resourceManagerName } from '../../../../lib/postgres/wal/describe.ts';
import { WalDecoder } from '../../../../lib/postgres/wal/decoder.ts';
import type { PageRun } from '../../../../lib/protocol/pages.ts';
import { relationPageKey, slruPageKey } from '../../../../lib/storage/key.ts';
import { buildBootManifest } from '../../../../lib/storage/state/boot-manifest.ts';
import { compareGroundTruth, type GroundTruthSubject } from '../../../support/ground-truth.ts';
import { MemoryStore, MemoryTimeline } from '../../../support/memory-store.ts';
import { leaveUnfinished, mixedWorkload } from '../../../support/mixed-workload.ts';
import { initdbTemplate, PostgresCluster } from '../../../support/postgres-cluster.ts';
import { recover, type Recovered } from '../../../support/recovered-postgres.ts';
import { readWal } from '../../../support/wal-files.ts';

const SETTINGS = {
  wal_level: 'replica',
  full_page_writes: 'off',
  wal_keep_size: '10GB',
  max_prepared_transactions: '10',
  track_commit_timestamp: 'on',
  autovacuum: 'off',
};
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

let template: string;
let startLsn: Lsn;
let wal: Uint8Array;
const store = new MemoryStore();
const typesSeen = new Set<string>();
/** Where to compare: an LSN and the start of the last record before it. */
const cuts: { after: string; lsn: Lsn; previousLsn: Lsn }[] = [];

beforeAll(async () => {
  template = await initdbTemplate();
  const control = decodeControlFile(readFileSync(join(template, 'global/pg_control')));
  const targets: { after: string; lsn: Lsn }[] = [];
  let endLsn: Lsn;
  {
    await using cluster = await PostgresCluster.create({ settings: SETTINGS });
    const position = async (which: string): Promise<Lsn> =>
      parseLsn((await cluster.query<{ lsn: string }>(`select ${which}() as lsn`))[0].lsn);
    for (const step of mixedWorkload) {
      await step.run(cluster);
      if (CUTS.includes(step.name)) {
        targets.push({ after: step.name, lsn: await position('pg_current_wal_insert_lsn') });
      }
    }
    await leaveUnfinished(cluster);
    endLsn = await position('pg_current_wal_flush_lsn');
    await cluster.kill();
    startLsn = endOfCheckpoint(cluster.dataDirectory, control.checkPoint);
    wal = Buffer.concat([...readWal(cluster.dataDirectory, startLsn, endLsn)]);
  }
  const systemIdentifier = control.systemIdentifier;
  await importTemplate({ directory: template, startLsn, systemIdentifier }, (key, value) =>
    store.put(startLsn, key, value),
  );
  await ingest([...targets, { after: 'everything', lsn: Infinity as Lsn }]);
});

/** The template's WAL ends with its shutdown checkpoint. */
function endOfCheckpoint(dataDirectory: string, checkPoint: Lsn): Lsn {
  const decoder = new WalDecoder({ startLsn: checkPoint, facts: postgres18 });
  const end = (checkPoint + 16384) as Lsn;
  for (const bytes of readWal(dataDirectory, checkPoint, end)) decoder.push(bytes);
  if (!decoder.next(newWalRecord())) throw new Error('the template has no checkpoint record');
  return decoder.endLsn;
}

/** Ingests all of the WAL, noting the first record end at or after each target; there the state is loaded anew. */
async function ingest(targets: { after: string; lsn: Lsn }[]): Promise<void> {
  const timeline = await MemoryTimeline.open(store, startLsn);
  const decoder = new WalDecoder({ startLsn, facts: postgres18 });
  decoder.push(wal);
  const record = newWalRecord();
  let next = 0;
  const cut = async (): Promise<void> => {
    cuts.push({
      after: targets[next++].after,
      lsn: timeline.endLsn,
      previousLsn: timeline.state.lastRecordLsn,
    });
    await timeline.reload();
  };
  while (decoder.next(record)) {
    typesSeen.add(
      `${resourceManagerName(record.resourceManager, postgres18)}/${recordTypeName(record.resourceManager, record.info, postgres18)}`,
    );
    await timeline.ingest(record);
    if (timeline.endLsn >= targets[next].lsn) await cut();
  }
  await cut();
}

async function subjectAt(lsn: Lsn, previousLsn: Lsn): Promise<GroundTruthSubject> {
  const { manifest, blobs } = await buildBootManifest(store.view(lsn, previousLsn));
  const read = (run: PageRun, block: number): Uint8Array | null =>
    store.get(
      run.kind === 'slru' ? slruPageKey(run.slru, run.segment, block) : relationPageKey(run, block),
      lsn,
    );
  const pages = (runs: PageRun[]) =>
    Promise.resolve(
      runs.flatMap((run) => Array.from({ length: run.count }, (_, i) => read(run, run.block + i))),
    );
  return { manifest, blobs, pages };
}

test('the workload makes Postgres write every kind of record that matters', () => {
  expect(RECORD_TYPES.filter((type) => !typesSeen.has(type))).toEqual([]);
});

async function truthAt(after: string): Promise<{ cut: (typeof cuts)[number]; truth: Recovered }> {
  const cut = cuts.find((each) => each.after === after);
  if (cut === undefined) throw new Error(`the WAL has no position after ${after}`);
  const truth = await recover({ base: template, startLsn, wal, toLsn: cut.lsn, settings: SETTINGS });
  return { cut, truth };
}

test.each(CUTS)('after %s, pages and files are those of a recovered Postgres', async (after) => {
  const { cut, truth } = await truthAt(after);
  await using _ = truth;
  const report = await compareGroundTruth(truth, await subjectAt(cut.lsn, cut.previousLsn));
  expect(report.differences).toEqual([]);
});

test('after everything too, and the comparison finds what is planted', async () => {
  const { cut, truth } = await truthAt('everything');
  await using _ = truth;
  const subject = await subjectAt(cut.lsn, cut.previousLsn);
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
