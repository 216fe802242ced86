/**
 * Ingest into layers of 128 MiB: values of 100 bytes under keys in order and at random, and of 8 KiB, with and without writing
 * the delta layer; the same measure as pageserver/benches/bench_ingest.rs of Neon, whose published figures stand
 * beside it. Throughput counts the bytes of values. Of each value every other byte is random, so that a layer does not compress to nothing.
 *
 *   node bench/ingest.ts [rounds, default 5]
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LruBlockCache } from '../containers/pageserver/layers/block-cache.ts';
import { layerCodec } from '../containers/pageserver/layers/codec.ts';
import { noFailpoints } from '../containers/pageserver/failpoints.ts';
import { DiskCache } from '../containers/pageserver/layers/disk-cache.ts';
import { LayerStore } from '../containers/pageserver/layers/layer-store.ts';
import { RangeCache } from '../containers/pageserver/layers/range-cache.ts';
import { newMetrics } from '../containers/pageserver/metrics/metrics.ts';
import { MemoryStorage } from '../containers/pageserver/remote/memory.ts';
import type { Lsn } from '../lib/postgres/lsn.ts';
import { ALL_KEYS, pagePrefixOfSize, relationSizeKey } from '../lib/storage/key.ts';
import { MemoryLayer } from '../lib/storage/layers/memory-layer.ts';
import { imageValue } from '../lib/storage/value.ts';
import { median, table } from './support.ts';

const [rounds = 5] = process.argv.slice(2).map(Number);
const LAYER_BYTES = 128 << 20;
/** Different values: more than a block of a layer has. */
const VALUES = 1024;
const KEY_PREFIX = pagePrefixOfSize(relationSizeKey({ spcOid: 1663, dbOid: 5, relNumber: 16384, fork: 0 }));
const folder = mkdtempSync(join(tmpdir(), 'ebb-bench-ingest-'));

const pool = new Uint8Array(VALUES * 8192);
for (let i = 0, state = 1; i < pool.length; i += 2) {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  pool[i] = state >>> 24;
}
/** A bijection of 32 bits: keys at random, each once. */
const scatter = (i: number): number => {
  let x = Math.imul(i ^ (i >>> 16), 0x7feb352d);
  x = Math.imul(x ^ (x >>> 15), 0x846ca68b);
  return (x ^ (x >>> 16)) >>> 0;
};

function fill(valueBytes: number, blockOf: (i: number) => number): MemoryLayer {
  const count = Math.floor(LAYER_BYTES / valueBytes);
  const layer = new MemoryLayer(8 as Lsn);
  for (let i = 0; i < count; i++) {
    const lsn = (16 + i * 8) as Lsn;
    const from = (i % VALUES) * valueBytes;
    // As ingest does: bytes of the WAL become a value, which is filed under its page.
    const value = imageValue(pool.subarray(from, from + valueBytes - 1));
    layer.keepPage(KEY_PREFIX, blockOf(i), lsn, value);
    layer.advance(lsn);
  }
  return layer;
}
const metrics = newMetrics();
const fail = (error: unknown): never => {
  throw error;
};
const store = await LayerStore.open({
  timelineId: 'be'.repeat(16),
  folder,
  prefix: 'bench/',
  storage: new MemoryStorage(),
  codec: layerCodec,
  blockCache: new LruBlockCache(1 << 20),
  metrics,
  disk: new DiskCache({ bytesMax: Infinity, metrics, onError: fail }),
  ranges: new RangeCache(1 << 20),
  failpoint: noFailpoints,
  download: (task) => task(),
  onError: fail,
});
/** As the flusher writes a frozen layer. */
async function write(layer: MemoryLayer): Promise<number> {
  layer.freeze();
  const { startLsn, endLsn } = layer;
  const stored = await store.create(async (writer) => {
    for (const { key, lsn, value } of layer.entries()) if (writer.add(key, lsn, value)) await writer.drain();
    return { kind: 'delta', keys: ALL_KEYS, startLsn, endLsn, generation: 1 };
  });
  await stored!.retire();
  return stored!.size;
}

const CASES = [
  { name: '100-byte values, keys in order', bytes: 100, blockOf: (i: number) => i, neon: [98.9, 245] },
  { name: '100-byte values, keys at random', bytes: 100, blockOf: scatter, neon: [59.2, NaN] },
  { name: '8 KiB values, keys in order', bytes: 8192, blockOf: (i: number) => i, neon: [289, 755] },
] as const;
const times = CASES.map(() => ({ put: [] as number[], all: [] as number[], fileBytes: 0 }));
try {
  for (let round = -1; round < rounds; round++)
    for (const [i, { bytes, blockOf }] of CASES.entries()) {
      globalThis.gc?.();
      const started = performance.now();
      const layer = fill(bytes, blockOf);
      const put = performance.now() - started;
      times[i].fileBytes = await write(layer);
      if (round < 0) continue; // compiles
      times[i].put.push(put);
      times[i].all.push(performance.now() - started);
    }
  const speed = (ms: readonly number[]) => (LAYER_BYTES / (1 << 20) / (median(ms) / 1000)).toFixed(1);
  table(
    ['MiB/s', 'with the delta layer', 'Neon', 'without', 'Neon', 'layer file'],
    CASES.map(({ name, neon }, i) => [
      name,
      speed(times[i].all),
      String(neon[0]),
      speed(times[i].put),
      Number.isNaN(neon[1]) ? '' : String(neon[1]),
      `${(times[i].fileBytes / (1 << 20)).toFixed(0)} MiB`,
    ]),
  );
} finally {
  rmSync(folder, { recursive: true, force: true });
}
