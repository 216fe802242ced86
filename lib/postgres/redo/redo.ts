/**
 * Redo: one record's effect on one of the blocks it touches.
 *
 * A page at an LSN is a base (an image, or nothing where a record initialises) and the records since, each applied by
 * `redoBlock` in LSN order. Blocks are independent of each other: Postgres never needs one block's old content to
 * redo another. A record that is not known, or does not apply to the page at hand, is a RedoError that names
 * both; a wrong page is never the result.
 *
 * Source: XLogReadBufferForRedoExtended in access/transam/xlogutils.c, and each `*_redo` named in its file.
 */
import type { Lsn } from '../lsn.ts';
import { restoreImage } from '../page/image.ts';
import { isNewPage, PageError, pageLsn, pageOver, setPageLsn, type Page } from '../page/page.ts';
import { postgres18 } from '../v18/wal.ts';
import { RM, RM_MIN_CUSTOM_ID, type WalFacts } from '../wal/facts.ts';
import type { BlockReference, WalRecord } from '../wal/record.ts';
import { brin } from './brin.ts';
import { btree } from './btree.ts';
import { MalformedRecord, RedoError, UnsupportedRecord, type RedoErrorCode } from './errors.ts';
import { generic } from './generic.ts';
import { gin } from './gin.ts';
import { gist } from './gist.ts';
import { hash } from './hash.ts';
import { heap } from './heap.ts';
import { heap2 } from './heap2.ts';
import type { ResourceManager } from './resource-manager.ts';
import { sequence } from './sequence.ts';
import { spgist } from './spgist.ts';
import { xlog } from './xlog.ts';

export { RedoError, type RedoErrorCode } from './errors.ts';

/** Redo by RmgrId; what is not here has no records that reference blocks, or is refused by name. */
export const resourceManagers: (ResourceManager | undefined)[] = [];
resourceManagers[RM.XLOG] = xlog;
resourceManagers[RM.HEAP] = heap;
resourceManagers[RM.HEAP2] = heap2;
resourceManagers[RM.BTREE] = btree;
resourceManagers[RM.HASH] = hash;
resourceManagers[RM.GIN] = gin;
resourceManagers[RM.GIST] = gist;
resourceManagers[RM.SPGIST] = spgist;
resourceManagers[RM.BRIN] = brin;
resourceManagers[RM.GENERIC] = generic;
resourceManagers[RM.SEQ] = sequence;

let lastPage: Page | undefined;
/** Chains replay record after record on one page: its DataView is made once. */
function viewOf(bytes: Uint8Array): Page {
  if (lastPage?.bytes !== bytes) lastPage = pageOver(bytes);
  return lastPage;
}

/**
 * Applies `record` to `page`, which must be block `record.blocks[blockIndex]` as of just before the record: 8192 bytes,
 * changed in place, all zero where the record initialises the page or carries its image. pd_lsn becomes
 * `record.endLsn` where Postgres sets it. Throws RedoError; the page is then unusable.
 */
export function redoBlock(
  record: WalRecord,
  blockIndex: number,
  page: Uint8Array,
  facts: WalFacts = postgres18,
): void {
  redoPage(record, blockIndex, viewOf(page), facts);
}

/** As `redoBlock`, for a caller that keeps pages with their views. */
export function redoPage(
  record: WalRecord,
  blockIndex: number,
  page: Page,
  facts: WalFacts = postgres18,
): void {
  const block = record.blocks[blockIndex];
  try {
    apply(record, block, page);
  } catch (error) {
    throw explain(error, record, block, facts);
  }
}

/** Whether redo of this block needs nothing of the page before: a read may stop at this record. */
export const startsAnew = (block: BlockReference): boolean =>
  block.willInit || (block.hasImage && block.applyImage);

function apply(record: WalRecord, block: BlockReference, page: Page): void {
  const manager = resourceManagers[record.resourceManager];
  if (block.hasImage && block.applyImage) {
    try {
      restoreImage(record, block, page.bytes);
    } catch (error) {
      throw new ImageError(messageOf(error), { cause: error });
    }
    manager?.afterImage?.(record, block, page);
    // A page of zeros stays one: an LSN would make it neither new nor initialised.
    if (!isNewPage(page)) setPageLsn(page, record.endLsn);
    return;
  }
  if (manager === undefined) throw new UnsupportedRecord(refusal(record.resourceManager));
  if (!block.willInit) {
    const lsn = pageLsn(page);
    if (lsn >= record.endLsn) throw new OrderError(lsn);
  }
  if (manager.redo(record, block, page)) setPageLsn(page, record.endLsn);
}

class ImageError extends Error {}
class OrderError extends Error {
  constructor(lsn: Lsn) {
    super(`the page's LSN ${lsn} is not before the record's end`);
  }
}

export const EXTENSION_RECORD = "records of an extension's resource manager cannot be replayed";
const refusal = (resourceManager: number): string =>
  resourceManager >= RM_MIN_CUSTOM_ID ? EXTENSION_RECORD : 'redo of this resource manager is not supported';

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

function explain(error: unknown, record: WalRecord, block: BlockReference, facts: WalFacts): unknown {
  const code = codeOf(error);
  return code === undefined ? error : new RedoError(code, record, block, facts, messageOf(error), error);
}

function codeOf(error: unknown): RedoErrorCode | undefined {
  if (error instanceof PageError || error instanceof RangeError) return 'page';
  if (error instanceof MalformedRecord) return 'malformed';
  if (error instanceof UnsupportedRecord) return 'unsupported';
  if (error instanceof OrderError) return 'order';
  return error instanceof ImageError ? 'image' : undefined;
}
