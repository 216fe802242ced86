/**
 * What may differ between a heap page and its redo: hints that are never logged, command ids, free space.
 *
 * Source: heap_mask in access/heap/heapam_xlog.c.
 */
import {
  alignTo8,
  itemCount,
  itemFlags,
  itemId,
  itemLength,
  itemOffset,
  LP_NORMAL,
  type Page,
} from '../page/page.ts';
import { HINT_BITS, LSN_AND_CHECKSUM, UNUSED_SPACE, type PageMask } from '../page/mask.ts';
import {
  ctidOffsetNumber,
  HEAP_XMAX_COMMITTED,
  HEAP_XMAX_INVALID,
  HEAP_XMIN_FROZEN,
  infomask,
  setCtid,
  setInfomask,
  SPEC_TOKEN_OFFSET_NUMBER,
} from './heap-tuple.ts';

/** HEAP_XACT_MASK: the bits of t_infomask that say what is known of the tuple's transactions. */
const HEAP_XACT_MASK = 0xfff0;

/** Calls `change` with the offset of each normal tuple and its offset number. */
function eachTuple(page: Page, change: (tuple: number, offsetNumber: number) => void): void {
  const count = itemCount(page);
  for (let i = 1; i <= count; i++) {
    const item = itemId(page, i);
    if (itemFlags(item) === LP_NORMAL) change(itemOffset(item), i);
  }
}

export const heapMasks: readonly PageMask[] = [
  LSN_AND_CHECKSUM,
  HINT_BITS,
  UNUSED_SPACE,
  {
    what: 'what is known of the transactions in t_infomask',
    apply: (page) =>
      eachTuple(page, (tuple) => {
        const mask = infomask(page, tuple);
        const isFrozen = (mask & HEAP_XMIN_FROZEN) === HEAP_XMIN_FROZEN;
        const hints = isFrozen ? HEAP_XMAX_INVALID | HEAP_XMAX_COMMITTED : HEAP_XACT_MASK;
        setInfomask(page, tuple, mask & ~hints);
      }),
  },
  {
    what: 't_cid',
    apply: (page) => eachTuple(page, (tuple) => page.data.setUint32(tuple + 8, 0, true)),
  },
  {
    what: 't_ctid of speculative tuples',
    apply: (page, blockNumber) =>
      eachTuple(page, (tuple, offsetNumber) => {
        if (ctidOffsetNumber(page, tuple) !== SPEC_TOKEN_OFFSET_NUMBER) return;
        setCtid(page, tuple, blockNumber, offsetNumber);
      }),
  },
  {
    what: 'padding behind items',
    apply: (page) => {
      const count = itemCount(page);
      for (let i = 1; i <= count; i++) {
        const item = itemId(page, i);
        const end = itemOffset(item) + itemLength(item);
        if (itemLength(item) !== 0) page.bytes.fill(0, end, itemOffset(item) + alignTo8(itemLength(item)));
      }
    },
  },
];

/** All of them. Throws PageError. */
export function maskHeapPage(page: Page, blockNumber: number): void {
  for (const mask of heapMasks) mask.apply(page, blockNumber);
}
