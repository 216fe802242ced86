/**
 * The page service of one timeline: pages and boot manifests at an LSN (lib/protocol/pages.ts).
 *
 * A page is there if its block is below its fork's size at that LSN; only then is it read. Requests run beside each
 * other; after each slice of work others get a turn, so that a large request holds up no small one.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Lsn } from '../../../lib/postgres/lsn.ts';
import { PAGE_SIZE, type PageRequest, type PageResponse, type PageRun } from '../../../lib/protocol/pages.ts';
import {
  formatKey,
  pageKeyOfSize,
  relationSizeKey,
  slruSegmentKey,
  type Key,
} from '../../../lib/storage/key.ts';
import { buildBootManifest } from '../../../lib/storage/state/boot-manifest.ts';
import { decodeSize } from '../../../lib/storage/value.ts';
import type { ComputeSession } from '../timeline/compute-session.ts';
import { describeFailure, TimelineError } from '../timeline/errors.ts';
import type { Timeline } from '../timeline/timeline.ts';

const SLICE_MS = 4;
/** Pages of one request that are being read at a time: those of cold layers come in parallel. */
const PAGES_AT_ONCE = 32;

/** Never rejects: a failure is an error response. `session`: of the compute that asks. */
export async function answerPageRequest(
  timeline: Timeline,
  request: PageRequest,
  session?: ComputeSession,
): Promise<PageResponse> {
  const { id } = request;
  let release: (() => void) | undefined;
  try {
    const at = await timeline.waitFor(request.lsn);
    release = timeline.hold(at);
    session?.readsAt(at);
    if (request.tag === 'boot') {
      const { manifest, blobs } = await buildBootManifest(timeline.view(at));
      return { tag: 'boot', id, manifest, blobs };
    }
    return { tag: 'pages', id, pages: await readRuns(timeline, request.runs, at) };
  } catch (error) {
    return { tag: 'error', id, ...describeFailure(error) };
  } finally {
    release?.();
  }
}

/** The size key of the file that a run is of. */
export const sizeKeyOfRun = (run: PageRun): Key =>
  run.kind === 'relation' ? relationSizeKey(run) : slruSegmentKey(run.slru, run.segment);

/** Pages in the order asked for; null where there is none at `at`, which has been ingested. */
export async function readRuns(
  timeline: Timeline,
  runs: readonly PageRun[],
  at: Lsn,
): Promise<(Uint8Array | null)[]> {
  const keys: (Key | null)[] = [];
  for (const run of runs) {
    const sizeKey = sizeKeyOfRun(run);
    const size = await timeline.reader.get(sizeKey, at);
    const blocks = size === null ? 0 : decodeSize(size);
    for (let block = run.block; block < run.block + run.count; block++)
      keys.push(block < blocks ? pageKeyOfSize(sizeKey, block) : null);
  }
  const pages: (Uint8Array | null)[] = [];
  let sliceEnd = performance.now() + SLICE_MS;
  for (let from = 0; from < keys.length; from += PAGES_AT_ONCE) {
    const some = keys.slice(from, from + PAGES_AT_ONCE);
    pages.push(...(await Promise.all(some.map((key) => readPage(timeline, key, at)))));
    if (performance.now() < sliceEnd) continue;
    await nextTurn();
    sliceEnd = performance.now() + SLICE_MS;
  }
  return pages;
}

async function readPage(timeline: Timeline, key: Key | null, at: Lsn): Promise<Uint8Array | null> {
  if (key === null) return null;
  const page = await timeline.reader.get(key, at);
  if (page?.length === PAGE_SIZE) return page;
  const found = page === null ? 'nothing' : `${page.length} bytes`;
  throw new TimelineError('internal', `${formatKey(key)}: ${found}, a page of ${PAGE_SIZE} bytes expected`);
}
