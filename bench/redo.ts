/**
 * Redo and decoding: one page from a chain of records, WAL of pgbench and of COPY decoded with CRC, and a whole log replayed into
 * pages in memory beside the same Postgres's own recovery of the same log; with the share of time that garbage
 * collection took.
 *
 *   node bench/redo.ts [pgbench scale, default 50] [seconds of TPC-B, default 60] [folder]
 *
 * Needs pgbench. With a folder the log is made only if it is not there yet, so that making it (minutes of work for other
 * processes) and measuring can be apart: the first run stops when it is made. A heap page holds at most 226 rows of this width, so the chain of 346 records fills two pages, one after the
 * other: an INIT record and 172 inserts each.
 */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PerformanceObserver } from 'node:perf_hooks';
import { crc32c } from '@node-rs/crc32';
import { lsn, parseLsn, type Lsn } from '../lib/postgres/lsn.ts';
import { PAGE_BYTES, pageOver, type Page } from '../lib/postgres/page/page.ts';
import { redoBlock, redoPage, startsAnew } from '../lib/postgres/redo/redo.ts';
import { postgres18 } from '../lib/postgres/v18/wal.ts';
import { decodeRecord, newWalRecord } from '../lib/postgres/wal/decode-record.ts';
import { WalDecoder } from '../lib/postgres/wal/decoder.ts';
import { WalError } from '../lib/postgres/wal/errors.ts';
import { segmentFileName, segmentNumber, WAL_SEGMENT_BYTES } from '../lib/postgres/wal/geometry.ts';
import type { WalRecord } from '../lib/postgres/wal/record.ts';
import { copyDataDirectory, PostgresCluster } from '../test/support/postgres-cluster.ts';
import { encodeRecord } from '../test/support/wal-writer.ts';
import { freePort, median, pgbench, pgbenchInit, table } from './support.ts';

const [scale = 50, seconds = 60] = process.argv.slice(2, 4).map(Number);
const folder = process.argv[4];
const rows: string[][] = [];

/** The best of many: what the machine does besides is not what is measured. */
function bestOf(rounds: number, run: () => void): number {
  let best = Infinity;
  for (let i = 0; i < rounds; i++) {
    const started = performance.now();
    run();
    best = Math.min(best, performance.now() - started);
  }
  return best;
}

/* (a) One page. */

/** A single-row insert: a record of 67 bytes. With `init`, it begins the page. */
function insertRecord(offsetNumber: number, init: boolean): Uint8Array {
  const data = new Uint8Array(5 + 1 + 12);
  data.set([2, 0, 0, 8, 24]);
  const main = Uint8Array.of(offsetNumber & 0xff, offsetNumber >>> 8, 0);
  const block = {
    id: 0,
    relation: [1663, 5, 16384] as [number, number, number],
    block: 0,
    willInit: init,
    data,
  };
  return encodeRecord(
    { resourceManager: 10, info: init ? 0x80 : 0, xid: 700, main, blocks: [block] },
    lsn(8),
  );
}
const PER_PAGE = 173;
const chain = Array.from({ length: 2 * PER_PAGE }, (_, i) => ({
  bytes: insertRecord((i % PER_PAGE) + 1, i % PER_PAGE === 0),
  lsn: lsn(1000 + 80 * i),
  endLsn: lsn(1080 + 80 * i),
}));
const record = newWalRecord();
function redoChain(length: number): void {
  const page = new Uint8Array(PAGE_BYTES);
  for (let i = 0; i < length; i++) {
    const { bytes, lsn: start, endLsn } = chain[i];
    decodeRecord(bytes, start, endLsn, record);
    redoBlock(record, 0, page);
  }
}
const short = bestOf(300, () => {
  for (let i = 0; i < 50; i++) redoChain(2);
});
const medium = bestOf(300, () => redoChain(chain.length));
const micros = (ms: number) => `${(ms * 1000).toFixed(1)} µs`;
rows.push(['one page from INIT and one insert', micros(short / 50), '32.1 µs', '3 µs']);
rows.push([
  `one page from ${chain.length} records of ${chain[1].bytes.length} bytes`,
  micros(medium),
  '138.6 µs',
  '60 µs',
]);

