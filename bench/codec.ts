/**
 * zstd of blocks of 64 KiB on the calling thread and on node:zlib's thread pool, one and four at a time: how long a block takes, and
 * how much of that time the calling thread is busy. It decides what containers/pageserver/layers/codec.ts does.
 *
 *   node bench/codec.ts [blocks, default 2000]
 */
import { performance } from 'node:perf_hooks';
import { promisify } from 'node:util';
import { constants, zstdCompress, zstdCompressSync, zstdDecompress, zstdDecompressSync } from 'node:zlib';
import { recording } from './recording.ts';
import { table } from './support.ts';

const [count = 2000] = process.argv.slice(2).map(Number);
const BLOCK_BYTES = 64 << 10;
const { documents } = await recording();
const compress = { params: { [constants.ZSTD_c_compressionLevel]: 1 }, chunkSize: BLOCK_BYTES };
const decompress = { chunkSize: BLOCK_BYTES, maxOutputLength: BLOCK_BYTES };
const blockAt = (i: number) => documents.subarray((i % 700) * BLOCK_BYTES, ((i % 700) + 1) * BLOCK_BYTES);
const frames = Array.from({ length: 700 }, (_, i) => zstdCompressSync(blockAt(i), compress));

type Work = (i: number) => unknown;
const [compressAsync, decompressAsync] = [promisify(zstdCompress), promisify(zstdDecompress)];
const WORK: { name: string; atOnce: number; run: Work }[] = [
  { name: 'compress, calling thread', atOnce: 1, run: (i) => zstdCompressSync(blockAt(i), compress) },
  { name: 'compress, pool, 1 at a time', atOnce: 1, run: (i) => compressAsync(blockAt(i), compress) },
  { name: 'compress, pool, 4 at a time', atOnce: 4, run: (i) => compressAsync(blockAt(i), compress) },
  {
    name: 'decompress, calling thread',
    atOnce: 1,
    run: (i) => zstdDecompressSync(frames[i % 700], decompress),
  },
  {
    name: 'decompress, pool, 1 at a time',
    atOnce: 1,
    run: (i) => decompressAsync(frames[i % 700], decompress),
  },
  {
    name: 'decompress, pool, 4 at a time',
    atOnce: 4,
    run: (i) => decompressAsync(frames[i % 700], decompress),
  },
];
const rows: string[][] = [];
for (const { name, atOnce, run } of WORK) {
  for (let i = 0; i < 100; i++) await run(i);
  const [started, loop, cpu] = [performance.now(), performance.eventLoopUtilization(), process.cpuUsage()];
  for (let i = 0; i < count; i += atOnce)
    await Promise.all(Array.from({ length: atOnce }, (_, n) => run(i + n)));
  const ms = performance.now() - started;
  const { user, system } = process.cpuUsage(cpu);
  const isSync = name.endsWith('thread');
  const busy = isSync ? ms : ms * performance.eventLoopUtilization(loop).utilization;
  const micros = (value: number) => `${((value / count) * 1000).toFixed(0)} µs`;
  rows.push([name, micros(ms), micros(busy), micros((user + system) / 1000)]);
}
table(['64 KiB', 'a block takes', 'calling thread busy', 'processor time'], rows);
