/**
 * `ebb import SOURCE`: a project of a cluster that was somewhere else.
 *
 *   data directory ──copy──┐
 *                          ├──► private copy ──adopt──► stopped cleanly ──► layers ──► object storage, by the control plane's API
 *   running Postgres ─base─┘                                                     └──► index: the project can be woken
 *                   backup
 *
 * The source is only read. The copy lies in a working folder while the import runs; memory is one layer and some.
 * An import that fails leaves neither a project nor the copy.
 */
import { constants } from 'node:fs';
import { chmod, copyFile, mkdir, mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  checkContents,
  DataDirectory,
  ImportError,
  readControl,
} from '../../containers/pageserver/import/data-directory.ts';
import { putImportedLayers } from '../../containers/pageserver/import/layers.ts';
import { DATABASE_STATE } from '../../lib/postgres/control-file.ts';
import { formatLsn } from '../../lib/postgres/lsn.ts';
import { PAGE_SIZE } from '../../lib/protocol/pages.ts';
import type { ControlPlane } from '../instance/control-plane.ts';
import { adopt } from './adopt.ts';
import { BackupError, baseBackup } from './base-backup.ts';
import type { Progress } from './progress.ts';

export interface ImportOptions {
  /** A data directory, or `postgres://…` of a role that may replicate. */
  source: string;
  controlPlane: ControlPlane;
  name?: string;
  /** Where the private copy lies while the import runs. Default: the temporary folder. */
  workFolder?: string;
  progress: Progress;
}

export interface Imported {
  projectId: string;
  connectionUri: string;
  /** Whether the URI holds a password that was made for the owner, who had none. */
  hasPassword: boolean;
  pages: number;
}

/** Throws ImportError, BackupError, ControlPlaneError. */
export async function importCluster(options: ImportOptions): Promise<Imported> {
  const { source, progress } = options;
  const work = await mkdtemp(join(options.workFolder ?? tmpdir(), 'ebb-import-'));
  try {
    await chmod(work, 0o711); // Postgres may run as another user
    const copy = join(work, 'data');
    if (/^postgres(ql)?:\/\//.test(source)) {
      await mkdir(copy, { mode: 0o700 });
      const onProgress = (done: number, total: number) => progress.show('backup', done, total);
      await baseBackup({ url: parseUrl(source), into: copy, onProgress });
      await readControl(copy);
      await checkContents(copy);
    } else await copyStopped(source, copy, progress);
    progress.say('running Postgres on the copy: recovery, roles, owners');
    const cluster = await adopt(copy, work);
    const directory = await DataDirectory.open(copy);
    const { controlPlane } = options;
    const created = await controlPlane.createImport({
      ...(options.name === undefined ? {} : { name: options.name }),
      systemIdentifier: directory.systemIdentifier.toString(),
      startLsn: formatLsn(directory.startLsn),
      ...cluster,
    });
    try {
      let entries = 0;
      const total = directory.pages * PAGE_SIZE;
      await putImportedLayers(
        { ...created, systemIdentifier: directory.systemIdentifier, startLsn: directory.startLsn },
        directory.entries(),
        (name, bytes) => controlPlane.putImported(created.projectId, name, bytes),
        () => progress.show('import', Math.min(++entries * PAGE_SIZE, total), total),
      );
    } catch (error) {
      await controlPlane.removeProject(created.projectId);
      throw error;
    }
    return { ...created, pages: directory.pages };
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** Also without a host before the path, as libpq takes it with `?host=/folder`. Throws BackupError. */
function parseUrl(source: string): URL {
  try {
    return new URL(source.replace(/^(\w+:\/\/(?:[^/?#]*@)?)(?=[/?]|$)/, '$1localhost'));
  } catch (cause) {
    throw new BackupError('the source is no URL: postgres://USER:PASSWORD@HOST:PORT/ expected', { cause });
  }
}

/** Neither configuration nor what a clean stop has made useless; WAL only that of the last checkpoint. */
const LEFT_OUT = new Set([
  'pg_wal',
  'pg_replslot',
  'pg_stat_tmp',
  'pg_dynshmem',
  'pg_notify',
  'pg_serial',
  'pg_snapshots',
  'pg_subtrans',
  'log',
]);

async function copyStopped(from: string, to: string, progress: Progress): Promise<void> {
  const control = await readControl(from);
  if (control.state !== DATABASE_STATE.shutDown)
    throw new ImportError(
      'running',
      `${from} was not stopped cleanly (state ${control.state}): stop its Postgres with pg_ctl stop -m fast first, or give its URL`,
    );
  await checkContents(from);
  const files: { path: string; size: number }[] = [];
  const folders: string[] = [];
  async function look(path: string): Promise<void> {
    folders.push(path);
    for (const entry of await readdir(join(from, path), { withFileTypes: true })) {
      const inner = path === '' ? entry.name : `${path}/${entry.name}`;
      if (entry.isDirectory()) {
        if (LEFT_OUT.has(inner) && inner !== 'pg_wal') folders.push(inner);
        else await look(inner);
      } else if (entry.isFile()) files.push({ path: inner, size: (await stat(join(from, inner))).size });
    }
  }
  await look('');
  const total = files.reduce((sum, { size }) => sum + size, 0);
  let done = 0;
  for (const folder of folders) await mkdir(join(to, folder), { recursive: true, mode: 0o700 });
  for (const { path, size } of files) {
    // Shares the blocks where the file system can.
    await copyFile(join(from, path), join(to, path), constants.COPYFILE_FICLONE);
    done += size;
    progress.show('copy', done, total);
  }
}
