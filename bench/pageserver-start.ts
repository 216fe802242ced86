/**
 * Start of a pageserver on an empty disk, to the first page: from the spawn of the process to an answered request for a page of a
 * timeline that is in object storage (the WAL of bench/recording.ts, as layers). With Node's compile cache as a machine's
 * first start finds it (empty) and as later ones do.
 *
 *   node bench/pageserver-start.ts [rounds, default 5]
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FolderStorage } from '../containers/pageserver/remote/folder.ts';
import { Timeline } from '../containers/pageserver/timeline/timeline.ts';
import type { PageRun } from '../lib/protocol/pages.ts';
import { Outside } from '../test/containers/pageserver/outside.ts';
import { BenchClient, benchContext, BenchProcess, recordedSafekeepers } from './pageserver.ts';
import { recording } from './recording.ts';
import { median, table } from './support.ts';

const [rounds = 5] = process.argv.slice(2).map(Number);
const recorded = await recording();
const { timeline, startLsn, endLsn, wal, template } = recorded;
const folder = mkdtempSync(join(tmpdir(), 'ebb-bench-start-'));
const storage = new FolderStorage(join(folder, 'objects'));
const page: PageRun = {
  kind: 'relation',
  spcOid: 1663,
  dbOid: 5,
  relNumber: 1259,
  fork: 0,
  block: 0,
  count: 1,
};
let generation = 1;

async function start(outside: Outside): Promise<{ listening: number; page: number }> {
  const began = performance.now();
  const disk = join(folder, `disk-${++generation}`);
  await using server = await BenchProcess.start(outside, {
    projectId: timeline.projectId,
    generation,
    template,
    disk,
  });
  const listening = performance.now() - began;
  const client = await BenchClient.connect(server, timeline);
  await new Promise<void>((resolve) => client.request(page, endLsn, () => resolve()));
  const answered = performance.now() - began;
  client.close();
  return { listening, page: answered };
}

try {
  const safekeepers = recordedSafekeepers(recorded);
  const context = benchContext(recorded, {
    storage,
    diskFolder: join(folder, 'disk'),
    generation: 1,
    safekeepers,
  });
  const attached = await Timeline.attach(context, timeline);
  safekeepers.commit();
  await attached.waitFor(endLsn, 600_000);
  while (!attached.isIdle) await new Promise((resolve) => setTimeout(resolve, 10));
  await attached.stop();

  await using outside = await Outside.start({ storage, wal, startLsn, commitLsn: endLsn });
  process.env['NODE_COMPILE_CACHE'] = join(folder, 'compile-cache');
  const first = await start(outside);
  const later = [];
  for (let i = 0; i < rounds; i++) later.push(await start(outside));
  const cells = (each: { listening: number; page: number }) => [
    each.listening.toFixed(0),
    each.page.toFixed(0),
  ];
  table(
    ['', 'listening, ms', 'first page, ms'],
    [
      ['first start of a machine', ...cells(first)],
      [
        `later ones, median of ${rounds}`,
        ...cells({
          listening: median(later.map(({ listening }) => listening)),
          page: median(later.map((each) => each.page)),
        }),
      ],
    ],
  );
} finally {
  rmSync(folder, { recursive: true, force: true });
}
