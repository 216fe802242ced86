/**
 * The data directory where FUSE cannot be had: an ordinary folder, filled with every page before Postgres starts.
 * Slower to start, the same afterwards.
 */
import { chownSync, closeSync, ftruncateSync, mkdirSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { PAGE_SIZE, type PageRun } from '../../../lib/protocol/pages.ts';
import { formatLsn } from '../../../lib/postgres/lsn.ts';
import { layOut, makeBackingFolder, ownerOf } from './local-files.ts';
import { batches } from './page-fetcher.ts';
import { RemoteFiles } from './remote-files.ts';
import {
  DataDirectoryError,
  type DataDirectory,
  type DataDirectoryContent,
  type DataDirectoryPlace,
  type MissStatistics,
  type PreparedDataDirectory,
} from './types.ts';
import { writeAll } from './volume.ts';

/** Requests under way at once: 8 MiB each at most. */
const PARALLEL = 4;

export function preparePlain(place: DataDirectoryPlace): PreparedDataDirectory {
  makeBackingFolder(place);
  return { mode: 'plain', open: (content) => openPlain(place, content), close: () => Promise.resolve() };
}

async function openPlain(place: DataDirectoryPlace, content: DataDirectoryContent): Promise<DataDirectory> {
  const remote = RemoteFiles.build(content.manifest);
  const path = join(place.backingDir, 'data');
  const owner = ownerOf(place);
  mkdirSync(path, { mode: 0o700 });
  if (owner !== undefined) chownSync(path, owner.uid, owner.gid);
  layOut(content, remote, (relative) => ({ real: join(path, relative), ...(owner && { owner }) }));
  const pagesFetched = await fill(path, remote, content, owner);
  const statistics: MissStatistics = {
    misses: 0,
    pagesFetched,
    warmPagesFetched: 0,
    fetchesFailed: 0,
    waitMs: 0,
  };
  return {
    path,
    mode: 'plain',
    failure: new Promise(() => undefined),
    statistics: () => ({ ...statistics }),
    operations: () => ({}),
    takeWarmPages: () => [],
    close: () => Promise.resolve(),
  };
}

interface Part {
  index: number;
  block: number;
  count: number;
}

/** Makes every remote file and fetches its pages; how many. Throws DataDirectoryError `fetch`. */
async function fill(
  data: string,
  remote: RemoteFiles,
  content: DataDirectoryContent,
  owner: { uid: number; gid: number } | undefined,
): Promise<number> {
  const parts: Part[] = [];
  let total = 0;
  for (let index = 0; index < remote.count; index++) {
    makeFile(join(data, remote.path(index)), remote.size(index), owner);
    const count = remote.blocks(index);
    if (count > 0) parts.push({ index, block: 0, count });
    total += count;
  }
  const queue = batches(parts);
  let done = 0;
  const work = async (): Promise<void> => {
    for (let batch = queue.shift(); batch !== undefined; batch = queue.shift()) {
      await fetchBatch(data, remote, content, batch);
      done += batch.reduce((sum, part) => sum + part.count, 0);
      content.onProgress?.(done, total);
    }
  };
  await Promise.all(Array.from({ length: PARALLEL }, work));
  return total;
}

function makeFile(path: string, size: number, owner: { uid: number; gid: number } | undefined): void {
  const descriptor = openSync(path, 'wx', 0o600);
  try {
    ftruncateSync(descriptor, size);
  } finally {
    closeSync(descriptor);
  }
  if (owner !== undefined) chownSync(path, owner.uid, owner.gid);
}

async function fetchBatch(
  data: string,
  remote: RemoteFiles,
  { pages: source, lsn }: DataDirectoryContent,
  batch: readonly Part[],
): Promise<void> {
  const runs: PageRun[] = batch.map(({ index, block, count }) => remote.run(index, block, count));
  const first = remote.path(batch[0].index);
  let pages: (Uint8Array | null)[];
  try {
    pages = await source.getPages(lsn, runs);
  } catch (cause) {
    const reason = (cause as Error).message;
    throw new DataDirectoryError('fetch', `pages from ${first} on at ${formatLsn(lsn)}: ${reason}`, cause);
  }
  let next = 0;
  for (const { index, block, count } of batch) {
    const descriptor = openSync(join(data, remote.path(index)), 'r+');
    try {
      for (let at = block; at < block + count; at++) {
        const page = pages[next++];
        if (page?.length !== PAGE_SIZE)
          throw new DataDirectoryError(
            'fetch',
            `${remote.path(index)} block ${at} at ${formatLsn(lsn)}: the pageserver has no such page, though the file had ${remote.blocks(index)} blocks`,
          );
        writeAll(descriptor, page, at * PAGE_SIZE);
      }
    } finally {
      closeSync(descriptor);
    }
  }
}
