/**
 * What compaction and garbage collection make of a steady load of updates: how much is written for what was logged, how much is
 * kept for what there is, and how many layers a read of the head visits meanwhile.
 *
 *   node bench/layers.ts [scale, default 10] [seconds of TPC-B, default 60] [--full-speed]
 *
 * The WAL is a recording of a real Postgres (bench/recording.ts): pgbench's tables are loaded, then updated. Sizes are those of production
 * divided by eight, so that a recording of some hundred megabytes has as many layers as one of some gigabytes; history is kept for
 * 16 MB of WAL. Object storage is memory: what is measured is counted, not timed.
 */
import { parseArgs } from 'node:util';
import { CompactionThread } from '../containers/pageserver/maintenance/compaction-thread.ts';
import { importTemplate } from '../containers/pageserver/import/template.ts';
import { MemoryStorage } from '../containers/pageserver/remote/memory.ts';
import { DEFAULT_SETTINGS } from '../containers/pageserver/timeline/context.ts';
import { Timeline } from '../containers/pageserver/timeline/timeline.ts';
import { postgres18 } from '../lib/postgres/v18/wal.ts';
import { newWalRecord } from '../lib/postgres/wal/decode-record.ts';
import { WalDecoder } from '../lib/postgres/wal/decoder.ts';
import { parseLsn, type Lsn } from '../lib/postgres/lsn.ts';
import { kindRange, pageKeyOfSize, type Key } from '../lib/storage/key.ts';
import { decodeSize } from '../lib/storage/value.ts';
import { FakeSafekeepers, testContext } from '../test/containers/pageserver/timeline/support.ts';
import { recording } from './recording.ts';

const DIVISOR = 8;
const MB = 1 << 20;
const READS_AT_ONCE = 50;
const READ_PAUSE_MS = 100;
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

const { values: flags, positionals } = parseArgs({
  options: { 'full-speed': { type: 'boolean', default: false } },
  allowPositionals: true,
});
const [scale, seconds] = positionals.map(Number);
const recorded = await recording(scale || 10, seconds || 60);
const { wal, startLsn, endLsn, documentsLsn } = recorded;
const storage = new MemoryStorage();
const safekeepers = new FakeSafekeepers({
  endLsn,
  bytes: (from, to) => wal.subarray(from - startLsn, to - startLsn),
});
safekeepers.commitLsn = startLsn;
const thread = new CompactionThread();
const context = testContext({
  storage,
  safekeepers,
  generation: 1,
  settings: {
    ...DEFAULT_SETTINGS,
    quietMs: 50,
    openLayerBytesMax: DEFAULT_SETTINGS.openLayerBytesMax / DIVISOR,
    layerBytesTarget: DEFAULT_SETTINGS.layerBytesTarget / DIVISOR,
    retentionMs: 0,
    retentionBytes: 16 * MB,
    gcPeriodMs: 1_000,
    gcBytesMin: 2 * MB,
  },
});
context.compaction = thread;
context.importTemplate = (_, emit) =>
  importTemplate(
    { directory: recorded.template, startLsn, systemIdentifier: BigInt(recorded.timeline.systemIdentifier) },
    emit,
  );
const timeline = await Timeline.attach(context, recorded.timeline);

const objectBytes = (): number => [...storage.objects.values()].reduce((sum, bytes) => sum + bytes.length, 0);
async function forks(at: Lsn): Promise<{ key: Key; blocks: number }[]> {
  const found: { key: Key; blocks: number }[] = [];
  for await (const { key, content } of timeline.reader.scan(kindRange('relationSize'), at))
    found.push({ key, blocks: decodeSize(content) });
  return found.filter(({ blocks }) => blocks > 0);
}
const logicalBytes = async (at: Lsn): Promise<number> =>
  (await forks(at)).reduce((sum, { blocks }) => sum + blocks * 8192, 0);

