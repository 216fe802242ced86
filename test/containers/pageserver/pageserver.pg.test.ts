/**
 * The pageserver as a process, fed with what a real Postgres wrote: everything it says at an LSN is what a Postgres that
 * recovered the same WAL to that LSN has in its files, also after the process and its disk are gone.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { importTemplate } from '../../../containers/pageserver/import/template.ts';
import { readRuns } from '../../../containers/pageserver/read/page-service.ts';
import { MemoryStorage } from '../../../containers/pageserver/remote/memory.ts';
import { Timeline } from '../../../containers/pageserver/timeline/timeline.ts';
import { decodeControlFile } from '../../../lib/postgres/control-file.ts';
import { formatLsn, lsn, parseLsn, type Lsn } from '../../../lib/postgres/lsn.ts';
import { postgres18 } from '../../../lib/postgres/v18/wal.ts';
import { newWalRecord } from '../../../lib/postgres/wal/decode-record.ts';
import { WalDecoder } from '../../../lib/postgres/wal/decoder.ts';
import type { PageRun } from '../../../lib/protocol/pages.ts';
import type { TimelineSpec } from '../../../lib/protocol/specs.ts';
import { parseLayerName } from '../../../lib/storage/layers/descriptor.ts';
import { buildBootManifest } from '../../../lib/storage/state/boot-manifest.ts';
import { compareGroundTruth, type GroundTruth } from '../../support/ground-truth.ts';
import { mixedWorkload } from '../../support/mixed-workload.ts';
import { initdbTemplate, PostgresCluster } from '../../support/postgres-cluster.ts';
import { recover, type Recovered } from '../../support/recovered-postgres.ts';
import { readWal } from '../../support/wal-files.ts';
import { Outside, PageClient, PageserverProcess } from './outside.ts';
import { FakeSafekeepers, testContext } from './timeline/support.ts';

const SETTINGS = {
  wal_level: 'replica',
  full_page_writes: 'off',
  wal_keep_size: '10GB',
  max_prepared_transactions: '10',
  track_commit_timestamp: 'on',
  autovacuum: 'off',
};

let template: string;
let timeline: TimelineSpec;
let startLsn: Lsn;
let endLsn: Lsn;
let wal: Uint8Array;
let middleLsn: Lsn;

beforeAll(async () => {
  template = await initdbTemplate();
  const control = decodeControlFile(readFileSync(join(template, 'global/pg_control')));
  await using cluster = await PostgresCluster.create({ settings: SETTINGS });
  for (const step of mixedWorkload) await step.run(cluster);
  const [{ end }] = await cluster.query<{ end: string }>('select pg_current_wal_flush_lsn() as "end"');
  await cluster.kill();
  const { dataDirectory } = cluster;
  const checkPoint = new WalDecoder({ startLsn: control.checkPoint, facts: postgres18 });
  for (const bytes of readWal(dataDirectory, control.checkPoint, lsn(control.checkPoint + 16384)))
    checkPoint.push(bytes);
  checkPoint.next(newWalRecord());
  startLsn = checkPoint.endLsn;
  wal = Buffer.concat([...readWal(dataDirectory, startLsn, parseLsn(end))]);
  ({ endLsn, middleLsn } = recordEnds());
  timeline = {
    projectId: 'quiet-tide',
    timelineId: '0123456789abcdef'.repeat(2),
    postgresMajor: 18,
    systemIdentifier: `${control.systemIdentifier}`,
    startLsn: formatLsn(startLsn),
    origin: { kind: 'template' },
  };
});

/** The end of the last whole record, and of one in the middle of the WAL. */
function recordEnds(): { endLsn: Lsn; middleLsn: Lsn } {
  const decoder = new WalDecoder({ startLsn, facts: postgres18 });
  decoder.push(wal);
  let middleLsn = startLsn;
  const record = newWalRecord();
  while (decoder.next(record)) if (record.endLsn < startLsn + wal.length / 2) middleLsn = record.endLsn;
  return { endLsn: decoder.endLsn, middleLsn };
}

const truthAt = (toLsn: Lsn): Promise<Recovered> =>
  recover({ base: template, startLsn, wal, toLsn, settings: SETTINGS });

async function differences(client: PageClient, truth: GroundTruth, at: Lsn): Promise<string[]> {
  const response = await client.request({ tag: 'boot', lsn: at });
  if (response.tag !== 'boot') throw new Error(JSON.stringify(response));
  const { manifest, blobs } = response;
  const report = await compareGroundTruth(truth, {
    manifest,
    blobs,
    pages: (runs) => client.pages(runs, at),
  });
  console.log(
    `at ${formatLsn(at)}: ${report.relations} forks, ${report.pages} pages, ${report.slruPages} SLRU pages, ${report.files} files`,
  );
  return report.differences;
}
const start = (outside: Outside, generation: number, stopAfterMs = 0): Promise<PageserverProcess> =>
  PageserverProcess.start(outside, { projectId: timeline.projectId, generation, template, stopAfterMs });

