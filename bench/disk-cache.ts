/**
 * A timeline that is much larger than the disk it is cached on: reads of random pages, of a hot part, and in order, with every
 * page compared with what it must be; how fast, how much memory, and from where the pages came.
 *
 *   node bench/disk-cache.ts make FOLDER [GB, default 10]                      image layers by the layer writer, straight into object storage
 *   node bench/disk-cache.ts read FOLDER [disk MB, default 1024] [s, default 20]    a pageserver's timeline on an empty disk; object storage is the folder
 *
 * Pages do not compress (so the layers are as large as the timeline), and a tenth of them has a newer version in a delta. Object
 * storage in a folder has no latency worth the name: figures of reads from it are of this process, not of a network.
 */
import {
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  writeSync,
  closeSync,
  renameSync,
  mkdtempSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { LruBlockCache } from '../containers/pageserver/layers/block-cache.ts';
import { layerCodec } from '../containers/pageserver/layers/codec.ts';
import { DiskCache } from '../containers/pageserver/layers/disk-cache.ts';
import { limiter } from '../containers/pageserver/layers/limiter.ts';
import { RangeCache } from '../containers/pageserver/layers/range-cache.ts';
import { PageCache } from '../containers/pageserver/read/page-cache.ts';
import { FolderStorage } from '../containers/pageserver/remote/folder.ts';
import { Timeline } from '../containers/pageserver/timeline/timeline.ts';
import { INVALID_LSN, lsn } from '../lib/postgres/lsn.ts';
import { ALL_KEYS, pageKeyOfSize, relationSizeKey, type Key } from '../lib/storage/key.ts';
import { layerName, type LayerDescriptor } from '../lib/storage/layers/descriptor.ts';
import {
  encodeIndex,
  indexName,
  timelinePrefix,
  WHOLE_HISTORY,
  type IndexedLayer,
} from '../lib/storage/layers/timeline-index.ts';
import { LayerWriter } from '../lib/storage/layers/writer.ts';
import { keyBefore } from '../lib/storage/layers/layer-map.ts';
import { imageValue, sizeValue, type Modification } from '../lib/storage/value.ts';
import {
  FakeSafekeepers,
  importTinyTemplate,
  spec,
  START_LSN,
  testContext,
} from '../test/containers/pageserver/timeline/support.ts';
import { table } from './support.ts';

const [command, folder, ...numbers] = process.argv.slice(2);
const BLOCKS_PER_RELATION = 131_072;
const LAYER_BYTES = 32 << 20;
const DELTA_LSN = lsn(START_LSN + 8192);
const prefix = timelinePrefix(spec.projectId, spec.timelineId);

/** Random bytes, of which each page is a piece: no two pages of a block of a layer share any. */
const pool = Buffer.alloc(64 << 20);
for (let at = 0, state = 1; at < pool.length; at += 4) {
  state ^= state << 13;
  state ^= state >>> 17;
  state ^= state << 5;
  pool.writeInt32LE(state, at);
}
/** Block `number` of the timeline, in version 0 or 1. */
function pageOf(number: number, version: number): Uint8Array {
  const page = new Uint8Array(8192);
  const from = (((number * 2 + version) * 8209) % (pool.length / 8 - 1024)) * 8;
  page.set(pool.subarray(from, from + 8192));
  new DataView(page.buffer).setUint32(0, number * 2 + version);
  return page;
}
const hasDelta = (number: number): boolean => number % 10 === 3;
const sizeKeyOf = (number: number): Key =>
  relationSizeKey({
    spcOid: 1663,
    dbOid: 5,
    relNumber: 16384 + Math.floor(number / BLOCKS_PER_RELATION),
    fork: 0,
  });
const keyOf = (number: number): Key => pageKeyOfSize(sizeKeyOf(number), number % BLOCKS_PER_RELATION);

async function make(gigabytes: number): Promise<void> {
  const count = gigabytes * BLOCKS_PER_RELATION;
  const root = join(folder, 'objects', prefix);
  mkdirSync(root, { recursive: true });
  const layers: IndexedLayer[] = [];

  async function write(
    entries: Iterator<Modification & { at: number }>,
    describe: (keys: { first: Key; last: Key }) => LayerDescriptor,
  ) {
    let next = entries.next();
    for (let first = ALL_KEYS.first; !next.done;) {
      const partial = join(root, 'new');
      const file = openSync(partial, 'w');
      const writer = new LayerWriter({
        timelineId: spec.timelineId,
        codec: layerCodec,
        sink: (bytes) => void writeSync(file, bytes),
      });
      while (!next.done && writer.bytesWritten < LAYER_BYTES) {
        const { key, value, at } = next.value;
        if (writer.add(key, lsn(at), value)) await writer.drain();
        next = entries.next();
      }
      const last = next.done ? ALL_KEYS.last : keyBefore(next.value.key);
      const descriptor = describe({ first, last });
      const size = await writer.finish(descriptor);
      closeSync(file);
      renameSync(partial, join(root, layerName(descriptor)));
      layers.push({ descriptor, size });
      first = next.done ? first : next.value.key;
    }
  }

  const small: Modification[] = [];
  await importTinyTemplate(spec, (key, value) => small.push({ key, value }));
  for (let at = 0; at < count; at += BLOCKS_PER_RELATION)
    small.push({ key: sizeKeyOf(at), value: sizeValue(BLOCKS_PER_RELATION) });
  small.sort((a, b) => (a.key < b.key ? -1 : 1));
  function* images(): Generator<Modification & { at: number }> {
    const firstPage = keyOf(0);
    for (const entry of small) if (entry.key < firstPage) yield { ...entry, at: START_LSN };
    for (let number = 0; number < count; number++)
      yield { key: keyOf(number), value: imageValue(pageOf(number, 0)), at: START_LSN };
    for (const entry of small) if (entry.key > firstPage) yield { ...entry, at: START_LSN };
  }
  function* deltas(): Generator<Modification & { at: number }> {
    for (let number = 0; number < count; number++)
      if (hasDelta(number)) yield { key: keyOf(number), value: imageValue(pageOf(number, 1)), at: DELTA_LSN };
  }
  await write(images(), (keys) => ({ kind: 'image', keys, lsn: START_LSN, generation: 1 }));
  await write(deltas(), (keys) => ({
    kind: 'delta',
    keys: {
      first: keys.first === ALL_KEYS.first ? keyOf(0) : keys.first,
      last: keys.last === ALL_KEYS.last ? keyOf(count - 1) : keys.last,
    },
    startLsn: START_LSN,
    endLsn: DELTA_LSN,
    generation: 1,
  }));
  const { timelineId, postgresMajor, systemIdentifier } = spec;
  const index = encodeIndex(
    {
      timelineId,
      generation: 1,
      postgresMajor,
      systemIdentifier,
      diskConsistentLsn: DELTA_LSN,
      previousLsn: INVALID_LSN,
      history: WHOLE_HISTORY,
      layers,
    },
    layerCodec.crc32c,
  );
  await new FolderStorage(join(folder, 'objects')).put(prefix + indexName(1), index);
  const bytes = layers.reduce((sum, { size }) => sum + size, 0);
  console.log(`${count} pages in ${layers.length} layers of ${(bytes / 2 ** 30).toFixed(2)} GiB`);
}

function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}
const peakMegabytes = (): number =>
  Math.round(Number(/VmHWM:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))![1]) / 1024);

