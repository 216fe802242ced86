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
import { maskHintBits, maskLsnAndChecksum, maskUnusedSpace } from '../page/mask.ts';
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

export function maskHeapPage(page: Page, blockNumber: number): void {
  maskLsnAndChecksum(page);
  maskHintBits(page);
  maskUnusedSpace(page);
  const count = itemCount(page);
  for (let i = 1; i <= count; i++) {
    const item = itemId(page, i);
    const offset = itemOffset(item);
    const length = itemLength(item);
    if (itemFlags(item) === LP_NORMAL) {
      const mask = infomask(page, offset);
      const frozen = (mask & HEAP_XMIN_FROZEN) === HEAP_XMIN_FROZEN;
      setInfomask(page, offset, mask & ~(frozen ? HEAP_XMAX_INVALID | HEAP_XMAX_COMMITTED : HEAP_XACT_MASK));
      page.data.setUint32(offset + 8, 0, true);
      if (ctidOffsetNumber(page, offset) === SPEC_TOKEN_OFFSET_NUMBER) setCtid(page, offset, blockNumber, i);
    }
    if (length !== 0) page.bytes.fill(0, offset + length, offset + alignTo8(length));
  }
}