/* (b), (c), (d) A log. */

class Log {
  readonly bytes: Uint8Array;
  readonly start: Lsn;
  constructor(dataDirectory: string, from: Lsn, to: Lsn) {
    const first = segmentNumber(from);
    const segments = [];
    for (let n = first; n <= segmentNumber(to); n++) {
      segments.push(readFileSync(join(dataDirectory, 'pg_wal', segmentFileName(1, n))));
    }
    this.start = from;
    const offset = from - first * WAL_SEGMENT_BYTES;
    this.bytes = Buffer.concat(segments).subarray(offset, offset + (to - from));
  }
}

/** Decodes all of a log; how many records there were. */
function decodeLog(log: Log, each: (record: WalRecord) => void): number {
  const decoder = new WalDecoder({ startLsn: log.start, facts: postgres18, crc32c });
  let count = 0;
  try {
    for (let at = 0; at < log.bytes.length; at += 1 << 18) {
      decoder.push(log.bytes.subarray(at, at + (1 << 18)));
      while (decoder.next(record)) {
        count++;
        each(record);
      }
    }
  } catch (error) {
    if (!(error instanceof WalError)) throw error; // the end of the log
  }
  return count;
}

const SLAB_PAGES = 512;
/** Memory for pages, taken before the clock runs, as Postgres takes its shared buffers when it starts. */
function zeroPages(count: number): Page[] {
  const pages: Page[] = [];
  while (pages.length < count) {
    const slab = new Uint8Array(SLAB_PAGES * PAGE_BYTES);
    for (let i = 0; i < SLAB_PAGES; i++) {
      pages.push(pageOver(slab.subarray(i * PAGE_BYTES, (i + 1) * PAGE_BYTES)));
    }
  }
  return pages;
}

/** Every page of a log, in memory. A page of before the log, which a catalog may have, is left out. */
function replayLog(log: Log, fresh: Page[]): { records: number; pages: number } {
  const forks = new Map<number, Map<number, Page>>();
  let pages = 0;
  const records = decodeLog(log, (each) => {
    for (let i = 0; i < each.blockCount; i++) {
      const block = each.blocks[i];
      const key = block.relNumber * 4 + block.fork;
      let fork = forks.get(key);
      if (fork === undefined) forks.set(key, (fork = new Map<number, Page>()));
      let page = fork.get(block.block);
      if (page === undefined) {
        if (!startsAnew(block)) continue;
        page = fresh[pages++] ?? pageOver(new Uint8Array(PAGE_BYTES));
        fork.set(block.block, page);
      }
      redoPage(each, i, page);
    }
  });
  return { records, pages };
}

const collections: { startTime: number; duration: number }[] = [];
const observer = new PerformanceObserver((list) => collections.push(...list.getEntries()));
observer.observe({ entryTypes: ['gc'] });
/** Share of the time of `run` that garbage collection took. */
async function collectedShare(run: () => void): Promise<string> {
  const started = performance.now();
  run();
  const ended = performance.now();
  await new Promise((resolve) => setTimeout(resolve, 0)); // entries are handed out between turns
  const within = collections.filter(({ startTime }) => startTime >= started && startTime <= ended);
  const collected = within.reduce((sum, { duration }) => sum + duration, 0);
  return `${((100 * collected) / (ended - started)).toFixed(1)} %`;
}

/** Positions of a log in a data directory whose server was stopped without a checkpoint. */
interface Made {
  begin: Lsn;
  loaded: Lsn;
  end: Lsn;
}

/** pgbench's initialisation, then TPC-B; the data directory is `dataDirectory` in the end. */
async function makeLog(dataDirectory: string): Promise<Made> {
  const port = await freePort();
  await using cluster = await PostgresCluster.create({
    settings: {
      full_page_writes: 'off',
      autovacuum: 'off',
      wal_keep_size: '100GB',
      max_wal_size: '100GB',
      checkpoint_timeout: '1d',
      shared_buffers: '1GB',
      synchronous_commit: 'off',
      listen_addresses: '127.0.0.1',
      port: String(port),
    },
  });
  const url = `postgres://ebb_admin@127.0.0.1:${port}/postgres`;
  const position = async () =>
    parseLsn((await cluster.query<{ l: string }>('select pg_current_wal_insert_lsn() as l'))[0].l);
  const begin = await position();
  await pgbenchInit(url, scale);
  const loaded = await position();
  await pgbench(url, ['-c', '4', '-j', '2', '-T', String(seconds)]);
  const end = await position();
  await cluster.query('select pg_switch_wal()'); // flushes it
  await cluster.stop('immediate');
  copyDataDirectory(cluster.dataDirectory, dataDirectory);
  return { begin, loaded, end };
}

