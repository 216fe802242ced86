/**
 * GetPage@LSN of random pages from a large timeline: image layers of about 128 MiB of pages of real text (bench/recording.ts), with the
 * WAL of pgbench -i and TPC-B ingested over them. Over the real protocol (WebSocket /pages, a production process), one page a request, at
 * 1, 8 and 64 in flight: from the page cache, from the local disk, and cold from object storage with an empty disk; and
 * without the protocol, in this process.
 *
 *   node bench/get-page.ts [GB of pages, default 5] [ms of each measurement, default 3000] [folder]
 *
 * A folder that is named is kept, and what was built in it is measured the next time; the first time it is only built.
 * The client and the object storage (S3 over a folder) share the machine's two cores with the pageserver. `disk` is the local file
 * through the kernel's cache.
 */
import { existsSync, mkdirSync, mkdtempSync, rmSync, statfsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { importTemplate } from '../containers/pageserver/import/template.ts';
import { LayerStore } from '../containers/pageserver/layers/layer-store.ts';
import type { StoredLayer } from '../containers/pageserver/layers/stored-layer.ts';
import { answerPageRequest } from '../containers/pageserver/read/page-service.ts';
import { FolderStorage } from '../containers/pageserver/remote/folder.ts';
import type { PageserverContext } from '../containers/pageserver/timeline/context.ts';
import { RemoteIndex } from '../containers/pageserver/timeline/remote-index.ts';
import { Timeline } from '../containers/pageserver/timeline/timeline.ts';
import { formatLsn, type Lsn } from '../lib/postgres/lsn.ts';
import { PAGE_SIZE, type PageRun } from '../lib/protocol/pages.ts';
import { ALL_KEYS, pageKeyAt, pagePrefixOfSize, relationSizeKey, type Key } from '../lib/storage/key.ts';
import { keyBefore } from '../lib/storage/layers/layer-map.ts';
import { timelinePrefix } from '../lib/storage/layers/timeline-index.ts';
import { imageValue, sizeValue, type Modification, type Value } from '../lib/storage/value.ts';
import { Outside } from '../test/containers/pageserver/outside.ts';
import {
  BenchClient,
  benchContext,
  BenchProcess,
  MEASURED_HEADER,
  measuredOf,
  recordedSafekeepers,
  row,
  type Measured,
} from './pageserver.ts';
import { recording } from './recording.ts';
import { table } from './support.ts';

const [gigabytes = 5, ms = 3000] = process.argv.slice(2, 4).map(Number);
const recorded = await recording();
const { timeline, startLsn, endLsn, wal, documents, template } = recorded;
const kept = process.argv[4];
const isBuilt = kept !== undefined && existsSync(kept);
const folder = kept ?? mkdtempSync(join(tmpdir(), 'ebb-bench-pages-'));
mkdirSync(folder, { recursive: true });
/** Each run's are larger than those of the one before. */
let generation = Math.floor(Date.now() / 1000);
const { bavail, bsize } = statfsSync(folder);
if (!isBuilt && bavail * bsize < gigabytes * 4e9)
  throw new Error(`${folder} has not room for ${gigabytes} GB and some`);

/** Relations of which each has the pages of the recorded table. */
const BULK_BLOCKS = documents.length / PAGE_SIZE;
const BULK_RELATIONS = Math.ceil((gigabytes * 1e9) / documents.length);
const BULK_FIRST = 5_000_000;
const LAYER_BYTES = 128 << 20;
/** Fewer than the page cache holds. */
const HOT_PAGES = 12_000;
const bulk = (i: number) => ({ spcOid: 1663, dbOid: 5, relNumber: BULK_FIRST + i, fork: 0 });

/** Template and bulk, in the order of keys. */
async function* everything(): AsyncGenerator<Modification> {
  const sorted: Modification[] = [];
  await importTemplate(
    { directory: template, startLsn, systemIdentifier: BigInt(timeline.systemIdentifier) },
    (key, value) => sorted.push({ key, value }),
  );
  for (let i = 0; i < BULK_RELATIONS; i++)
    sorted.push({ key: relationSizeKey(bulk(i)), value: sizeValue(BULK_BLOCKS) });
  sorted.sort((a, b) => (a.key < b.key ? -1 : 1));
  const firstBulk = pageKeyAt(pagePrefixOfSize(relationSizeKey(bulk(0))), 0);
  let isBulkDone = false;
  for (const each of sorted) {
    if (!isBulkDone && each.key > firstBulk) {
      yield* bulkPages();
      isBulkDone = true;
    }
    yield each;
  }
}
function* bulkPages(): Generator<Modification> {
  for (let i = 0; i < BULK_RELATIONS; i++) {
    const prefix = pagePrefixOfSize(relationSizeKey(bulk(i)));
    for (let block = 0; block < BULK_BLOCKS; block++)
      yield {
        key: pageKeyAt(prefix, block),
        value: imageValue(documents.subarray(block * PAGE_SIZE, (block + 1) * PAGE_SIZE)),
      };
  }
}

/** The timeline's first layers, which tile all keys, in object storage and on the disk of `context`. */
async function build(context: PageserverContext): Promise<void> {
  const { timelineId, projectId } = timeline;
  const { codec, generation } = context;
  const prefix = timelinePrefix(projectId, timelineId);
  const layerFolder = `${context.diskFolder}/layers/${timelineId}`;
  const store = await LayerStore.open({ ...context, timelineId, folder: layerFolder, prefix });
  const layers: StoredLayer[] = [];
  const source = everything();
  let next = await source.next();
  let { first }: { first: Key } = ALL_KEYS;
  while (!next.done) {
    const layer = await store.create(async (writer) => {
      let raw = 0;
      for (; !next.done && raw < LAYER_BYTES; next = await source.next()) {
        const { key, value }: { key: Key; value: Value } = next.value;
        raw += value.length;
        if (writer.add(key, startLsn, value)) await writer.drain();
      }
      const last = next.done ? ALL_KEYS.last : keyBefore(next.value.key);
      const keys = { first, last };
      first = next.done ? first : next.value.key;
      return { kind: 'image', keys, lsn: startLsn, generation };
    });
    layers.push(layer!);
    await store.upload(layer!);
  }
  const options = { ...context, crc32c: codec.crc32c, prefix, spec: timeline };
  await RemoteIndex.create(options, { lsn: startLsn, previousLsn: 0 as Lsn }, () => Promise.resolve(layers));
  const bytes = layers.reduce((sum, { size }) => sum + size, 0);
  console.log(
    `${BULK_RELATIONS * BULK_BLOCKS} pages in ${layers.length} image layers, ${(bytes / 1e9).toFixed(2)} GB as compressed`,
  );
}

const random = (max: number): number => Math.floor(Math.random() * max);
const anyPage = (): PageRun => ({
  kind: 'relation',
  ...bulk(random(BULK_RELATIONS)),
  block: random(BULK_BLOCKS),
  count: 1,
});
/** As a sequential scan's read-ahead asks. */
const RUN_PAGES = 32;
const anyRun = (): PageRun => ({ ...anyPage(), block: random(BULK_BLOCKS - RUN_PAGES), count: RUN_PAGES });
/** pgbench_accounts as the recording has it: many of its pages have records over them. */
const ACCOUNTS_BLOCKS = 16_000;
const relationPage = (relNumber: number) =>
  ({ kind: 'relation', spcOid: 1663, dbOid: 5, relNumber, fork: 0 }) as const;
const accounts = (relNumber: number) => (): PageRun => ({
  ...relationPage(relNumber),
  block: random(ACCOUNTS_BLOCKS),
  count: 1,
});
/** pg_class. */
const catalogPage = (): PageRun => ({ ...relationPage(1259), block: 0, count: 1 });
const hot = Array.from({ length: HOT_PAGES }, anyPage);
const hotPage = () => hot[random(HOT_PAGES)];

const rows: string[][] = [];
const add = (name: string, measured: Measured) => {
  rows.push(row(name, measured));
  console.log(rows.at(-1)!.join('  '));
};

const storage = new FolderStorage(join(folder, 'objects'));
const disk = join(folder, 'disk');
const cold = mkdtempSync(join(tmpdir(), 'ebb-bench-cold-'));
try {
  const started = performance.now();
  const safekeepers = recordedSafekeepers(recorded);
  const context = benchContext(recorded, {
    storage,
    diskFolder: disk,
    generation: generation++,
    safekeepers,
  });
  if (!isBuilt) await build(context);
  const attached = await Timeline.attach(context, timeline);
  safekeepers.commit();
  await attached.waitFor(endLsn, 600_000);
  while (!attached.isIdle) await new Promise((resolve) => setTimeout(resolve, 10));
  console.log(
    `built and ingested to ${formatLsn(endLsn)} in ${((performance.now() - started) / 1000).toFixed(0)} s; ${attached.status().layers.length} layers`,
  );
  if (kept !== undefined && !isBuilt) {
    await attached.stop();
    process.exit(0);
  }
  const relations = [];
  for (let relNumber = 16384; relNumber < 16500; relNumber++) {
    const size = await attached.reader.get(
      relationSizeKey({ spcOid: 1663, dbOid: 5, relNumber, fork: 0 }),
      endLsn,
    );
    if (size !== null && new DataView(size.buffer, size.byteOffset).getUint32(0, true) >= ACCOUNTS_BLOCKS)
      relations.push(relNumber);
  }
  const accountsPage = accounts(relations[0]);

  // In this process: no socket, no other process.
  const inProcess = async (next: () => PageRun, inFlight: number): Promise<Measured> => {
    const latencies: number[] = [];
    const began = performance.now();
    const cpu = process.cpuUsage();
    let id = 0;
    const one = async () => {
      while (performance.now() - began < ms) {
        const at = performance.now();
        const answer = await answerPageRequest(attached, {
          tag: 'getPages',
          id: id++,
          lsn: endLsn,
          runs: [next()],
        });
        if (answer.error !== null) throw new Error(answer.error.message);
        latencies.push(performance.now() - at);
        if (id % 64 === 0) await new Promise((resolve) => setImmediate(resolve)); // as a socket's events would
      }
    };
    await Promise.all(Array.from({ length: inFlight }, one));
    const { user, system } = process.cpuUsage(cpu);
    return measuredOf(latencies, performance.now() - began, (user + system) / 1000);
  };
  for (let i = 0; i < HOT_PAGES; i++)
    await answerPageRequest(attached, { tag: 'getPages', id: i, lsn: endLsn, runs: [hot[i]] });
  add('in process, cache, 1', await inProcess(hotPage, 1));
  add('in process, disk, 1', await inProcess(anyPage, 1));
  add('in process, disk, pages of TPC-B, 1', await inProcess(accountsPage, 1));
  await attached.stop();

  await using outside = await Outside.start({ storage, wal, startLsn, commitLsn: endLsn });
  const options = { projectId: timeline.projectId, template };
  {
    await using server = await BenchProcess.start(outside, { ...options, generation: generation++, disk });
    const client = await BenchClient.connect(server, timeline);
    for (const inFlight of [1, 8, 64])
      add(`disk, ${inFlight}`, await client.measure(anyPage, endLsn, { inFlight, ms }));
    for (const inFlight of [1, 8, 64])
      add(`disk, pages of TPC-B, ${inFlight}`, await client.measure(accountsPage, endLsn, { inFlight, ms }));
    for (const inFlight of [1, 8])
      add(
        `disk, runs of ${RUN_PAGES} pages, ${inFlight}`,
        await client.measure(anyRun, endLsn, { inFlight, ms }),
      );
    let warmed = 0;
    await client.measure(() => hot[warmed++ % HOT_PAGES], endLsn, {
      inFlight: 16,
      ms: 60_000,
      countMax: HOT_PAGES,
    });
    for (const inFlight of [1, 8, 64])
      add(`cache, ${inFlight}`, await client.measure(hotPage, endLsn, { inFlight, ms }));
    client.close();
  }
  for (const inFlight of [1, 8, 64]) {
    await using server = await BenchProcess.start(outside, {
      ...options,
      generation: generation++,
      disk: join(cold, `${inFlight}`),
    });
    const client = await BenchClient.connect(server, timeline);
    await client.measure(catalogPage, endLsn, { inFlight: 1, ms, countMax: 1 }); // attaches the timeline
    add(`cold, ${inFlight}`, await client.measure(anyPage, endLsn, { inFlight, ms: ms / 2 }));
    client.close();
  }
  table(MEASURED_HEADER, rows);
} finally {
  rmSync(cold, { recursive: true, force: true });
  if (kept === undefined) rmSync(folder, { recursive: true, force: true });
}
