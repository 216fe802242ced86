/** The decoder against Postgres's own reading of the same WAL (pg_walinspect), record by record. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { formatLsn, parseLsn, type Lsn } from '../../../../lib/postgres/lsn.ts';
import { postgres18 } from '../../../../lib/postgres/v18/wal.ts';
import { newWalRecord } from '../../../../lib/postgres/wal/decode-record.ts';
import { WalDecoder } from '../../../../lib/postgres/wal/decoder.ts';
import { describeRecord } from '../../../../lib/postgres/wal/describe.ts';
import { PostgresCluster } from '../../../support/postgres-cluster.ts';
import { oldestWal, readWal } from '../../../support/wal-files.ts';

let cluster: PostgresCluster;
let start: Lsn;
let end: Lsn;
interface Row {
  start_lsn: string;
  end_lsn: string;
  prev_lsn: string;
  xid: string;
  resource_manager: string;
  record_type: string;
  record_length: number;
  main_data_length: number;
  fpi_length: number;
}
let expected: Row[];

beforeAll(async () => {
  cluster = await PostgresCluster.create({
    settings: { wal_level: 'logical', wal_keep_size: '1GB', max_prepared_transactions: '2' },
  });
  const client = await cluster.connect();
  const workload = [
    'create extension pg_walinspect',
    'create table t (a int primary key, b text)',
    `insert into t select i, repeat('x', i % 300) from generate_series(1, 20000) i`,
    'update t set b = b where a % 7 = 0',
    'delete from t where a % 11 = 0',
    'vacuum t',
    'select pg_switch_wal()',
    `select pg_logical_emit_message(false, 'big', repeat('y', 3000000))`,
    'begin',
    'insert into t values (0)',
    `prepare transaction 'p'`,
    `commit prepared 'p'`,
    'set wal_compression = pglz',
    'checkpoint',
    `update t set b = b || 'z'`,
    'select pg_switch_wal()',
    'create table u ()',
    'checkpoint',
  ];
  for (const statement of workload) await client.query(statement);
  end = parseLsn((await client.query('select pg_current_wal_flush_lsn() as l')).rows[0].l);
  start = oldestWal(cluster.dataDirectory, end);
  const text = `select * from pg_get_wal_records_info('${formatLsn(start)}', '${formatLsn(end)}')`;
  expected = (await client.query(text)).rows;
});
afterAll(() => cluster?.remove());

function decodeAll(chunkBytes: number): Row[] {
  const decoder = new WalDecoder({ startLsn: start, facts: postgres18, timelineId: 1 });
  const record = newWalRecord();
  const rows: Row[] = [];
  for (const segment of readWal(cluster.dataDirectory, start, end)) {
    for (let at = 0; at < segment.length; at += chunkBytes) {
      decoder.push(segment.subarray(at, at + chunkBytes));
      while (decoder.next(record)) {
        const { lsn, endLsn, previousLsn, xid, resourceManager, type, totalBytes, mainBytes, blocks } =
          describeRecord(record, postgres18);
        rows.push({
          start_lsn: lsn,
          end_lsn: endLsn,
          prev_lsn: previousLsn,
          xid: String(xid),
          resource_manager: resourceManager,
          record_type: type,
          record_length: totalBytes,
          main_data_length: mainBytes,
          fpi_length: blocks.reduce((sum, { image }) => sum + (image?.bytes ?? 0), 0),
        });
      }
    }
  }
  expect(formatLsn(decoder.endLsn)).toBe(formatLsn(end));
  return rows;
}

test.each([16 << 20, 100_003, 8192, 1021])(
  'every record is as pg_walinspect reports it, in chunks of %d',
  (size) => {
    const rows = decodeAll(size);
    expect(rows.length).toBeGreaterThan(40_000);
    expect(rows.length).toBe(expected.length);
    const fields = Object.keys(rows[0]) as (keyof Row)[];
    for (const [i, row] of rows.entries()) {
      const want = expected[i];
      const differs = fields.find((field) => {
        // The end of XLOG_SWITCH is the segment's end for the log, and the record's own end for pg_walinspect.
        if (field === 'end_lsn' && row.record_type === 'SWITCH') return false;
        return String(row[field]) !== String(want[field]);
      });
      if (differs !== undefined)
        expect(row).toEqual(Object.fromEntries(fields.map((field) => [field, want[field]])));
    }
  },
);
