/**
 * What of a data directory is made at boot in either mode: its directories, the manifest's whole files (PG_VERSION,
 * pg_filenode.map, two-phase files) and the booter's own (pg_control, WAL, configuration).
 */
import {
  chownSync,
  closeSync,
  existsSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  writeFileSync,
} from 'node:fs';
import { rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { BlobRange, BootManifest } from '../../../lib/protocol/pages.ts';
import { DIRECTORY, directoryPath } from './file-names.ts';
import type { RemoteFiles } from './remote-files.ts';
import { DataDirectoryError, type DataDirectoryContent, type DataDirectoryPlace, type Log } from './types.ts';
import { writeAll } from './volume.ts';

/** First components of paths that FUSE serves: where relations and SLRUs live. */
export const SERVED = ['base', 'global', 'pg_xact', 'pg_multixact', 'pg_commit_ts'] as const;

/** Directories that initdb makes (subdirs in initdb.c); Postgres wants them all. */
const DIRECTORIES = [
  ...SERVED,
  'pg_multixact/members',
  'pg_multixact/offsets',
  'pg_wal',
  'pg_wal/archive_status',
  'pg_wal/summaries',
  'pg_dynshmem',
  'pg_notify',
  'pg_serial',
  'pg_snapshots',
  'pg_subtrans',
  'pg_twophase',
  'pg_replslot',
  'pg_tblspc',
  'pg_stat',
  'pg_stat_tmp',
  'pg_logical',
  'pg_logical/snapshots',
  'pg_logical/mappings',
];

/** Where a path of the data directory really is, and to whom it is to belong (undefined: to this process). */
export type Placement = (path: string) => { real: string; owner?: { uid: number; gid: number } };

/** Makes directories and whole files. Throws DataDirectoryError `content`, or what the file system throws. */
export function layOut(content: DataDirectoryContent, remote: RemoteFiles, place: Placement): void {
  const { manifest, blobs, files } = content;
  const made = new Set<string>();
  const makeDirectory = (path: string): void => {
    if (path === '.' || made.has(path)) return;
    makeDirectory(dirname(path));
    made.add(path);
    const { real, owner } = place(path);
    if (existsSync(real)) return;
    mkdirSync(real, { mode: 0o700 });
    if (owner !== undefined) chownSync(real, owner.uid, owner.gid);
  };
  for (const path of DIRECTORIES) makeDirectory(path);
  for (const path of manifest.directories) makeDirectory(checked(path));
  let database = 0;
  for (let index = 0; index < remote.count; index++) {
    const oid = remote.oid(index);
    if (remote.kind(index) !== DIRECTORY.DATABASE || oid === database) continue;
    database = oid;
    makeDirectory(directoryPath(DIRECTORY.DATABASE, oid));
  }
  const replaced = new Set(files.map((file) => file.path));
  for (const { path, content: range } of manifest.files) {
    if (replaced.has(path)) continue;
    makeDirectory(dirname(checked(path)));
    const { real, owner } = place(path);
    writeFileSync(real, blob(manifest, blobs, range, path), { mode: 0o600 });
    if (owner !== undefined) chownSync(real, owner.uid, owner.gid);
  }
  for (const file of files) {
    makeDirectory(dirname(checked(file.path)));
    const { real, owner } = place(file.path);
    const descriptor = openSync(real, 'w', 0o600);
    try {
      for (const { offset, bytes } of file.pieces) writeAll(descriptor, bytes, offset);
      if (file.size !== undefined) ftruncateSync(descriptor, file.size);
    } finally {
      closeSync(descriptor);
    }
    if (owner !== undefined) chownSync(real, owner.uid, owner.gid);
  }
}

function blob(
  manifest: BootManifest,
  blobs: Uint8Array,
  [offset, length]: BlobRange,
  path: string,
): Uint8Array {
  if (!(offset >= 0 && length >= 0 && offset + length <= blobs.length))
    throw new DataDirectoryError(
      'content',
      `the manifest at ${manifest.lsn} says ${path} is bytes ${offset}+${length} of ${blobs.length}`,
    );
  return blobs.subarray(offset, offset + length);
}

/** A path that stays within the data directory. */
function checked(path: string): string {
  const components = path.split('/');
  if (components.some((part) => part === '' || part === '.' || part === '..' || part.includes('\0')))
    throw new DataDirectoryError('content', `not a path within the data directory: ${JSON.stringify(path)}`);
  return path;
}

/** An empty backing folder. What was there is moved aside and deleted while the boot goes on. */
export function makeBackingFolder({ backingDir, log }: DataDirectoryPlace): void {
  const parent = dirname(backingDir);
  mkdirSync(parent, { recursive: true });
  const stalePrefix = `${basename(backingDir)}.stale-`;
  if (existsSync(backingDir))
    renameSync(backingDir, join(parent, `${stalePrefix}${process.pid}-${Date.now()}`));
  for (const name of readdirSync(parent))
    if (name.startsWith(stalePrefix)) deleteInBackground(join(parent, name), log);
  mkdirSync(backingDir, { mode: 0o711 });
}
function deleteInBackground(path: string, log: Log): void {
  rm(path, { recursive: true, force: true }).catch((error: unknown) =>
    log.warn({ path, err: error }, 'cannot delete what an earlier data directory left'),
  );
}

/** Whether files must be given to `uid` explicitly. */
export const ownerOf = ({ uid, gid }: DataDirectoryPlace): { uid: number; gid: number } | undefined =>
  process.getuid?.() === uid && process.getgid?.() === gid ? undefined : { uid, gid };
