/** `ebb redo-check` over folders as people have them: cut off, with holes, damaged, with and without a data directory. */
import { execFile } from 'node:child_process';
import {
  copyFileSync,
  cpSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { checkFolder } from '../../../local/redo-check/check-folder.ts';
import { WalFolder } from '../../../local/redo-check/wal-folder.ts';
import { postgres18 } from '../../../lib/postgres/v18/wal.ts';
import { formatLsn } from '../../../lib/postgres/lsn.ts';
import { PAGE_HEADER_BYTES } from '../../../lib/postgres/page/page.ts';
import { storedRecordCrc } from '../../../lib/postgres/wal/decode-record.ts';
import { WalDecoder } from '../../../lib/postgres/wal/decoder.ts';
import { RM } from '../../../lib/postgres/wal/facts.ts';
import {
  parseSegmentFileName,
  WAL_PAGE_BYTES,
  WAL_SEGMENT_BYTES,
} from '../../../lib/postgres/wal/geometry.ts';
import { newWalRecord } from '../../../lib/postgres/wal/record.ts';
import { INITDB_ARGUMENTS, PostgresCluster } from '../../support/postgres-cluster.ts';
import { ORACLE_SETTINGS } from '../../support/redo-oracle.ts';

const scratch = mkdtempSync(join(tmpdir(), 'ebb-redo-check-test-'));
const wal = join(scratch, 'wal');
const data = join(scratch, 'data');
let segments: string[];

beforeAll(async () => {
  await using cluster = await PostgresCluster.create({
    settings: { ...ORACLE_SETTINGS, full_page_writes: 'off' },
  });
  await cluster.query(`create table t as select i, repeat('x', 50) as v from generate_series(1, 2000) i`);
  await cluster.query('create index on t (i)');
  await cluster.stop();
  cpSync(cluster.dataDirectory, data, { recursive: true });
  await cluster.start();
  await cluster.query('update t set i = -i where i % 3 = 0');
  await cluster.query(`select pg_switch_wal()`);
  await cluster.query('delete from t where i % 5 = 0');
  await cluster.stop();
  cpSync(join(cluster.dataDirectory, 'pg_wal'), wal, { recursive: true });
  segments = readdirSync(wal)
    .filter((name) => /^[0-9A-F]{24}$/.test(name))
    .toSorted();
});
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

/** A folder with a copy of the WAL, changed by `change`. */
function folderWith(change: (path: (segment: number) => string) => void): string {
  const folder = mkdtempSync(join(scratch, 'copy-'));
  for (const name of segments) copyFileSync(join(wal, name), join(folder, name));
  change((segment) => join(folder, segments.at(segment)!));
  return folder;
}

interface Finished {
  code: number;
  stdout: string;
  stderr: string;
}
const program = join(import.meta.dirname, '../../../local/redo-check/main.ts');
const run = (...args: string[]): Promise<Finished> =>
  new Promise((resolve) => {
    execFile(process.execPath, [program, ...args], { maxBuffer: 16 << 20 }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr });
    });
  });

test('a whole folder: a table, and exit code 0', async () => {
  const { code, stdout } = await run('--wal', wal);
  expect(stdout).toMatch(/Heap\/UPDATE +\d+ +\d+ +\d+ +0 +0/);
  expect(stdout).toContain('0 mismatches, 0 errors');
  expect(stdout).toContain('never seen: ');
  expect(code).toBe(0);
});

test('with the data directory as it was, every block has a known state', () => {
  // From the segment on in which that data directory was left.
  const folder = folderWith((path) => {
    for (let i = 0; i < segments.length - 3; i++) rmSync(path(i));
  });
  const without = checkFolder({ wal: folder });
  const withData = checkFolder({ wal: folder, data });
  expect(without.adopted + without.unknown).toBeGreaterThan(0);
  expect(withData).toMatchObject({ unknown: 0, adopted: 0, mismatches: 0, errors: 0, undecodable: null });
});

test('pages that do not fit into memory come from a file', () => {
  const small = checkFolder({ wal, memoryBytes: 1 << 16 });
  expect(small).toEqual(checkFolder({ wal }));
});

