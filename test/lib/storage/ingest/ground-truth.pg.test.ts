/**
 * Ingest and redo against a real Postgres: after a mixed workload, at several LSNs, every page and file that the store
 * gives equals that of a Postgres that recovered the same WAL to the same LSN.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { importTemplate } from '../../../../containers/pageserver/import/template.ts';
import { decodeControlFile } from '../../../../lib/postgres/control-file.ts';
import { formatLsn, parseLsn, type Lsn } from '../../../../lib/postgres/lsn.ts';
import { postgres18 } from '../../../../lib/postgres/v18/wal.ts';
import { newWalRecord } from '../../../../lib/postgres/wal/decode-record.ts';
import { WalDecoder } from '../../../../lib/postgres/wal/decoder.ts';
import type { PageRun } from '../../../../lib/protocol/pages.ts';
import { relationPageKey, slruPageKey } from '../../../../lib/storage/key.ts';
import { buildBootManifest } from '../../../../lib/storage/state/boot-manifest.ts';
import { compareGroundTruth, type GroundTruthSubject } from '../../../support/ground-truth.ts';
import { MemoryStore, MemoryTimeline } from '../../../support/memory-store.ts';
import { leaveUnfinished, mixedWorkload } from '../../../support/mixed-workload.ts';
import { initdbTemplate, PostgresCluster } from '../../../support/postgres-cluster.ts';
import { recover } from '../../../support/recovered-postgres.ts';
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
const CUTS = ['TOAST and large objects', 'prepared transactions', 'rewrites and mapped relations'];

let template: string;
let startLsn: Lsn;
let wal: Uint8Array;
const store = new MemoryStore();
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
afterAll(() => {
  expect(cuts.map(({ after }) => after)).toEqual([...CUTS, 'everything']);
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

test.each([...CUTS, 'everything'])(
  'after %s, pages and files are those of a recovered Postgres',
  async (after) => {
    const cut = cuts.find((each) => each.after === after);
    if (cut === undefined) throw new Error(`the WAL has no position after ${after}`);
    await using truth = await recover({
      base: template,
      startLsn,
      wal,
      toLsn: cut.lsn,
      settings: SETTINGS,
    });
    const report = await compareGroundTruth(truth, await subjectAt(cut.lsn, cut.previousLsn));
    console.log(
      `at ${formatLsn(cut.lsn)}: ${report.relations} forks, ${report.pages} pages, ${report.slruPages} SLRU pages, ${report.files} files`,
    );
    expect(report.differences).toEqual([]);
  },
);