const home = folder ?? mkdtempSync(join(tmpdir(), 'ebb-bench-redo-'));
const [dataDirectory, positions] = [join(home, 'data'), join(home, 'positions.json')];
if (!existsSync(positions)) {
  mkdirSync(home, { recursive: true });
  writeFileSync(positions, JSON.stringify(await makeLog(dataDirectory)));
  if (folder !== undefined) process.exit();
}
const { begin, loaded, end } = JSON.parse(readFileSync(positions, 'utf8')) as Made;
const [bulk, tpcb, whole] = [
  new Log(dataDirectory, begin, loaded),
  new Log(dataDirectory, loaded, end),
  new Log(dataDirectory, begin, end),
];
const nothing = () => undefined;
for (const [name, log] of Object.entries({ 'COPY and index build': bulk, 'TPC-B': tpcb })) {
  const ms = bestOf(log.bytes.length < 100e6 ? 25 : 5, () => decodeLog(log, nothing));
  const speed = `${(log.bytes.length / 1e3 / ms).toFixed(0)} MB/s`;
  rows.push([
    `decoding with CRC, ${name} (${(log.bytes.length / 1e6).toFixed(0)} MB)`,
    speed,
    '',
    '300 MB/s',
  ]);
}
const gcOfDecoding = await collectedShare(() => {
  for (let i = 0; i < 10; i++) decodeLog(tpcb, nothing);
});

/** User and system time of this process. */
function processorMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}
const [replayMs, recoveryMs, replayCpuMs, recoveryCpuMs]: number[][] = [[], [], [], []];
let replayed = replayLog(whole, []);
let gcOfReplay = '';
const ROUNDS = 3;
for (let round = 0; round < ROUNDS; round++) {
  const memory = zeroPages(replayed.pages);
  gcOfReplay = await collectedShare(() => {
    const [started, before] = [performance.now(), processorMs()];
    replayed = replayLog(whole, memory);
    replayMs.push(performance.now() - started);
    replayCpuMs.push(processorMs() - before);
  });
  await using twin = await PostgresCluster.prepare({
    copyOf: dataDirectory,
    settings: { shared_buffers: '1GB', full_page_writes: 'off' },
  });
  await twin.start();
  const told = /redo done at .* user: ([\d.]+) s, system: ([\d.]+) s, elapsed: ([\d.]+) s/.exec(twin.log);
  if (told === null) throw new Error(`no recovery took place:\n${twin.log}`);
  const [user, system, elapsed] = told.slice(1).map((seconds) => Number(seconds) * 1000);
  recoveryMs.push(elapsed);
  recoveryCpuMs.push(user + system);
}
const [ours, theirs] = [median(replayMs), median(recoveryMs)];
const what = `${replayed.records} records, ${(whole.bytes.length / 1e6).toFixed(0)} MB, ${replayed.pages} pages`;
rows.push([
  `replay of all of it, median of ${ROUNDS} (${what})`,
  `${ours.toFixed(0)} ms`,
  `${theirs.toFixed(0)} ms (Postgres)`,
  '',
]);
rows.push([
  'processor time of the same',
  `${median(replayCpuMs).toFixed(0)} ms`,
  `${median(recoveryCpuMs).toFixed(0)} ms (Postgres)`,
  '',
]);
rows.push(['its speed as a multiple of Postgres', (theirs / ours).toFixed(2), '', '1.0']);
rows.push(['garbage collection while decoding TPC-B', gcOfDecoding, '', '5 %']);
rows.push(['garbage collection while replaying', gcOfReplay, '', '5 %']);
observer.disconnect();
if (folder === undefined) rmSync(home, { recursive: true, force: true });
table(['', 'Ebb', 'others', 'aim'], rows);
