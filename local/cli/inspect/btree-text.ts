/**
 * A B-tree page's own space and items for a person.
 *
 * Source: access/nbtree.h (BTPageOpaqueData, the comment over INDEX_ALT_TID_MASK), access/itup.h.
 */
import { PAGE_BYTES, pageSpecial, type Page } from '../../../lib/postgres/page/page.ts';
import { flagNames } from './flags.ts';
import { hexDump } from './table.ts';

const PAGE_FLAGS = {
  LEAF: 0x01,
  ROOT: 0x02,
  DELETED: 0x04,
  META: 0x08,
  HALF_DEAD: 0x10,
  SPLIT_END: 0x20,
  HAS_GARBAGE: 0x40,
  INCOMPLETE_SPLIT: 0x80,
  HAS_FULLXID: 0x100,
} as const;
const INDEX_TUPLE_BYTES = 8;
const INDEX_SIZE_MASK = 0x1fff;
const INDEX_ALT_TID_MASK = 0x2000;
const INDEX_VAR_MASK = 0x4000;
const INDEX_NULL_MASK = 0x8000;
/** In the offset number of an alternative TID. */
const BT_IS_POSTING = 0x2000;
const BT_OFFSET_MASK = 0x0fff;
const NO_PAGE = 0;

interface Opaque {
  previous: number;
  next: number;
  level: number;
  flags: number;
}

function opaque(page: Page): Opaque {
  const at = pageSpecial(page);
  return {
    previous: page.data.getUint32(at, true),
    next: page.data.getUint32(at + 4, true),
    level: page.data.getUint32(at + 8, true),
    flags: page.data.getUint16(at + 12, true),
  };
}

const blockOr = (block: number): string => (block === NO_PAGE ? 'none' : String(block));

export function btreeSpecial(page: Page): string {
  const { previous, next, level, flags } = opaque(page);
  const cycle = page.data.getUint16(PAGE_BYTES - 2, true);
  return (
    `left ${blockOr(previous)}, right ${blockOr(next)}, level ${level}, ` +
    `${flagNames(flags, PAGE_FLAGS)}, vacuum cycle ${cycle}`
  );
}

/** `bytes`: the whole item. On a page with a right sibling the first item is the high key. */
export function btreeItem(page: Page, bytes: Uint8Array, offsetNumber: number): string[] {
  const { next, flags } = opaque(page);
  if (bytes.length < INDEX_TUPLE_BYTES || flags & PAGE_FLAGS.META) return [hexDump(bytes, '    ')];
  const data = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const info = data.getUint16(6, true);
  const isLeaf = (flags & PAGE_FLAGS.LEAF) !== 0;
  const notes = [
    next !== NO_PAGE && offsetNumber === 1 ? 'high key' : target(data, info, isLeaf),
    info & INDEX_NULL_MASK ? 'has nulls' : '',
    info & INDEX_VAR_MASK ? 'has variable width' : '',
  ].filter((note) => note !== '');
  const size = info & INDEX_SIZE_MASK;
  return [
    `  ${notes.join(', ')}`,
    hexDump(bytes.subarray(INDEX_TUPLE_BYTES, Math.min(size, bytes.length)), '    '),
  ];
}

function target(data: DataView, info: number, pointsToHeap: boolean): string {
  const block = data.getUint16(0, true) * 0x1_0000 + data.getUint16(2, true);
  const offset = data.getUint16(4, true);
  if ((info & INDEX_ALT_TID_MASK) !== 0 && (offset & BT_IS_POSTING) !== 0) {
    return `posting list of ${offset & BT_OFFSET_MASK}: ${postings(data, block, offset & BT_OFFSET_MASK)}`;
  }
  if (pointsToHeap) return `heap (${block},${offset})`;
  return (info & INDEX_ALT_TID_MASK) !== 0
    ? `child block ${block}, ${offset & BT_OFFSET_MASK} key attributes`
    : `child block ${block}`;
}

/** The heap TIDs of a posting tuple lie behind its key, at the offset that its block number says. */
function postings(data: DataView, at: number, count: number): string {
  const tids: string[] = [];
  for (let i = 0; i < count && at + i * 6 + 6 <= data.byteLength; i++) {
    const tid = at + i * 6;
    const block = data.getUint16(tid, true) * 0x1_0000 + data.getUint16(tid + 2, true);
    tids.push(`(${block},${data.getUint16(tid + 4, true)})`);
  }
  return tids.join(' ');
}
