/**
 * An unmodified Postgres starts from synthesised files at every kind of position, writes on right behind the record,
 * and what it wrote is one unbroken chain from there to its own shutdown checkpoint.
 */
import {
  chownSync,
  closeSync,
  ftruncateSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { bootFiles } from '../../../../lib/postgres/boot/boot-files.ts';
import type { SparseFile } from '../../../../lib/postgres/boot/wal-segments.ts';
import { CheckPoint } from '../../../../lib/postgres/checkpoint.ts';
import { decodeControlFile } from '../../../../lib/postgres/control-file.ts';
import { formatLsn, lsn, parseLsn, type Lsn } from '../../../../lib/postgres/lsn.ts';
import { postgres18 } from '../../../../lib/postgres/v18/wal.ts';
import { newWalRecord } from '../../../../lib/postgres/wal/decode-record.ts';
import { WalDecoder } from '../../../../lib/postgres/wal/decoder.ts';
import {
  recordStart,
  segmentFileName,
  segmentNumber,
  WAL_SEGMENT_BYTES,
} from '../../../../lib/postgres/wal/geometry.ts';
import { bootCorners } from '../../../support/boot-corners.ts';
import { PostgresCluster } from '../../../support/postgres-cluster.ts';

const settings = {
  maxConnections: 30,
  maxWorkerProcesses: 4,
  maxWalSenders: 3,
  maxPreparedTransactions: 5,
  maxLocksPerTransaction: 64,
};
let cluster: PostgresCluster;
beforeAll(async () => {
  cluster = await PostgresCluster.create({
    settings: {
      wal_level: 'replica',
      full_page_writes: 'off',
      wal_init_zero: 'off',
      autovacuum: 'off',
      max_connections: '30',
      max_worker_processes: '4',
      max_wal_senders: '3',
      max_prepared_transactions: '5',
      wal_keep_size: '1GB',
    },
  });
  await cluster.query('create table rounds (name text)');
  await cluster.stop();
});
afterEach(() => cluster.stop());
afterAll(() => cluster.remove());

/** Replaces the cluster's WAL and pg_control. */
function install(files: readonly SparseFile[]): void {
  const wal = join(cluster.dataDirectory, 'pg_wal');
  for (const name of readdirSync(wal)) if (/^[0-9A-F]{24}$/.test(name)) rmSync(join(wal, name));
  const { uid, gid } = statSync(cluster.dataDirectory);
  for (const file of files) {
    const path = join(cluster.dataDirectory, file.path);
    const fd = openSync(path, 'w', 0o600);
    ftruncateSync(fd, file.size);
    for (const { offset, bytes } of file.pieces) writeSync(fd, bytes, 0, bytes.length, offset);
    closeSync(fd);
    chownSync(path, uid, gid);
  }
}

/** Decodes the files of pg_wal from `start` to the end of the log. */
function records(start: Lsn): { lsn: Lsn; resourceManager: number; info: number }[] {
  const decoder = new WalDecoder({ startLsn: start, facts: postgres18 });
  const found = [];
  const record = newWalRecord();
  try {
    for (let position = start; ;) {
      const name = segmentFileName(1, segmentNumber(position));
      const segment = readFileSync(join(cluster.dataDirectory, 'pg_wal', name));
      decoder.push(segment.subarray(position % WAL_SEGMENT_BYTES));
      while (decoder.next(record)) {
        const { lsn, resourceManager, info } = record;
        found.push({ lsn, resourceManager, info });
      }
      position = lsn(position + WAL_SEGMENT_BYTES - (position % WAL_SEGMENT_BYTES));
    }
  } catch {
    return found; // the end of the log: zeros, or no further file
  }
}

const positions = bootCorners(parseLsn('0/5000000'));
positions.push({ name: 'beyond 4 GiB', position: parseLsn('16/B374D848'), text: '16/B374D848' });

test.each(positions)('starts at $name ($text)', async ({ name, position }) => {
  const controlFile = readFileSync(join(cluster.dataDirectory, 'global/pg_control'));
  const last = decodeControlFile(controlFile);
  const boot = bootFiles({
    facts: postgres18,
    lsn: position,
    previousLsn: last.checkPoint,
    systemIdentifier: last.systemIdentifier,
    checkPoint: CheckPoint.encode(last.checkPointCopy),
    controlFile,
    settings,
    timeSeconds: Math.floor(Date.now() / 1000),
  });
  install(boot.files);
  await cluster.start();
  const [at] = await cluster.query(
    'select pg_current_wal_insert_lsn() as insert, redo_lsn from pg_control_checkpoint()',
  );
  expect(at).toEqual({ insert: formatLsn(recordStart(boot.endLsn)), redo_lsn: formatLsn(boot.recordLsn) });
  await cluster.query('insert into rounds values ($1)', [name]);
  await cluster.query(
    'select pg_switch_wal(); insert into rounds values (null); delete from rounds where name is null',
  );
  await cluster.stop();

  const chain = records(position);
  expect(chain[0]).toEqual({ lsn: boot.recordLsn, resourceManager: 0, info: 0 });
  expect(chain.at(-1)).toMatchObject({ resourceManager: 0, info: 0 });
  const after = decodeControlFile(readFileSync(join(cluster.dataDirectory, 'global/pg_control')));
  expect(formatLsn(chain.at(-1)?.lsn ?? lsn(0))).toBe(formatLsn(after.checkPoint));
  expect(chain.length).toBeGreaterThan(4);
});

test('nothing was lost on the way', async () => {
  await cluster.start();
  expect(await cluster.query('select name from rounds')).toEqual(positions.map(({ name }) => ({ name })));
});
