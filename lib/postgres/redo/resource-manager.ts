/** What each resource manager's file in this folder provides. */
import type { PageMask } from '../page/mask.ts';
import { copyBytes, type Page } from '../page/page.ts';
import type { BlockReference, WalRecord } from '../wal/record.ts';
import { MalformedRecord } from './errors.ts';

export interface ResourceManager {
  /**
   * Changes `page` by the record's effect on `block`. The page is all zero when the block is `willInit`. Does not set pd_lsn
   * unless it returns true. Throws MalformedRecord, UnsupportedRecord, PageError or RangeError.
   *
   * Returns whether pd_lsn is to become the record's end.
   */
  redo(record: WalRecord, block: BlockReference, page: Page): boolean;
  /** What is still to be done to a page that was restored from the record's image, for the few records that need it. */
  afterImage?(record: WalRecord, block: BlockReference, page: Page): void;
  /**
   * rm_mask: what Postgres lets differ between a page and its redo. Left out where Postgres has none: then nothing is
   * compared.
   */
  readonly masks?: readonly PageMask[];
}

/** The block reference of `id`, or undefined. */
export function blockOfId(record: WalRecord, id: number): BlockReference | undefined {
  for (let i = 0; i < record.blockCount; i++) if (record.blocks[i].id === id) return record.blocks[i];
  return undefined;
}

/** The block reference of `id`, which this type of record always has. Throws MalformedRecord. */
export function requiredBlock(record: WalRecord, id: number): BlockReference {
  const block = blockOfId(record, id);
  if (block === undefined) throw new MalformedRecord(`block reference ${id} is missing`);
  return block;
}

/** The xl_info bits that name the type. */
export const typeOf = (record: WalRecord): number => record.info & 0xf0;

/** Throws MalformedRecord unless the main data has at least `bytes`. */
export function needMain(record: WalRecord, bytes: number): void {
  if (record.mainLength >= bytes) return;
  throw new MalformedRecord(`main data of ${record.mainLength} bytes: at least ${bytes} expected`);
}

/** Throws MalformedRecord unless the block's data has at least `bytes`. */
export function needData(block: BlockReference, bytes: number): void {
  if (block.dataLength >= bytes) return;
  throw new MalformedRecord(
    `data of block ${block.id}: ${block.dataLength} bytes, at least ${bytes} expected`,
  );
}

/** Copies record bytes that lie in `[start, end)` of the record to the page. Throws MalformedRecord, PageError. */
export function copyFromRecord(
  record: WalRecord,
  start: number,
  length: number,
  end: number,
  page: Page,
  at: number,
): void {
  if (length < 0 || start + length > end) {
    throw new MalformedRecord(`${length} bytes at ${start} of the record: its data ends at ${end}`);
  }
  copyBytes(record.bytes, start, page.bytes, at, length);
}
