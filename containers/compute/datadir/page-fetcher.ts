/**
 * Brings pages of remote files here: what is absent is asked for, what is already on its way is shared.
 *
 * One `ensure` is one message to the pageserver, with a run for each gap. A fetch that fails
 * makes its READ fail with EIO; nothing is ever served in a page's place.
 */
import { PAGE_SIZE, PAGES_MAX, type PageRun } from '../../../lib/protocol/pages.ts';
import { formatLsn, type Lsn } from '../../../lib/postgres/lsn.ts';
import { FIRST_REMOTE } from './inode-records.ts';
import { SEGMENT_BLOCKS } from './manifest-rows.ts';
import { DataDirectoryError, type MissStatistics, type PageSource } from './types.ts';
import type { Volume } from './volume.ts';

/** Files up to this size (128 KiB) are brought here whole. */
const SMALL_FILE_BLOCKS = 16;
/** Warm pages come in the order in which they were read; what is needed first must not wait for the rest. */
export const WARM_BATCH_PAGES = 32;

interface Run {
  id: number;
  block: number;
  count: number;
}

export class PageFetcher {
  readonly statistics: MissStatistics = {
    misses: 0,
    pagesFetched: 0,
    warmPagesFetched: 0,
    fetchesFailed: 0,
    waitMs: 0,
  };
  readonly #volume: Volume;
  readonly #pages: PageSource;
  readonly #lsn: Lsn;
  /** By file and block: the fetch that will bring it. */
  readonly #inFlight = new Map<number, Promise<void>>();
  #stopped = false;

  constructor(volume: Volume, pages: PageSource, lsn: Lsn) {
    this.#volume = volume;
    this.#pages = pages;
    this.#lsn = lsn;
  }

  /**
   * Resolves when blocks [block, block + count) are here. Rejects when one of them cannot be had. Of a small file the
   * rest follows: of a catalog it is read next.
   */
  async ensure(run: Run): Promise<void> {
    await this.#ensure(run);
    const blocks = this.#volume.remote.blocks(run.id - FIRST_REMOTE);
    if (blocks > SMALL_FILE_BLOCKS || this.#stopped) return;
    this.#ensure({ id: run.id, block: 0, count: blocks }).catch(() => undefined); // nobody has asked for these
  }
  async #ensure({ id, block, count }: Run): Promise<void> {
    const waits = new Set<Promise<void>>();
    const wanted: Run[] = [];
    for (const [from, length] of this.#volume.absentRuns(id, block, block + count))
      for (let at = from; at < from + length; at++) {
        const underWay = this.#inFlight.get(key(id, at));
        if (underWay !== undefined) waits.add(underWay);
        else append(wanted, id, at);
      }
    for (const batch of batches(wanted)) waits.add(this.#fetch(batch));
    await Promise.all(waits);
  }

  /** Fetches what a session is known to read first. Runs of files that are no more are left out. */
  async warm(runs: readonly PageRun[]): Promise<void> {
    const wanted: Run[] = [];
    for (const run of runs) {
      const located = this.#volume.remote.locate(run);
      if (located === undefined) continue;
      const id = FIRST_REMOTE + located.index;
      for (let at = located.block; at < located.block + located.count; at++)
        if (!this.#inFlight.has(key(id, at))) append(wanted, id, at);
    }
    this.statistics.warmPagesFetched += wanted.reduce((sum, run) => sum + run.count, 0);
    await Promise.all(batches(wanted, WARM_BATCH_PAGES).map((batch) => this.#fetch(batch)));
  }

  /** What still comes is not stored any more. */
  stop(): void {
    this.#stopped = true;
  }

  #fetch(runs: readonly Run[]): Promise<void> {
    const fetched = this.#request(runs).finally(() => {
      for (const run of runs)
        for (let at = run.block; at < run.block + run.count; at++) this.#inFlight.delete(key(run.id, at));
    });
    for (const run of runs)
      for (let at = run.block; at < run.block + run.count; at++) this.#inFlight.set(key(run.id, at), fetched);
    return fetched;
  }

  async #request(runs: readonly Run[]): Promise<void> {
    const { remote } = this.#volume;
    try {
      const asked = runs.map(({ id, block, count }) => remote.run(id - FIRST_REMOTE, block, count));
      const pages = await this.#pages.getPages(this.#lsn, asked);
      if (this.#stopped) throw new DataDirectoryError('fetch', 'the data directory is closed');
      let next = 0;
      for (const run of runs) {
        this.#store(run, pages.slice(next, next + run.count));
        next += run.count;
      }
      this.statistics.pagesFetched += pages.length;
    } catch (error) {
      this.statistics.fetchesFailed++;
      throw error;
    }
  }

  /** Pages of one run lie behind each other in the message, so that they are written at once. */
  #store({ id, block }: Run, pages: readonly (Uint8Array | null)[]): void {
    for (let from = 0; from < pages.length;) {
      const first = pages[from];
      if (first === null || first.length !== PAGE_SIZE) throw this.#missing(id, block + from, first);
      let to = from + 1;
      while (to < pages.length && adjoins(first, pages[to], (to - from) * PAGE_SIZE)) to++;
      const bytes = new Uint8Array(first.buffer, first.byteOffset, (to - from) * PAGE_SIZE);
      this.#volume.store(id, block + from, bytes);
      from = to;
    }
  }

  #missing(id: number, block: number, page: Uint8Array | null): DataDirectoryError {
    const path = this.#volume.remote.path(id - FIRST_REMOTE);
    const blocks = this.#volume.remote.blocks(id - FIRST_REMOTE);
    return new DataDirectoryError(
      'fetch',
      `${path} block ${block} at ${formatLsn(this.#lsn)}: the pageserver has ${page === null ? 'no such page' : `a page of ${page.length} bytes`}, though the file had ${blocks} blocks`,
    );
  }
}

const key = (id: number, block: number): number => id * SEGMENT_BLOCKS + block;

const adjoins = (first: Uint8Array, page: Uint8Array | null, distance: number): boolean =>
  page !== null &&
  page.buffer === first.buffer &&
  page.byteOffset === first.byteOffset + distance &&
  page.length === PAGE_SIZE;

function append(runs: Run[], id: number, block: number): void {
  const last = runs.at(-1);
  if (last !== undefined && last.id === id && last.block + last.count === block) last.count++;
  else runs.push({ id, block, count: 1 });
}

/** Cuts runs into requests of at most `pagesMax` pages. */
export function batches<R extends { block: number; count: number }>(
  runs: readonly R[],
  pagesMax = PAGES_MAX,
): R[][] {
  const result: R[][] = [];
  let room = 0;
  for (const run of runs) {
    for (let done = 0; done < run.count;) {
      if (room === 0) {
        result.push([]);
        room = pagesMax;
      }
      const count = Math.min(room, run.count - done);
      result[result.length - 1].push({ ...run, block: run.block + done, count });
      done += count;
      room -= count;
    }
  }
  return result;
}
