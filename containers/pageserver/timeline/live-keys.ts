/**
 * The keys of a range that are there as of an LSN, with their contents, in key order: what an image layer is made of.
 *
 * Which pages there are follows from the sizes of their forks, and sizes sort before pages.
 */
import type { Lsn } from '../../../lib/postgres/lsn.ts';
import {
  CHECKPOINT_KEY,
  COMMIT_TIME_KEY,
  CONTROL_FILE_KEY,
  kindRange,
  pageKeyOfSize,
  sizeKeyOfPage,
  type Key,
  type KeyKind,
  type KeyRange,
} from '../../../lib/storage/key.ts';
import { decodeSize } from '../../../lib/storage/value.ts';
import type { TimelineReader } from '../read/timeline-reader.ts';

export interface LiveKey {
  key: Key;
  content: Uint8Array;
}

/** Kinds that `scan` can do, in the order of their numbers. */
const SCANNED = ['relationMap', 'database', 'twoPhase', 'slruSegment', 'relationSize'] as const;
const PAGES = [
  ['slruPage', 'slruSegment'],
  ['relationPage', 'relationSize'],
] as const;

export async function* liveKeys(reader: TimelineReader, range: KeyRange, at: Lsn): AsyncGenerator<LiveKey> {
  for (const key of [COMMIT_TIME_KEY, CHECKPOINT_KEY, CONTROL_FILE_KEY]) {
    if (key < range.first || key > range.last) continue;
    const content = await reader.get(key, at, false);
    if (content !== null) yield { key, content };
  }
  for (const kind of SCANNED) {
    const part = intersection(range, kindRange(kind));
    if (part !== null) yield* reader.scan(part, at);
  }
  for (const [pages, sizes] of PAGES) {
    const part = intersection(range, kindRange(pages));
    if (part !== null) yield* livePages(reader, part, sizes, at);
  }
}

async function* livePages(
  reader: TimelineReader,
  pages: KeyRange,
  sizeKind: KeyKind,
  at: Lsn,
): AsyncGenerator<LiveKey> {
  const first = sizeKeyOfPage(pages.first);
  const sizes = intersection({ first, last: sizeKeyOfPage(pages.last) }, kindRange(sizeKind));
  if (sizes === null) return;
  for await (const { key: size, content } of reader.scan(sizes, at)) {
    const blocks = decodeSize(content);
    for (let block = 0; block < blocks; block++) {
      const key = pageKeyOfSize(size, block);
      if (key < pages.first) continue;
      if (key > pages.last) return;
      const page = await reader.get(key, at, false);
      if (page !== null) yield { key, content: page };
    }
  }
}

function intersection(a: KeyRange, b: KeyRange): KeyRange | null {
  const first = a.first > b.first ? a.first : b.first;
  const last = a.last < b.last ? a.last : b.last;
  return first <= last ? { first, last } : null;
}
