/**
 * Block references: each block's key gets the record, or the page itself where the record carries its image. (An
 * index build logs 32 images in one record; filing the record under each of the 32 would store it 32 times.)
 */
import { restoreImage } from '../../postgres/page/image.ts';
import { isNewPage, PageError, pageOver, setPageLsn } from '../../postgres/page/page.ts';
import { startsAnew } from '../../postgres/redo/redo.ts';
import { RM } from '../../postgres/wal/facts.ts';
import type { BlockReference, WalRecord } from '../../postgres/wal/record.ts';
import { PAGE_SIZE } from '../../protocol/pages.ts';
import { FORK } from '../key.ts';
import { emitPage, newImageValue, recordValue, type Value } from '../value.ts';
import { knownFork, type IngestContext } from './context.ts';

export function ingestBlocks(context: IngestContext): void {
  const { record } = context;
  for (const i of ascendingBlocks(record)) {
    const block = record.blocks[i];
    // FPI_FOR_HINT without an image (full_page_writes=off) changes nothing.
    if (record.resourceManager === RM.XLOG && !(block.hasImage && block.applyImage)) continue;
    writeBlock(context, i, knownFork(record, block.fork));
    // See smgr.ts: the main fork of an unlogged relation follows its init fork.
    if (block.fork === FORK.init) writeBlock(context, i, FORK.main);
  }
}

const IN_ORDER = Array.from({ length: 34 }, (_, count) => Array.from({ length: count }, (_, i) => i));

/**
 * Indexes of the block references by block number: of two new blocks the lower one must come first, lest it be
 * taken for a gap below the other.
 */
function ascendingBlocks({ blocks, blockCount }: WalRecord): readonly number[] {
  const inOrder = IN_ORDER[blockCount] ?? Array.from({ length: blockCount }, (_, i) => i);
  for (let i = 1; i < blockCount; i++) {
    if (blocks[i].block < blocks[i - 1].block) {
      return inOrder.toSorted((a, b) => blocks[a].block - blocks[b].block);
    }
  }
  return inOrder;
}

function writeBlock({ record, state, emit }: IngestContext, blockIndex: number, fork: number): void {
  const block = record.blocks[blockIndex];
  const file = state.files.fork(block, fork);
  const isNew = state.files.extendOver(file, block.block, emit);
  const image = block.hasImage && block.applyImage ? imageOf(record, block) : null;
  const value: Value = image === null ? recordValue(record, blockIndex, isNew || startsAnew(block)) : image;
  emitPage(emit, file.pagePrefix, block.block, value);
}

/**
 * The page that the image makes, as redo would leave it; null where it cannot be restored (a compression that this
 * build does not have). Then the record is stored, and reading the page fails with the reason.
 */
function imageOf(record: WalRecord, block: BlockReference): Value | null {
  const value = newImageValue(PAGE_SIZE);
  const page = value.subarray(1);
  try {
    restoreImage(record, block, page);
  } catch (error) {
    if (error instanceof PageError) return null;
    throw error;
  }
  const view = pageOver(page);
  if (!isNewPage(view)) setPageLsn(view, record.endLsn);
  return value;
}
