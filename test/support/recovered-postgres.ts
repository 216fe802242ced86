/**
 * The oracle of the ground-truth tests: a real Postgres that recovers given WAL to a given LSN and stops.
 */
import { chownSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CheckPoint, type CheckPointFields } from '../../lib/postgres/checkpoint.ts';
import { DATABASE_STATE, decodeControlFile, encodeControlFile } from '../../lib/postgres/control-file.ts';
import { lsn, type Lsn } from '../../lib/postgres/lsn.ts';
import { postgres18 } from '../../lib/postgres/v18/wal.ts';
import { newWalRecord } from '../../lib/postgres/wal/decode-record.ts';
import { WalDecoder } from '../../lib/postgres/wal/decoder.ts';
import { segmentFileName, segmentNumber, WAL_SEGMENT_BYTES } from '../../lib/postgres/wal/geometry.ts';
import { PostgresCluster } from './postgres-cluster.ts';

export interface Recovery {
  /** A data directory that the WAL continues; copied, not changed. */
  base: string;
  /** Where recovery begins, if not at the base's own checkpoint: a checkpoint record in the WAL given. */
  checkPointLsn?: Lsn;
  /** WAL from `startLsn` on; put over what pg_wal of the base has. */
  startLsn: Lsn;
  wal: Uint8Array;
  /** The end of a record within it. */
  toLsn: Lsn;
  /** That of the WAL, where it is not the base's own. */
  systemIdentifier?: bigint;
  settings?: Readonly<Record<string, string>>;
}

export interface Recovered extends AsyncDisposable {
  /** Cleanly stopped. */
  readonly dataDirectory: string;
  /** Of the end-of-recovery checkpoint, the first record that Postgres wrote at `toLsn`. */
  readonly checkPoint: CheckPointFields;
}

/** Throws with the server's log when Postgres does not recover. */
export async function recover(recovery: Recovery): Promise<Recovered> {
  const { toLsn, startLsn } = recovery;
  const cluster = await PostgresCluster.prepare({
    copyOf: recovery.base,
    settings: { autovacuum: 'off', max_wal_size: '10GB', ...recovery.settings },
  });
  try {
    const { dataDirectory } = cluster;
    const controlPath = join(dataDirectory, 'global/pg_control');
    const control = decodeControlFile(readFileSync(controlPath));
    if (recovery.checkPointLsn !== undefined) {
      control.checkPoint = recovery.checkPointLsn;
      control.checkPointCopy.redo = recovery.checkPointLsn;
    }
    control.systemIdentifier = recovery.systemIdentifier ?? control.systemIdentifier;
    control.state = DATABASE_STATE.inProduction;
    writeFileSync(controlPath, encodeControlFile(control));
    writeWal(dataDirectory, startLsn, recovery.wal.subarray(0, toLsn - startLsn));
    await cluster.start();
    await cluster.stop('fast');
    return {
      dataDirectory,
      checkPoint: checkPointAfter(dataDirectory, toLsn),
      [Symbol.asyncDispose]: () => cluster.remove(),
    };
  } catch (error) {
    await cluster.remove();
    throw error;
  }
}

/** Whole segments: what they had before `startLsn`, the WAL, then zeros. */
function writeWal(dataDirectory: string, startLsn: Lsn, wal: Uint8Array): void {
  const end = startLsn + wal.length;
  const owner = statSync(join(dataDirectory, 'pg_wal'));
  for (let segment = segmentNumber(startLsn); segment * WAL_SEGMENT_BYTES < end; segment++) {
    const from = segment * WAL_SEGMENT_BYTES;
    const path = join(dataDirectory, 'pg_wal', segmentFileName(1, segment));
    const content = new Uint8Array(WAL_SEGMENT_BYTES);
    if (from < startLsn) content.set(readFileSync(path).subarray(0, startLsn - from));
    const part = wal.subarray(Math.max(0, from - startLsn), from + WAL_SEGMENT_BYTES - startLsn);
    content.set(part, Math.max(0, startLsn - from));
    writeFileSync(path, content, { mode: 0o600 });
    chownSync(path, owner.uid, owner.gid);
  }
}

function checkPointAfter(dataDirectory: string, at: Lsn): CheckPointFields {
  const decoder = new WalDecoder({ startLsn: at, facts: postgres18 });
  const segment = segmentNumber(at);
  const bytes = readFileSync(join(dataDirectory, 'pg_wal', segmentFileName(1, segment)));
  decoder.push(bytes.subarray(at - segment * WAL_SEGMENT_BYTES));
  const record = newWalRecord();
  if (!decoder.next(record)) throw new Error(`no record at ${at}, where recovery should have written one`);
  if (record.resourceManager !== 0 || record.mainLength !== CheckPoint.size) {
    throw new Error(`the record at ${lsn(at)} is no checkpoint`);
  }
  return CheckPoint.decode(record.bytes, record.mainStart);
}
