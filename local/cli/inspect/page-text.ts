/**
 * A page for a person: its header, what kind of page it is, its line pointers and what they point at.
 *
 * Kinds are told apart by the special space, as pg_filedump does it: a heap page has none, a sequence's holds a
 * magic number, and the index methods differ in its size and in a page id in its last two bytes.
 *
 * Source: storage/bufpage.h, access/nbtree.h, access/gist.h, access/hash.h, commands/sequence.c.
 */
import { formatLsn } from '../../../lib/postgres/lsn.ts';
import {
  isNewPage,
  itemCount,
  itemFlags,
  itemId,
  itemLength,
  itemOffset,
  LP_NORMAL,
  PAGE_BYTES,
  PAGE_HEADER_BYTES,
  PD_ALL_VISIBLE,
  PD_HAS_FREE_LINES,
  PD_PAGE_FULL,
  pageFlags,
  pageLower,
  pageLsn,
  pageOver,
  pagePruneXid,
  pageSpecial,
  pageUpper,
  type Page,
} from '../../../lib/postgres/page/page.ts';
import { btreeItem, btreeSpecial } from './btree-text.ts';
import { flagNames } from './flags.ts';
import { heapItem } from './heap-text.ts';
import { hexDump } from './table.ts';

export type PageKind = 'heap' | 'btree' | 'sequence' | 'gist' | 'hash' | 'other';

const SEQUENCE_MAGIC = 0x1717;
const GIST_PAGE_ID = 0xff81;
const HASH_PAGE_ID = 0xff80;
/** A B-tree page has its vacuum cycle id where others have their page id (MAX_BT_CYCLE_ID). */
const BTREE_CYCLE_ID_MAX = 0xff7f;
const LINE_POINTER_STATES = ['unused', 'normal', 'redirect', 'dead'];

/** Decodes any 8192 bytes; what contradicts itself is shown as far as it goes. */
export function describePage(bytes: Uint8Array): string {
  const page = pageOver(bytes);
  if (bytes.every((byte) => byte === 0)) return 'a page of zeros: never written, or only extended to';
  const kind = pageKind(page);
  const lines = [...header(page, kind)];
  if (isNewPage(page) || !plausible(page)) return [...lines, hexDump(bytes, '  ')].join('\n');
  if (kind === 'btree') lines.push(btreeSpecial(page));
  lines.push('');
  for (let offsetNumber = 1; offsetNumber <= itemCount(page); offsetNumber++) {
    lines.push(...describeItem(page, offsetNumber, kind));
  }
  return lines.join('\n');
}

export function pageKind(page: Page): PageKind {
  const special = pageSpecial(page);
  if (special === PAGE_BYTES) return 'heap';
  if (special > PAGE_BYTES - 4) return 'other';
  const bytes = PAGE_BYTES - special;
  if (bytes === 8 && page.data.getUint32(special, true) === SEQUENCE_MAGIC) return 'sequence';
  if (bytes !== 16) return 'other';
  const id = page.data.getUint16(PAGE_BYTES - 2, true);
  if (id === GIST_PAGE_ID) return 'gist';
  if (id === HASH_PAGE_ID) return 'hash';
  return id <= BTREE_CYCLE_ID_MAX ? 'btree' : 'other';
}

const plausible = (page: Page): boolean =>
  pageLower(page) >= PAGE_HEADER_BYTES &&
  pageLower(page) <= pageUpper(page) &&
  pageUpper(page) <= pageSpecial(page) &&
  pageSpecial(page) <= PAGE_BYTES;

function header(page: Page, kind: PageKind): string[] {
  const flags = flagNames(pageFlags(page), {
    HAS_FREE_LINES: PD_HAS_FREE_LINES,
    PAGE_FULL: PD_PAGE_FULL,
    ALL_VISIBLE: PD_ALL_VISIBLE,
  });
  const free = pageUpper(page) - pageLower(page);
  return [
    `page of ${kind === 'other' ? 'a kind that is not decoded' : `a ${kind}`}, lsn ${formatLsn(pageLsn(page))}`,
    `lower ${pageLower(page)}, upper ${pageUpper(page)} (${free} bytes free), special ${pageSpecial(page)}`,
    `flags ${flags}, checksum ${page.data.getUint16(8, true)}, prune xid ${pagePruneXid(page)}`,
  ];
}

function describeItem(page: Page, offsetNumber: number, kind: PageKind): string[] {
  const item = itemId(page, offsetNumber);
  const state = LINE_POINTER_STATES[itemFlags(item)];
  const at = itemOffset(item);
  const length = itemLength(item);
  const title = `item ${offsetNumber}: ${state}`;
  if (state === 'redirect') return [`${title} to item ${at}`];
  if (length === 0) return [title];
  if (at + length > PAGE_BYTES) return [`${title}, ${length} bytes at ${at}: beyond the page`];
  const place = `${title}, ${length} bytes at ${at}`;
  if (itemFlags(item) !== LP_NORMAL && kind !== 'btree') return [place];
  const body = page.bytes.subarray(at, at + length);
  if (kind === 'heap' || kind === 'sequence') return [place, ...heapItem(body)];
  if (kind === 'btree') return [place, ...btreeItem(page, body, offsetNumber)];
  return [place, hexDump(body, '    ')];
}