/** Layers that reads of random pages of the head visit; every page is as likely as every other. */
async function readDepths(into: number[]): Promise<void> {
  const at = timeline.ingestedLsn;
  const all = await forks(at);
  const pages = all.reduce((sum, { blocks }) => sum + blocks, 0);
  for (let i = 0; i < READS_AT_ONCE; i++) {
    let number = Math.floor(Math.random() * pages);
    const fork = all.find(({ blocks }) => (number -= blocks) < 0)!;
    const before = timeline.reader.layersVisited;
    await timeline.reader.get(pageKeyOfSize(fork.key, number + fork.blocks), at, false);
    into.push(timeline.reader.layersVisited - before);
  }
}
/** Ends of records that cut the WAL into about equal parts. */
function recordEnds(parts: number): Lsn[] {
  const found: Lsn[] = [];
  const decoder = new WalDecoder({ startLsn, facts: postgres18 });
  const record = newWalRecord();
  for (let from = 0; from < wal.length; from += MB) {
    decoder.push(wal.subarray(from, from + MB));
    while (decoder.next(record))
      if (record.endLsn >= startLsn + ((endLsn - startLsn) * (found.length + 1)) / parts)
        found.push(record.endLsn);
  }
  return found.slice(0, parts);
}
const quantile = (sorted: readonly number[], q: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))];

console.log(
  `${Math.round(wal.length / MB)} MB of WAL, of which ${Math.round((endLsn - documentsLsn) / MB)} MB TPC-B`,
);
const depths: number[] = [];
const ratios: string[] = [];
const STEPS = 16;
const ends = recordEnds(STEPS);
for (let step = 1; step <= STEPS; step++) {
  const to = ends[step - 1];
  // The load comes as fast as it is taken; updates come as fast as they were made, in parts of a second or so, or as the load.
  const isLoad = to < documentsLsn;
  const parts =
    isLoad || flags['full-speed']
      ? 1
      : Math.ceil(((to - ends[step - 2]) / (endLsn - documentsLsn)) * (seconds || 60));
  for (let part = 1; part <= parts; part++) {
    const from = timeline.ingestedLsn;
    const startedAt = performance.now();
    safekeepers.commit(
      part === parts ? to : ((from + Math.floor((to - from) / (parts - part + 1) / 8) * 8) as Lsn),
    );
    while (part === parts ? timeline.ingestedLsn < to : performance.now() - startedAt < 1_000) {
      if (!isLoad) await readDepths(depths);
      await sleep(flags['full-speed'] ? 10 : READ_PAUSE_MS);
    }
  }
  console.error(`step ${step} of ${STEPS}, ${Math.round(performance.now() / 1000)} s`);
  if (step < STEPS / 4) continue;
  while (!timeline.isIdle || timeline.status().layers.some(({ isUploaded }) => !isUploaded)) await sleep(5);
  const ratio = objectBytes() / (await logicalBytes(timeline.ingestedLsn));
  ratios.push(ratio.toFixed(2));
}
depths.sort((a, b) => a - b);
const { metrics } = context;
const written = metrics.flushedBytes.value() + metrics.compactionWrittenBytes.value();
const horizon = parseLsn(timeline.status().horizonLsn);
console.log(
  `logical ${Math.round((await logicalBytes(timeline.ingestedLsn)) / MB)} MB, physical ${Math.round(objectBytes() / MB)} MB`,
);
console.log(`physical over logical after each step: ${ratios.join(' ')}`);
console.log(
  `layers visited by ${depths.length} reads of random pages during the updates: p50 ${quantile(depths, 0.5)}, p99 ${quantile(depths, 0.99)}, at most ${depths.at(-1)}`,
);
console.log(
  `written to layers: ${Math.round(written / MB)} MB, ${(written / wal.length).toFixed(2)} of the WAL ` +
    `(${Math.round(metrics.flushedBytes.value() / MB)} MB level 0)`,
);
console.log(
  `collected ${metrics.collectedLayers.value()} layers, ${Math.round(metrics.collectedBytes.value() / MB)} MB; history of ${Math.round((timeline.ingestedLsn - horizon) / MB)} MB`,
);
await timeline.stop();
await thread.close();
context.remove();
