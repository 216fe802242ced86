/** The data directory on FUSE: folders, the server, and the fetching put together (types.ts has the layout). */
import { mkdirSync, readFileSync, symlinkSync, chownSync } from 'node:fs';
import { join } from 'node:path';
import { FIRST_REMOTE, newInodeBuffers } from './inode-records.ts';
import { FuseServer, type FuseServerOptions } from './fuse-server.ts';
import { layOut, makeBackingFolder, ownerOf, SERVED } from './local-files.ts';
import { cleanUpMount } from './mount.ts';
import { PageFetcher } from './page-fetcher.ts';
import { RemoteFiles } from './remote-files.ts';
import {
  DataDirectoryError,
  type DataDirectory,
  type DataDirectoryContent,
  type DataDirectoryPlace,
  type PreparedDataDirectory,
} from './types.ts';
import { newTouched, Volume } from './volume.ts';
import { touchedRuns } from './warm-pages.ts';

/** Files and directories that are only here and that the kernel knows at once. */
const LOCAL_INODES_MAX = 1 << 19;

/** What was found best by measuring; a benchmark compares others. */
export const FUSE_DEFAULTS: Omit<FuseServerOptions, 'mountPoint' | 'log'> = {
  readers: 2, // one serves while the other is in a long system call; more only contend
  readersAfterMs: 1000,
  readersAfterRequests: 2000,
  writeback: true,
  tuning: { read_ahead_kb: 512, max_ratio: 100, strict_limit: 0 },
};

/** Mounts at `place.mountPoint`. Throws DataDirectoryError `mount` where that is impossible. */
export async function prepareFuse(
  place: DataDirectoryPlace,
  options: Partial<typeof FUSE_DEFAULTS> = {},
): Promise<PreparedDataDirectory> {
  await cleanUpMount(place.mountPoint);
  makeBackingFolder(place);
  mkdirSync(place.mountPoint, { recursive: true });
  const { mountPoint, log } = place;
  const server = await FuseServer.start({ ...FUSE_DEFAULTS, ...options, mountPoint, log });
  return {
    mode: 'fuse',
    open: (content) => Promise.resolve(openFuse(place, server, content)),
    close: () => server.close(),
  };
}

function openFuse(
  place: DataDirectoryPlace,
  server: FuseServer,
  content: DataDirectoryContent,
): DataDirectory {
  const remote = RemoteFiles.build(content.manifest);
  const data = join(place.backingDir, 'data');
  const root = join(place.backingDir, 'pages');
  makeFolders(place, data, root);
  const owner = ownerOf(place);
  layOut(content, remote, (path) =>
    isServed(path) ? { real: join(root, path) } : { real: join(data, path), ...(owner && { owner }) },
  );

  const volume = new Volume({
    root,
    uid: place.uid,
    gid: place.gid,
    bootTime: Math.floor(Date.now() / 1000),
    remote: remote.buffers,
    inodes: newInodeBuffers(remote.count, LOCAL_INODES_MAX, descriptorsMax()),
    touched: newTouched(),
  });
  volume.inodes.addRoot();
  const fetcher = new PageFetcher(volume, content.pages, content.lsn);
  server.open(volume, fetcher);
  fetcher
    .warm(content.warmPages ?? [])
    .catch((error: unknown) =>
      place.log.warn({ err: error }, 'the pages of the last session could not be fetched'),
    );

  return {
    path: data,
    mode: 'fuse',
    failure: server.failure,
    statistics: () => ({ ...fetcher.statistics }),
    operations: () => server.operations(),
    takeWarmPages: () =>
      touchedRuns(volume.takeTouched(), (id, block, count) => remote.run(id - FIRST_REMOTE, block, count)),
    close: () => server.close(),
  };
}

/** PGDATA with links into the mount, and the folder behind the mount. */
function makeFolders(place: DataDirectoryPlace, data: string, root: string): void {
  const owner = ownerOf(place);
  const own = (path: string): void => {
    if (owner !== undefined) chownSync(path, owner.uid, owner.gid);
  };
  mkdirSync(data, { mode: 0o700 });
  own(data);
  mkdirSync(root, { mode: 0o700 });
  for (const name of SERVED) symlinkSync(join(place.mountPoint, name), join(data, name));
  // Sorts and hash joins spill here: local files need no detour. Postgres finds the folder by its name in base/.
  const temporary = join(place.backingDir, 'data', 'pgsql_tmp');
  mkdirSync(temporary, { mode: 0o700 });
  own(temporary);
  mkdirSync(join(root, 'base'), { mode: 0o700 });
  symlinkSync(temporary, join(root, 'base', 'pgsql_tmp'));
}

const isServed = (path: string): boolean => (SERVED as readonly string[]).includes(path.split('/', 1)[0]);

/** Half of what the process may have open; Node has raised the soft limit to the hard one. */
function descriptorsMax(): number {
  const limit = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'));
  if (limit === null) throw new DataDirectoryError('server', 'no "Max open files" in /proc/self/limits');
  return Math.min(16_384, Math.max(64, Math.floor(Number(limit[1]) / 2)));
}