test('pages and files are those of a recovered Postgres, now, in the past, and after every loss', async () => {
  await using outside = await Outside.start({
    storage: new MemoryStorage(),
    wal,
    startLsn,
    commitLsn: endLsn,
  });
  await using middle = await truthAt(middleLsn);
  await using end = await truthAt(endLsn);
  {
    await using pageserver = await start(outside, 1);
    const client = await PageClient.connect(pageserver, timeline);
    expect(await differences(client, end, endLsn)).toEqual([]);
    expect(await differences(client, middle, middleLsn)).toEqual([]);
    pageserver.signal('SIGKILL'); // what was not uploaded is gone with its disk
  }
  {
    await using pageserver = await start(outside, 2);
    const client = await PageClient.connect(pageserver, timeline);
    expect(await differences(client, end, endLsn)).toEqual([]);
    client.socket.close();
    expect((await pageserver.stop()).status).toBe(204);
    expect(await pageserver.exited).toBe(0);
  }
  // Everything is in storage: the WAL can go, and no local file is left.
  outside.trimmedLsn = endLsn;
  expect(outside.reports.at(-1)!.remoteConsistentLsn).toBeLessThanOrEqual(endLsn);
  await using pageserver = await start(outside, 3);
  const client = await PageClient.connect(pageserver, timeline);
  expect(await differences(client, end, endLsn)).toEqual([]);
  expect(await differences(client, middle, middleLsn)).toEqual([]);
});

test('the same out of many small layers that are merged and imaged meanwhile', async () => {
  const bytes = (from: Lsn, to: Lsn) => wal.subarray(from - startLsn, to - startLsn);
  const safekeepers = new FakeSafekeepers({ endLsn, bytes });
  const context = testContext({
    storage: new MemoryStorage(),
    safekeepers,
    generation: 1,
    settings: {
      openLayerBytesMax: 4 << 20,
      level0Max: 3,
      imageDeltasMax: 2,
      layerBytesTarget: 1 << 20,
      quietMs: 50,
    },
  });
  context.importTemplate = ({ systemIdentifier }, emit) =>
    importTemplate({ directory: template, startLsn, systemIdentifier: BigInt(systemIdentifier) }, emit);
  const attached = await Timeline.attach(context, timeline);
  try {
    safekeepers.commit();
    await attached.waitFor(endLsn, 120_000); // all WAL at once, on a machine that may have other work
    while (!attached.isIdle) await new Promise((resolve) => setTimeout(resolve, 10));
    const { layers } = attached.status();
    expect(layers.filter(({ name }) => parseLayerName(name)!.kind === 'image').length).toBeGreaterThan(3);
    for (const at of [endLsn, middleLsn]) {
      await using truth = await truthAt(at);
      const { manifest, blobs } = await buildBootManifest(attached.view(at));
      const pages = (runs: PageRun[]) => readRuns(attached, runs, at);
      expect((await compareGroundTruth(truth, { manifest, blobs, pages })).differences).toEqual([]);
    }
    console.log(
      `${layers.length} layers; ${attached.reader.layersVisited} visited in ${attached.reader.reads} reads`,
    );
    expect(context.errors).toEqual([]);
  } finally {
    attached.abandon();
    context.remove();
  }
});

