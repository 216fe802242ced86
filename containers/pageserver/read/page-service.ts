/**
 * The page service of one timeline: pages and boot manifests at an LSN (lib/protocol/pages.ts).
 *
 * A page is there if its block is below its fork's size at that LSN; only then is it read. The pages of a request are read
 * PAGES_A_STEP at a time, in the turns of its timeline, so that neither a large request nor a flood of small ones holds up
 * the requests of another. Each goes straight to its place in the answer.
 */
import type { Lsn } from '../../../lib/postgres/lsn.ts';
import {
  encodePageResponse,
  PAGE_SIZE,
  PagesResponse,
  type PageErrorCode,
  type PageRequest,
  type PageRun,
} from '../../../lib/protocol/pages.ts';
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
import { together } from './collect.ts';
import { Turns } from './turns.ts';

/** Read together in one step: a few blocks of a layer. */
const PAGES_A_STEP = 32;

/** An answer as it is sent. */
export interface PageAnswer {
  bytes: Uint8Array;
  /** How many pages were asked for; 0 for what is no pages. */
  pages: number;
  error: { code: PageErrorCode; message: string } | null;
}

/** Of all timelines of this process: they share its thread. */
const turns = new Turns();

/** Never rejects: a failure is an error response. `session`: of the compute that asks. */
export async function answerPageRequest(
  timeline: Timeline,
  request: PageRequest,
  session?: ComputeSession,
): Promise<PageAnswer> {
  const { id } = request;
  let release: (() => void) | undefined;
  try {
    const at = await timeline.waitFor(request.lsn);
    release = timeline.hold(at);
    session?.readsAt(at);
    if (request.tag === 'boot') {
      const { manifest, blobs } = await buildBootManifest(timeline.view(at));
      return { bytes: encodePageResponse({ tag: 'boot', id, manifest, blobs }), pages: 0, error: null };
    }
    const keys = keysOf(timeline, request.runs, at);
    const found = keys instanceof Promise ? await keys : keys;
    const response = new PagesResponse(
      id,
      found.map((key) => key !== null),
      (bytes) => Buffer.allocUnsafeSlow(bytes),
    );
    const reading = readPages(timeline, found, at, (index, page) => response.put(index, page));
    if (reading !== undefined) await reading;
    return { bytes: response.bytes, pages: found.length, error: null };
  } catch (cause) {
    const error = describeFailure(cause);
    return { bytes: encodePageResponse({ tag: 'error', id, ...error }), pages: 0, error };
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
  const keys = await keysOf(timeline, runs, at);
  const pages: (Uint8Array | null)[] = keys.map(() => null);
  await readPages(timeline, keys, at, (index, page) => {
    pages[index] = page.slice();
  });
  return pages;
}

/** The keys of all pages of `runs`, in their order; null where the file ends before. */
function keysOf(
  timeline: Timeline,
  runs: readonly PageRun[],
  at: Lsn,
): (Key | null)[] | Promise<(Key | null)[]> {
  const sizeKeys = runs.map(sizeKeyOfRun);
  const sizes = runs.map(() => 0);
  const reading = timeline.reader.getAll(sizeKeys, at, (index, size) => {
    sizes[index] = size === null ? 0 : decodeSize(size);
  });
  const keys = () => {
    const found: (Key | null)[] = [];
    for (const [i, { block, count }] of runs.entries())
      for (let each = block; each < block + count; each++)
        found.push(each < sizes[i] ? pageKeyOfSize(sizeKeys[i], each) : null);
    return found;
  };
  return reading === undefined ? keys() : reading.then(keys);
}

/** Gives each page that is there to `take`, in any order; it is lent until `take` returns. */
function readPages(
  timeline: Timeline,
  keys: readonly (Key | null)[],
  at: Lsn,
  take: (index: number, page: Uint8Array) => void,
): void | Promise<void> {
  const indexes: number[] = [];
  const present: Key[] = [];
  for (let index = 0; index < keys.length; index++) {
    const key = keys[index];
    if (key === null) continue;
    indexes.push(index);
    present.push(key);
  }
  const steps: (() => void | Promise<void>)[] = [];
  for (let from = 0; from < present.length; from += PAGES_A_STEP) {
    const some = present.slice(from, from + PAGES_A_STEP);
    const step = () =>
      timeline.reader.getAll(some, at, (i, page) => {
        if (page?.length !== PAGE_SIZE) throw notAPage(some[i], page);
        take(indexes[from + i], page);
      });
    steps.push(() => turns.run(timeline, step));
  }
  return together(steps);
}

function notAPage(key: Key, content: Uint8Array | null): TimelineError {
  const found = content === null ? 'nothing' : `${content.length} bytes`;
  return new TimelineError('internal', `${formatKey(key)}: ${found}, a page of ${PAGE_SIZE} bytes expected`);
}
