/**
 * The tour of one INSERT: through the proxy into Postgres, its WAL record into the safekeepers and the bucket,
 * its page into the pageserver, and the row out again through a compute that knows nothing of the first.
 */
import { readFileSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { formatLsn, parseLsn, type Lsn } from '../../lib/postgres/lsn.ts';
import { postgres18 } from '../../lib/postgres/v18/wal.ts';
import { maskHeapPage } from '../../lib/postgres/redo/heap-mask.ts';
import { pageOver } from '../../lib/postgres/page/page.ts';
import { newWalRecord } from '../../lib/postgres/wal/record.ts';
import { WalDecoder } from '../../lib/postgres/wal/decoder.ts';
import { segmentStart, WAL_SEGMENT_BYTES } from '../../lib/postgres/wal/geometry.ts';
import { startEbb, type Ebb } from '../support/ebb.ts';
import { runningCompute, superuser } from '../support/inside.ts';

let ebb: Ebb;
beforeAll(async () => {
  ebb = await startEbb();
});
afterAll(() => ebb.stop());

interface Found {
  lsn: Lsn;
  endLsn: Lsn;
  bytes: Uint8Array;
}

/** Whole records in `wal`, which begins at the record end `from`; contiguous bytes, headers taken out. */
function recordsIn(wal: Uint8Array, from: Lsn): (Found & { resourceManager: number; info: number })[] {
  const decoder = new WalDecoder({ startLsn: from, facts: postgres18 });
  const record = newWalRecord();
  const found: (Found & { resourceManager: number; info: number })[] = [];
  decoder.push(wal);
  while (decoder.next(record)) {
    const { lsn, endLsn, resourceManager, info } = record;
    found.push({ lsn, endLsn, resourceManager, info, bytes: record.bytes.slice(0, record.totalLength) });
  }
  return found;
}

const RM_HEAP_ID = 10;
const XLOG_HEAP_OPMASK = 0x70;
const XLOG_HEAP_INSERT = 0x00;

test('an INSERT goes the whole way', async () => {
  const { project, branch, timeline } = await ebb.inspectProject();
  expect(branch.timeline_id).toBe(timeline);

  // --- 1 to 4: handshake, authenticate, wake, passthrough; and the INSERT itself
  const client = new pg.Client(ebb.postgresUrl);
  client.on('error', () => undefined);
  await client.connect();
  await client.query('CREATE TABLE rust_meetups (name text, date date)');
  await client.query(`INSERT INTO rust_meetups VALUES ('before it', '2024-01-01')`);
  const lsnNow = async (): Promise<Lsn> =>
    parseLsn((await client.query<{ lsn: string }>('SELECT pg_current_wal_insert_lsn() AS lsn')).rows[0].lsn);
  const before = await lsnNow();
  await client.query(`INSERT INTO rust_meetups (name, date) VALUES ('RustAU Sydney', '2024-04-17')`);
  const after = await lsnNow();
  const { rows } = await client.query<{ path: string; db: number; rel: number }>(
    `SELECT pg_relation_filepath('rust_meetups') AS path, d.oid::int AS db, pg_relation_filenode('rust_meetups')::int AS rel
       FROM pg_database d WHERE datname = current_database()`,
  );
  const relation = rows[0];

  // --- the compute's own WAL: the record as Postgres wrote it
  const compute = runningCompute(ebb.pid)!;
  const segmentAt = segmentStart(before);
  const segmentName = readdirSync(join(compute.dataDirectory, 'pg_wal')).find((name) =>
    name.endsWith(((segmentAt / WAL_SEGMENT_BYTES) >>> 0).toString(16).toUpperCase().padStart(8, '0')),
  )!;
  const ownSegment = readFileSync(join(compute.dataDirectory, 'pg_wal', segmentName));
  expect(segmentStart(after)).toBe(segmentAt);
  const ownRecords = recordsIn(ownSegment.subarray(before - segmentAt, after - segmentAt), before);
  const inserted = ownRecords.find(
    ({ resourceManager, info, bytes }) =>
      resourceManager === RM_HEAP_ID &&
      (info & XLOG_HEAP_OPMASK) === XLOG_HEAP_INSERT &&
      Buffer.from(bytes).includes('RustAU Sydney'),
  )!;
  expect(inserted, `a HEAP INSERT record between ${formatLsn(before)} and ${formatLsn(after)}`).toBeDefined();

  // --- 6: START_WAL_PUSH: the same bytes in at least two safekeepers' own storage
  const range = `from=${formatLsn(before)}&to=${formatLsn(after)}&uncommitted=1`;
  let holders = 0;
  for (const n of [1, 2, 3]) {
    const response = await ebb.inspect(`/projects/${project.id}/safekeepers/${timeline}/${n}/wal?${range}`);
    if (!response.ok) continue;
    const wal = new Uint8Array(await response.arrayBuffer());
    if (Buffer.compare(wal, ownSegment.subarray(before - segmentAt, after - segmentAt)) === 0) holders++;
  }
  expect(holders).toBeGreaterThanOrEqual(2);

  // --- 8 and 5: the pageserver's page at the record's end holds the tuple; one LSN earlier it does not
  const pageAt = async (lsn: number): Promise<Buffer> => {
    const query = `spc=1663&db=${relation.db}&rel=${relation.rel}&fork=0&block=0&lsn=${formatLsn(lsn as Lsn)}`;
    const response = await ebb.inspect(`/projects/${project.id}/pageserver/${timeline}/page?${query}`);
    expect(response.status, await response.clone().text()).toBe(200);
    return Buffer.from(await response.arrayBuffer());
  };
  const page = await pageAt(inserted.endLsn);
  expect(page.length).toBe(8192);
  expect(page.includes('RustAU Sydney')).toBe(true);
  const earlier = await pageAt(inserted.endLsn - 1);
  expect(earlier.includes('before it')).toBe(true);
  expect(earlier.includes('RustAU Sydney')).toBe(false);

  // --- the same page as the compute has it (pageinspect), but for hint bits
  const admin = await superuser(ebb.pid, 'main');
  await admin.query('CREATE EXTENSION IF NOT EXISTS pageinspect');
  const raw = await admin.query<{ page: Buffer }>(`SELECT get_raw_page('rust_meetups', 0) AS page`);
  const own = raw.rows[0].page;
  expect(page.subarray(0, 8)).toEqual(own.subarray(0, 8)); // pd_lsn
  for (const each of [page, own]) maskHeapPage(pageOver(each), 0);
  expect(page.equals(own)).toBe(true);

  // --- 7: WAL backup: the record in a segment in the bucket, once the segment is finished
  await admin.query('SELECT pg_switch_wal()');
  await admin.query(`CREATE TABLE after_switch AS SELECT 1`);
  await admin.end();
  const key = `projects/${project.id}/wal/${timeline}/${segmentName}`;
  const archived = await ebb.waitForObject(key, 30_000);
  const archivedRecords = recordsIn(archived.subarray(before - segmentAt, after - segmentAt), before);
  expect(archivedRecords.find(({ lsn }) => lsn === inserted.lsn)?.bytes).toEqual(inserted.bytes);

  // --- everything that ran and every disk is gone; a new compute reads the row
  await client.end();
  await ebb.stopContainers();
  rmSync(join(ebb.dir, 'disks'), { recursive: true, force: true });
  const second = new pg.Client(ebb.postgresUrl);
  await second.connect();
  const read = await second.query('SELECT name, date::text FROM rust_meetups ORDER BY date');
  expect(read.rows).toEqual([
    { name: 'before it', date: '2024-01-01' },
    { name: 'RustAU Sydney', date: '2024-04-17' },
  ]);
  expect(runningCompute(ebb.pid)!.pid).not.toBe(compute.pid);
  await second.end();
});