describe('the process', () => {
  test('stops by itself when no compute is there and everything is uploaded, if it is let go', async () => {
    await using outside = await Outside.start({
      storage: new MemoryStorage(),
      wal,
      startLsn,
      commitLsn: middleLsn,
    });
    outside.letIdleGo = false;
    await using pageserver = await start(outside, 1, 100);
    const client = await PageClient.connect(pageserver, timeline);
    const boot = await client.request({ tag: 'boot', lsn: middleLsn });
    expect(boot.tag).toBe('boot');
    const asked = outside.idleAsked;
    client.socket.close();
    while (outside.idleAsked <= asked) await new Promise((resolve) => setTimeout(resolve, 10));
    outside.letIdleGo = true;
    expect(await pageserver.exited).toBe(0);
    const uploaded = Math.max(...outside.reports.map(({ remoteConsistentLsn }) => remoteConsistentLsn));
    expect(uploaded).toBe(middleLsn);
  });

  test('SIGTERM uploads and exits; a request that waits for an LSN is answered `stopping`', async () => {
    await using outside = await Outside.start({
      storage: new MemoryStorage(),
      wal,
      startLsn,
      commitLsn: startLsn,
    });
    await using pageserver = await start(outside, 1);
    const client = await PageClient.connect(pageserver, timeline);
    const never = client.request({ tag: 'boot', lsn: middleLsn });
    const here = await client.request({ tag: 'boot', lsn: startLsn });
    expect(here).toMatchObject({ tag: 'boot', manifest: { previousLsn: '0/0' } });
    pageserver.signal('SIGTERM');
    expect(await never).toMatchObject({ tag: 'error', code: 'stopping' });
    expect(await pageserver.exited).toBe(0);
  });

  test('SIGTERM while object storage takes nothing: it ends all the same, and the next one has everything', async () => {
    const storage = new MemoryStorage();
    const put = storage.put.bind(storage);
    await using outside = await Outside.start({ storage, wal, startLsn, commitLsn: startLsn });
    await using pageserver = await start(outside, 1);
    const client = await PageClient.connect(pageserver, timeline);
    await client.request({ tag: 'boot', lsn: startLsn });
    storage.put = () => new Promise(() => undefined);
    outside.commit(middleLsn);
    expect(await client.request({ tag: 'boot', lsn: middleLsn })).toMatchObject({ tag: 'boot' });
    const begin = performance.now();
    pageserver.signal('SIGTERM');
    expect(await pageserver.exited).toBe(1);
    expect(performance.now() - begin).toBeLessThan(18_000);
    storage.put = put;
    await using next = await start(outside, 2);
    const other = await PageClient.connect(next, timeline);
    expect(await other.request({ tag: 'boot', lsn: middleLsn })).toMatchObject({ tag: 'boot' });
  });

  test('lets nobody in without its token, and answers malformed requests with documented errors', async () => {
    await using outside = await Outside.start({
      storage: new MemoryStorage(),
      wal,
      startLsn,
      commitLsn: middleLsn,
    });
    await using pageserver = await start(outside, 1);
    expect((await fetch(`${pageserver.url}/healthz`)).status).toBe(204);
    for (const path of ['/ready', '/inspect/timelines/x', '/nothing'])
      expect((await fetch(pageserver.url + path)).status, path).toBe(401);
    expect((await fetch(`${pageserver.url}/stop`, { method: 'POST' })).status).toBe(401);
    const foreign = await PageClient.connect(pageserver, { ...timeline, projectId: 'another' });
    expect(await foreign.closed).toMatchObject({ code: 1011 });
    for (const bytes of [
      [],
      [1, 2, 3],
      [9, ...Array.from({ length: 12 }, () => 255)],
      new Uint8Array(40_000),
    ]) {
      const client = await PageClient.connect(pageserver, timeline);
      client.socket.send(Buffer.from(bytes));
      expect([1002, 1009], `${bytes.length} bytes`).toContain((await client.closed).code);
    }

    const page = await pageserver.inspect(
      timeline,
      `/page?spc=1664&db=0&rel=1262&block=0&lsn=${formatLsn(middleLsn)}`,
    );
    expect(page.status).toBe(200);
    expect(page.headers.get('x-ebb-lsn')).toBe(formatLsn(middleLsn));
    expect((await page.arrayBuffer()).byteLength).toBe(8192);
    const slru = await pageserver.inspect(timeline, '/page?slru=pg_xact&segment=0&block=0');
    expect((await slru.arrayBuffer()).byteLength).toBe(8192);
    const pages = await pageserver.inspect(timeline, '/pages?runs=pg_xact:0/0/1,1664/0/1262/0/0/1');
    expect((await pages.arrayBuffer()).byteLength).toBe(2 * 8192);
    for (const [rest, status, code] of [
      ['/page?spc=1663&db=5&rel=1&block=0', 404, 'notFound'],
      ['/page?spc=1663&db=5&rel=x&block=0', 400, 'malformed'],
      ['/pages?runs=1664/0/1262/0/0/1000', 404, 'notFound'],
      ['/pages', 400, 'malformed'],
      ['/page?slru=pg_none&segment=0&block=0', 400, 'malformed'],
      ['/relations?lsn=nonsense', 400, 'malformed'],
      ['/relations?lsn=0/8', 410, 'belowWindow'],
    ] as const) {
      const answer = await pageserver.inspect(timeline, rest);
      expect([answer.status, ((await answer.json()) as { code: string }).code], rest).toEqual([status, code]);
    }
    const status = (await (await pageserver.inspect(timeline)).json()) as { lastRecordLsn: string };
    expect(status.lastRecordLsn).toBe(formatLsn(middleLsn));
    const relations = (await (await pageserver.inspect(timeline, '/relations')).json()) as {
      relations: unknown[];
    };
    expect(relations.relations.length).toBeGreaterThan(100);
  });
});
