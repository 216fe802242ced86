/**
 * WAL of a real Postgres for the pageserver's benchmarks: an initdb template, then pgbench's tables, a table of text that
 * compresses about two to one, and TPC-B over them. Kept in the temporary folder, so that each benchmark reads the same log.
 *
 *   template ── pgbench -i ──┬── documents ──┬── TPC-B ──► endLsn
 *                        loadedLsn      documentsLsn
 */
import { existsSync, readFileSync } from 'node:fs';
import { cp, mkdir, open, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { decodeControlFile } from '../lib/postgres/control-file.ts';
import { formatLsn, lsn, parseLsn, type Lsn } from '../lib/postgres/lsn.ts';
import { postgres18 } from '../lib/postgres/v18/wal.ts';
import { newWalRecord } from '../lib/postgres/wal/decode-record.ts';
import { WalDecoder } from '../lib/postgres/wal/decoder.ts';
import type { TimelineSpec } from '../lib/protocol/specs.ts';
import { initdbTemplate, PostgresCluster } from '../test/support/postgres-cluster.ts';
import { readWal } from '../test/support/wal-files.ts';
import { freePort, pgbench, pgbenchInit } from './support.ts';

export interface Recording {
  /** Data directory that the WAL goes on from. */
  template: string;
  wal: Uint8Array;
  startLsn: Lsn;
  loadedLsn: Lsn;
  documentsLsn: Lsn;
  /** The end of the last whole record. */
  endLsn: Lsn;
  /** Pages of the table of text, as they are at the end. */
  documents: Uint8Array;
  timeline: TimelineSpec;
}
interface Stored {
  startLsn: string;
  loadedLsn: string;
  documentsLsn: string;
  endLsn: string;
  systemIdentifier: string;
}

const SETTINGS = {
  wal_level: 'replica',
  full_page_writes: 'off',
  autovacuum: 'off',
  wal_keep_size: '100GB',
  max_wal_size: '100GB',
  checkpoint_timeout: '1d',
  shared_buffers: '512MB',
  synchronous_commit: 'off',
  listen_addresses: '127.0.0.1',
};
const DOCUMENTS = `
  create table documents as
    select id, md5(id::text) || md5((id * 7)::text) as body, repeat(md5((id % 97)::text), 4) as tags, random() as rank, now() as at
    from generate_series(1, 200000) as id`;

/** Takes about two minutes the first time. Needs pgbench. */
export async function recording(scale = 10, seconds = 60): Promise<Recording> {
  const folder = join(tmpdir(), `ebb-bench-recording-${scale}-${seconds}`);
  if (!existsSync(folder)) await record(folder, scale, seconds);
  const stored = JSON.parse(readFileSync(join(folder, 'recording.json'), 'utf8')) as Stored;
  return {
    template: join(folder, 'template'),
    wal: await readFile(join(folder, 'wal')),
    startLsn: parseLsn(stored.startLsn),
    loadedLsn: parseLsn(stored.loadedLsn),
    documentsLsn: parseLsn(stored.documentsLsn),
    endLsn: parseLsn(stored.endLsn),
    documents: await readFile(join(folder, 'documents')),
    timeline: {
      projectId: 'bench',
      timelineId: 'be'.repeat(16),
      postgresMajor: 18,
      systemIdentifier: stored.systemIdentifier,
      startLsn: stored.startLsn,
      origin: { kind: 'template' },
    },
  };
}

async function record(folder: string, scale: number, seconds: number): Promise<void> {
  const partial = `${folder}.partial`;
  await rm(partial, { recursive: true, force: true });
  await mkdir(partial);
  const template = await initdbTemplate();
  const port = await freePort();
  await using cluster = await PostgresCluster.create({ settings: { ...SETTINGS, port: String(port) } });
  const { dataDirectory } = cluster;
  const position = async () =>
    parseLsn((await cluster.query<{ l: string }>('select pg_current_wal_insert_lsn() as l'))[0].l);
  const url = `postgres://ebb_admin@127.0.0.1:${port}/postgres`;
  await pgbenchInit(url, scale);
  const loadedLsn = await position();
  await cluster.query(DOCUMENTS);
  const documentsLsn = await position();
  await pgbench(url, ['-M', 'prepared', '-c', '4', '-T', String(seconds)]);
  await cluster.query('checkpoint');
  const [{ path }] = await cluster.query<{ path: string }>(
    `select pg_relation_filepath('documents') as path`,
  );
  const flushed = await position();
  await cluster.query('select pg_switch_wal()'); // flushes it
  await cp(join(dataDirectory, path), join(partial, 'documents'));
  await cluster.stop('immediate');

  const control = decodeControlFile(readFileSync(join(template, 'global/pg_control')));
  const startLsn = endOfRecord(dataDirectory, control.checkPoint);
  const wal = await open(join(partial, 'wal'), 'w');
  const decoder = new WalDecoder({ startLsn, facts: postgres18 });
  const each = newWalRecord();
  for (const bytes of readWal(dataDirectory, startLsn, flushed)) {
    await wal.write(bytes);
    decoder.push(bytes);
    while (decoder.next(each));
  }
  await wal.close();
  await cp(template, join(partial, 'template'), { recursive: true });
  const stored: Stored = {
    startLsn: formatLsn(startLsn),
    loadedLsn: formatLsn(loadedLsn),
    documentsLsn: formatLsn(documentsLsn),
    endLsn: formatLsn(decoder.endLsn),
    systemIdentifier: `${control.systemIdentifier}`,
  };
  await writeFile(join(partial, 'recording.json'), JSON.stringify(stored));
  await rename(partial, folder);
}

function endOfRecord(dataDirectory: string, start: Lsn): Lsn {
  const decoder = new WalDecoder({ startLsn: start, facts: postgres18 });
  for (const bytes of readWal(dataDirectory, start, lsn(start + 16384))) decoder.push(bytes);
  decoder.next(newWalRecord());
  return decoder.endLsn;
}
