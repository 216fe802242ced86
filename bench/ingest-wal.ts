/**
 * Real WAL (bench/recording.ts: pgbench -i, a table of text, TPC-B) end to end: from a safekeeper's stream to layers in object storage,
 * in a production process over its real protocol, with and without pages being read meanwhile; and in this process.
 *
 *   node bench/ingest-wal.ts [process | in-process, default both]
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FolderStorage } from '../containers/pageserver/remote/folder.ts';
import { Timeline } from '../containers/pageserver/timeline/timeline.ts';
import { formatLsn, type Lsn } from '../lib/postgres/lsn.ts';
import type { PageRun } from '../lib/protocol/pages.ts';
import { Outside } from '../test/containers/pageserver/outside.ts';
import {
  BenchClient,
  benchContext,
  BenchProcess,
  MEASURED_HEADER,
  recordedSafekeepers,
  row,
} from './pageserver.ts';
import { recording } from './recording.ts';
import { table } from './support.ts';

const [which = 'both'] = process.argv.slice(2);
const recorded = await recording();
const { wal, startLsn, endLsn, timeline } = recorded;
const megabytes = (endLsn - startLsn) / 1e6;
const folder = mkdtempSync(join(tmpdir(), 'ebb-bench-wal-'));
const rows: string[][] = [];
const readRows: string[][] = [];
/** Each as soon as it is known; the tables come at the end. */
const add = (to: string[][], cells: string[]): void => {
  to.push(cells);
  console.log(cells.join('  '));
};

/** pg_class and its kind, at the start: pages that every database reads, and that the WAL changes. */
const catalog = (): PageRun => ({
  kind: 'relation',
  spcOid: 1663,
  dbOid: 5,
  relNumber: [1259, 1249, 1247, 2619][Math.floor(Math.random() * 4)],
  fork: 0,
  block: Math.floor(Math.random() * 10),
  count: 1,
});

async function inProcess(isCompacting: boolean): Promise<void> {
  const safekeepers = recordedSafekeepers(recorded);
  const options = { diskFolder: `${folder}/in-process-${isCompacting}`, generation: 1, safekeepers };
  const context = benchContext(recorded, {
    ...options,
    storage: new FolderStorage(`${folder}/objects-${isCompacting}`),
  });
  if (!isCompacting) context.settings.level0Max = Infinity;
  const attached = await Timeline.attach(context, timeline);
  const started = performance.now();
  const { user, system } = process.cpuUsage();
  safekeepers.commit();
  await attached.waitFor(endLsn, 600_000);
  const ingested = performance.now() - started;
  while (!attached.isIdle) await new Promise((resolve) => setTimeout(resolve, 5));
  const uploaded = performance.now() - started;
  const cpu = process.cpuUsage({ user, system });
  add(rows, [
    isCompacting ? 'in process' : 'in process, without compaction',
    (megabytes / (ingested / 1000)).toFixed(1),
    (megabytes / (uploaded / 1000)).toFixed(1),
    ((cpu.user + cpu.system) / 1e6).toFixed(1),
  ]);
  await attached.stop();
}

async function overProtocol(inFlight: number): Promise<void> {
  const storage = new FolderStorage(`${folder}/objects-${inFlight}`);
  await using outside = await Outside.start({ storage, wal, startLsn, commitLsn: startLsn });
  const { projectId } = timeline;
  const { template } = recorded;
  const options = { projectId, generation: 1, template, disk: `${folder}/disk-${inFlight}` };
  await using server = await BenchProcess.start(outside, options);
  const client = await BenchClient.connect(server, timeline);
  const idle = await client.measure(catalog, startLsn, { inFlight: Math.max(1, inFlight), ms: 1_500 });
  const started = performance.now();
  const { processorMs } = server;
  outside.commit(endLsn);
  const progress = { isDone: false };
  const ingest = (async () => {
    const relation = { kind: 'relation', spcOid: 1663, dbOid: 5, relNumber: 1259, fork: 0 } as const;
    for (let at: Lsn = startLsn; at < endLsn;) {
      await new Promise((resolve) => setTimeout(resolve, 10));
      at = outside.reports.at(-1)?.ingestedLsn ?? startLsn;
    }
    progress.isDone = true;
    const ms = performance.now() - started;
    await new Promise<void>((resolve) =>
      client.request({ ...relation, block: 0, count: 1 }, endLsn, () => resolve()),
    );
    return ms;
  })();
  if (inFlight > 0) {
    const latencies = [];
    while (!progress.isDone) latencies.push(await client.measure(catalog, startLsn, { inFlight, ms: 1_000 }));
    add(readRows, row(`${inFlight} in flight, before`, idle));
    for (const each of latencies) add(readRows, row(`${inFlight} in flight, while WAL is ingested`, each));
  }
  const ms = await ingest;
  add(rows, [
    inFlight === 0 ? 'a process, no reads' : `a process, ${inFlight} reads in flight`,
    (megabytes / (ms / 1000)).toFixed(1),
    '',
    ((server.processorMs - processorMs) / 1000).toFixed(1),
  ]);
  client.close();
}

try {
  console.log(
    `${megabytes.toFixed(0)} MB of WAL to ${formatLsn(endLsn)}: ${((recorded.loadedLsn - startLsn) / 1e6).toFixed(0)} pgbench -i, ${((recorded.documentsLsn - recorded.loadedLsn) / 1e6).toFixed(0)} documents, ${((endLsn - recorded.documentsLsn) / 1e6).toFixed(0)} TPC-B`,
  );
  if (which !== 'process') for (const isCompacting of [false, true]) await inProcess(isCompacting);
  if (which !== 'in-process') for (const inFlight of [0, 8]) await overProtocol(inFlight);
  table(['WAL', 'ingested MB/s', 'in object storage MB/s', 'processor s'], rows);
  if (readRows.length > 0) table(MEASURED_HEADER, readRows);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
