/**
 * How many blocks the forks and segments have whose pages lie in a range of keys, as of an LSN: which pages are there follows
 * from it, since a layer may still hold pages that were cut off.
 */
import type { Lsn } from '../../../lib/postgres/lsn.ts';
import { kindRange, sizeKeyOfPage, type Key, type KeyRange } from '../../../lib/storage/key.ts';
import { decodeSize } from '../../../lib/storage/value.ts';
import type { TimelineReader } from '../read/timeline-reader.ts';

const PAGES = [
  ['slruPage', 'slruSegment'],
  ['relationPage', 'relationSize'],
] as const;

export async function liveSizes(reader: TimelineReader, range: KeyRange, at: Lsn): Promise<[Key, number][]> {
  const found: [Key, number][] = [];
  for (const [pageKind, sizeKind] of PAGES) {
    const pages = intersection(range, kindRange(pageKind));
    if (pages === null) continue;
    const keys = { first: sizeKeyOfPage(pages.first), last: sizeKeyOfPage(pages.last) };
    const sizes = intersection(keys, kindRange(sizeKind));
    if (sizes === null) continue;
    for await (const { key, content } of reader.scan(sizes, at)) found.push([key, decodeSize(content)]);
  }
  return found;
}

function intersection(a: KeyRange, b: KeyRange): KeyRange | null {
  const first = a.first > b.first ? a.first : b.first;
  const last = a.last < b.last ? a.last : b.last;
  return first <= last ? { first, last } : null;
}
