/**
 * XLOG: of its records only the full-page images touch pages, and those are restored before this is asked.
 *
 * Source: xlog_redo in access/transam/xlog.c.
 */
import type { BlockReference, WalRecord } from '../wal/record.ts';
import { MalformedRecord, UnsupportedRecord } from './errors.ts';
import { typeOf, type ResourceManager } from './resource-manager.ts';

export const XLOG_FPI_FOR_HINT = 0xa0;
export const XLOG_FPI = 0xb0;

export const xlog: ResourceManager = {
  redo(record: WalRecord, block: BlockReference): boolean {
    switch (typeOf(record)) {
      case XLOG_FPI:
        throw new MalformedRecord(`block ${block.id} has no full-page image`);
      case XLOG_FPI_FOR_HINT:
        return false; // written without an image where full-page writes are off: nothing to do
      default:
        throw new UnsupportedRecord('this type has no block references');
    }
  },
};