async function read(diskMegabytes: number, seconds: number): Promise<void> {
  const diskFolder = mkdtempSync(join(dirname(folder), 'disk-'));
  const context = testContext({
    storage: new FolderStorage(join(folder, 'objects')),
    safekeepers: new FakeSafekeepers({ endLsn: DELTA_LSN, bytes: () => new Uint8Array(0) }),
    generation: 2,
    settings: { level0Max: 1000, imageDeltasMax: 1000 },
    diskFolder,
  });
  const { metrics } = context;
  context.disk = new DiskCache({ bytesMax: diskMegabytes * 2 ** 20, metrics, onError: context.onError });
  // As containers/pageserver/run.ts has them.
  context.ranges = new RangeCache(16 << 20);
  context.blockCache = new LruBlockCache(48 << 20);
  context.pageCache = new PageCache(64 << 20);
  context.download = limiter(4);
  const timeline = await Timeline.attach(context, spec);
  const sizes = await Array.fromAsync(
    timeline.view(DELTA_LSN).scan({ first: sizeKeyOf(0), last: sizeKeyOf(99 * BLOCKS_PER_RELATION) }),
  );
  const count = sizes.length * BLOCKS_PER_RELATION;
  let diskPeak = 0;
  const rows: string[][] = [];

  async function phase(name: string, inFlight: number, next: () => number): Promise<void> {
    const before = {
      disk: metrics.layerReads.value({ from: 'disk' }),
      storage: metrics.layerReads.value({ from: 'storage' }),
      evicted: metrics.evictedBytes.value(),
      fetched: metrics.storageReceivedBytes.value(),
    };
    const times: number[] = [];
    const startedAt = performance.now();
    const worker = async (): Promise<void> => {
      while (performance.now() - startedAt < seconds * 1000) {
        const number = next();
        const at = performance.now();
        const page = await timeline.reader.get(keyOf(number), DELTA_LSN);
        times.push(performance.now() - at);
        if (Buffer.compare(page!, pageOf(number, hasDelta(number) ? 1 : 0)) !== 0)
          throw new Error(`page ${number} is not what was written`);
        diskPeak = Math.max(diskPeak, context.disk.bytes);
        if (times.length % 64 === 0) await new Promise((resolve) => setImmediate(resolve));
      }
    };
    await Promise.all(Array.from({ length: inFlight }, worker));
    times.sort((a, b) => a - b);
    const of = (part: number) => times[Math.floor(times.length * part)].toFixed(2);
    const fromDisk = metrics.layerReads.value({ from: 'disk' }) - before.disk;
    const fromStorage = metrics.layerReads.value({ from: 'storage' }) - before.storage;
    rows.push([
      name,
      String(times.length),
      ((times.length / (performance.now() - startedAt)) * 1000).toFixed(0),
      of(0.5),
      of(0.99),
      String(fromDisk),
      String(fromStorage),
      `${((100 * fromDisk) / Math.max(1, fromDisk + fromStorage)).toFixed(0)} %`,
      ((metrics.evictedBytes.value() - before.evicted) / 2 ** 20).toFixed(0),
    ]);
  }

  const random = seeded(7);
  const hot = Math.floor((diskMegabytes / 2) * 128);
  await phase('random over all', 16, () => Math.floor(random() * count));
  await phase('9 of 10 in a part of half the disk', 16, () =>
    Math.floor(random() < 0.9 ? random() * hot : random() * count),
  );
  let at = 0;
  await phase('in order', 1, () => at++ % count);
  timeline.abandon();
  rmSync(diskFolder, { recursive: true, force: true });
  if (context.errors.length > 0)
    throw new Error(`${context.errors[0].what}: ${String(context.errors[0].error)}`);
  table(
    [
      'reads',
      'pages',
      'pages/s',
      'p50 ms',
      'p99 ms',
      'blocks from disk',
      'from storage',
      'disk hits',
      'MiB evicted',
    ],
    rows,
  );
  console.log(
    `${count} pages; peak RSS ${peakMegabytes()} MB; peak of layer files ${(diskPeak / 2 ** 20).toFixed(0)} MiB of ${diskMegabytes}; every page compared`,
  );
}

if (command === 'make' && folder !== undefined) await make(numbers.length > 0 ? Number(numbers[0]) : 10);
else if (command === 'read' && folder !== undefined)
  await read(Number(numbers[0] ?? 1024), Number(numbers[1] ?? 20));
else {
  console.error(`usage: disk-cache.ts make|read FOLDER …, for example in ${tmpdir()}`);
  process.exitCode = 2;
}
