/**
 * Sequence: one page with one tuple, written anew each time.
 *
 * Source: seq_redo in commands/sequence.c.
 */
import { addItem } from '../page/add-item.ts';
import { LSN_AND_CHECKSUM } from '../page/mask.ts';
import { initPage, pageSpecial, type Page } from '../page/page.ts';
import type { BlockReference, WalRecord } from '../wal/record.ts';
import { UnsupportedRecord } from './errors.ts';
import { needMain, typeOf, type ResourceManager } from './resource-manager.ts';

const XLOG_SEQ_LOG = 0x00;
const SEQ_MAGIC = 0x1717;
/** xl_seq_rec: a RelFileLocator, then the tuple. */
const LOCATOR_BYTES = 12;

export const sequence: ResourceManager = {
  redo(record: WalRecord, _block: BlockReference, page: Page): boolean {
    if (typeOf(record) !== XLOG_SEQ_LOG) throw new UnsupportedRecord('no such type');
    needMain(record, LOCATOR_BYTES);
    initPage(page, 4);
    page.data.setUint32(pageSpecial(page), SEQ_MAGIC, true);
    addItem(page, record.bytes, record.mainStart + LOCATOR_BYTES, record.mainLength - LOCATOR_BYTES, 1);
    return true;
  },
  masks: [LSN_AND_CHECKSUM],
};
