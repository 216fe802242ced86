/**
 * Generic: byte ranges of a page, for index access methods of extensions (bloom, for one).
 *
 * Source: generic_redo in access/transam/generic_xlog.c.
 */
import { LSN_AND_CHECKSUM } from '../page/mask.ts';
import { checkPagePointers, PAGE_BYTES, pageLower, pageUpper, type Page } from '../page/page.ts';
import type { BlockReference, WalRecord } from '../wal/record.ts';
import { MalformedRecord } from './errors.ts';
import { copyFromRecord, type ResourceManager } from './resource-manager.ts';

export const generic: ResourceManager = {
  /** Block data: u16 offset, u16 length and the bytes, over and over. The hole, of which nothing is said, is zero. */
  redo(record: WalRecord, block: BlockReference, page: Page): boolean {
    const end = block.dataStart + block.dataLength;
    for (let at = block.dataStart; at < end;) {
      if (at + 4 > end) throw new MalformedRecord('a fragment goes past the data');
      const offset = record.data.getUint16(at, true);
      const length = record.data.getUint16(at + 2, true);
      if (offset + length > PAGE_BYTES) throw new MalformedRecord(`${length} bytes at ${offset} of a page`);
      copyFromRecord(record, at + 4, length, end, page, offset);
      at += 4 + length;
    }
    checkPagePointers(page);
    page.bytes.fill(0, pageLower(page), pageUpper(page));
    return true;
  },
  masks: [LSN_AND_CHECKSUM],
};
