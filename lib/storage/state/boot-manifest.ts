/**
 * The boot manifest: everything but pages that a data directory as of an LSN is made of, from the keys at that LSN.
 *
 * It may be asked for at any LSN of the history, so it reads keys and not the head's state.
 */
import { CheckPoint } from '../../postgres/checkpoint.ts';
import { decodeControlFile } from '../../postgres/control-file.ts';
import { formatLsn } from '../../postgres/lsn.ts';
import { ByteWriter } from '../../protocol/bytes.ts';
import type { BlobRange, BootManifest } from '../../protocol/pages.ts';
import {
  CHECKPOINT_KEY,
  CONTROL_FILE_KEY,
  kindRange,
  parseKey,
  type KeyKind,
  type KeyParts,
} from '../key.ts';
import { decodeSize } from '../value.ts';
import type { StorageView } from '../view.ts';
import { readRequired, StateError } from './timeline-state.ts';

/** DEFAULTTABLESPACE_OID and GLOBALTABLESPACE_OID (catalog/pg_tablespace.dat). */
export const DEFAULT_TABLESPACE = 1663;
export const GLOBAL_TABLESPACE = 1664;

/** What initdb makes besides base/<oid>, and Postgres expects to find. */
const DIRECTORIES = [
  'base',
  'global',
  'pg_commit_ts',
  'pg_dynshmem',
  'pg_logical',
  'pg_logical/mappings',
  'pg_logical/snapshots',
  'pg_multixact',
  'pg_multixact/members',
  'pg_multixact/offsets',
  'pg_notify',
  'pg_replslot',
  'pg_serial',
  'pg_snapshots',
  'pg_stat',
  'pg_stat_tmp',
  'pg_subtrans',
  'pg_tblspc',
  'pg_twophase',
  'pg_wal',
  'pg_wal/archive_status',
  'pg_wal/summaries',
  'pg_xact',
] as const;

class Blobs {
  readonly #writer = new ByteWriter(1 << 16);
  #length = 0;
  add(bytes: Uint8Array): BlobRange {
    const range: BlobRange = [this.#length, bytes.length];
    this.#writer.bytes(bytes);
    this.#length += bytes.length;
    return range;
  }
  done(): Uint8Array {
    return this.#writer.done();
  }
}

type PartsOf<K extends KeyKind> = Extract<KeyParts, { kind: K }>;
async function scan<K extends KeyKind>(
  view: StorageView,
  kind: K,
): Promise<{ parts: PartsOf<K>; content: Uint8Array }[]> {
  const found = await Array.fromAsync(view.scan(kindRange(kind)));
  return found.map(({ key, content }) => ({ parts: parseKey(key) as PartsOf<K>, content }));
}

/** Where a database's files are. Throws StateError for a tablespace that is not one of the two built-in ones. */
function databasePath(spcOid: number, dbOid: number): string {
  if (spcOid === GLOBAL_TABLESPACE && dbOid === 0) return 'global';
  if (spcOid === DEFAULT_TABLESPACE && dbOid !== 0) return `base/${dbOid}`;
  throw new StateError(`tablespace ${spcOid} (database ${dbOid}): Ebb keeps pg_default and pg_global only`);
}

/** Throws StateError where the timeline holds what a compute cannot be given (a tablespace), or lacks what it needs. */
export async function buildBootManifest(
  view: StorageView,
): Promise<{ manifest: BootManifest; blobs: Uint8Array }> {
  const blobs = new Blobs();
  // Beside each other: what they are in may be far away.
  const [controlFile, checkPoint, databases, relationMaps, twoPhases, sizes, segments] = await Promise.all([
    readRequired(view, CONTROL_FILE_KEY),
    readRequired(view, CHECKPOINT_KEY),
    scan(view, 'database'),
    scan(view, 'relationMap'),
    scan(view, 'twoPhase'),
    scan(view, 'relationSize'),
    scan(view, 'slruSegment'),
  ]);
  const control = decodeControlFile(controlFile);
  const manifest: BootManifest = {
    lsn: formatLsn(view.lsn),
    previousLsn: formatLsn(view.previousLsn),
    systemIdentifier: control.systemIdentifier.toString(),
    checkPoint: blobs.add(CheckPoint.encode(CheckPoint.decode(checkPoint))),
    controlFile: blobs.add(controlFile),
    files: [],
    directories: [...DIRECTORIES],
    relations: [],
    slrus: [],
  };
  const versionFile = blobs.add(new TextEncoder().encode(`${Math.floor(control.controlVersion / 100)}\n`));
  manifest.files.push({ path: 'PG_VERSION', content: versionFile });
  for (const { parts } of databases) {
    const path = databasePath(parts.spcOid, parts.dbOid);
    manifest.directories.push(path);
    manifest.files.push({ path: `${path}/PG_VERSION`, content: versionFile });
  }
  for (const { parts, content } of relationMaps) {
    const path = `${databasePath(parts.spcOid, parts.dbOid)}/pg_filenode.map`;
    manifest.files.push({ path, content: blobs.add(content) });
  }
  for (const { parts, content } of twoPhases) {
    manifest.files.push({ path: twoPhasePath(parts.epoch, parts.xid), content: blobs.add(content) });
  }
  for (const { parts, content } of sizes) {
    databasePath(parts.spcOid, parts.dbOid);
    manifest.relations.push([parts.spcOid, parts.dbOid, parts.relNumber, parts.fork, decodeSize(content)]);
  }
  for (const { parts, content } of segments) {
    manifest.slrus.push({ kind: parts.slru, segment: parts.segment, blocks: decodeSize(content) });
  }
  return { manifest, blobs: blobs.done() };
}

/** TwoPhaseFilePath. */
function twoPhasePath(epoch: number, xid: number): string {
  const hex = (value: number) => value.toString(16).toUpperCase().padStart(8, '0');
  return `pg_twophase/${hex(epoch)}${hex(xid)}`;
}