test('a folder that was cut off in the middle of a segment is checked up to there', () => {
  const folder = folderWith((path) => {
    truncateSync(path(-2), 300_000);
    rmSync(path(-1));
  });
  const result = checkFolder({ wal: folder });
  expect(result).toMatchObject({ mismatches: 0, errors: 0, undecodable: null });
  expect(result.records).toBeGreaterThan(1000);
});

test('a damaged record in the middle is named, with exit code 1', async () => {
  const folder = folderWith((path) => {
    const bytes = readFileSync(path(1));
    bytes[500_000] ^= 1;
    writeFileSync(path(1), bytes);
  });
  const { code, stdout } = await run('--wal', folder);
  expect(stdout).toMatch(/undecodable: WAL at 0\/[0-9A-F]+: /);
  expect(code).toBe(1);
});

/** Changes a byte of the first tuple in an image that is there for comparison, as if redo had written something else. */
function spoilImage(path: string): { record: string; at: number } {
  const bytes = readFileSync(path);
  const segment = parseSegmentFileName(basename(path), WAL_SEGMENT_BYTES)!;
  const decoder = new WalDecoder({ startLsn: segment.start, facts: postgres18 });
  decoder.push(bytes);
  const record = newWalRecord();
  while (decoder.next(record)) {
    const { lsn, totalLength, resourceManager, blocks } = record;
    const start = lsn - segment.start;
    const { hasImage, applyImage, imageStart, holeOffset, holeLength } = blocks[0];
    const onOnePage = (start % WAL_PAGE_BYTES) + totalLength <= WAL_PAGE_BYTES;
    if (resourceManager !== RM.HEAP || record.blockCount === 0 || !onOnePage || !hasImage || applyImage)
      continue;
    const at = record.data.getUint32(imageStart + PAGE_HEADER_BYTES, true) & 0x7fff; // of the first item: its xmin
    if (at < holeOffset + holeLength) continue;
    bytes[start + imageStart + at - holeLength] ^= 0x40;
    const crc = storedRecordCrc(bytes.subarray(start, start + totalLength), totalLength);
    bytes.writeUInt32LE(crc, start + 20);
    writeFileSync(path, bytes);
    return { record: formatLsn(lsn), at };
  }
  throw new Error(`${path} has no such record`);
}

test('a mismatch is named with LSN, type, relation, block and offset, with exit code 1', async () => {
  let spoiled: ReturnType<typeof spoilImage> | undefined;
  const folder = folderWith((path) => (spoiled = spoilImage(path(-2))));
  const { code, stdout } = await run('--wal', folder);
  const { record, at } = spoiled!;
  expect(stdout).toMatch(
    new RegExp(
      `^${record} Heap/[A-Z_+]+ on 1663/\\d+/\\d+ main block \\d+: byte ${at}: [0-9a-f]{32} replayed, `,
      'm',
    ),
  );
  // The spoiled image is what the next record on that block is judged from, so there may be another.
  expect(stdout).toMatch(/blocks compared, [12] mismatches, 0 errors/);
  expect(code).toBe(1);
});

test('WAL without images to compare with is replayed, and it is said that nothing was proven', async () => {
  await using cluster = await PostgresCluster.create({
    settings: { wal_keep_size: '1GB' },
    initdbArguments: [...INITDB_ARGUMENTS, '--wal-segsize=1'],
  });
  await cluster.query('create table t as select generate_series(1, 20000) i; create index on t (i)');
  await cluster.stop();
  const { code, stdout } = await run('--wal', join(cluster.dataDirectory, 'pg_wal'));
  expect(stdout).toContain(' 0 blocks compared, 0 mismatches, 0 errors');
  expect(stdout).toContain('wal_consistency_checking');
  expect(code).toBe(0);
});

test('a missing segment, a foreign file and an empty folder are refused, with exit code 2', async () => {
  const gap = folderWith((path) => rmSync(path(1)));
  const foreign = folderWith((path) => writeFileSync(path(0), new Uint8Array(1 << 20)));
  const empty = mkdtempSync(join(scratch, 'empty-'));
  expect(() => new WalFolder(gap, postgres18)).toThrow(`segment ${segments[1]} is missing`);
  expect(() => new WalFolder(foreign, postgres18)).toThrow('page magic 0x0: 0xd118 of Postgres 18 expected');
  const { code, stderr } = await run('--wal', empty);
  expect(stderr).toContain('holds no WAL segments');
  expect(code).toBe(2);
  expect((await run()).code).toBe(2);
});
