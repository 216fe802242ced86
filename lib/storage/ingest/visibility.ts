/**
 * Visibility map bits that heap records clear without naming the map's page. Since 18.5 or so they name it as a
 * block, which redo handles; before, a flag says that the bits of the heap page's block are to go.
 *
 * Source: access/heapam_xlog.h, access/heap/heapam_xlog.c.
 */
import {
  mapBlockOf,
  VISIBILITYMAP_ALL_FROZEN,
  VISIBILITYMAP_VALID_BITS,
} from '../../postgres/page/visibility-map.ts';
import { RM } from '../../postgres/wal/facts.ts';
import type { BlockReference, WalRecord } from '../../postgres/wal/record.ts';
import { FORK } from '../key.ts';
import { encodeOperation } from '../page-operation.ts';
import { emitPage } from '../value.ts';
import { IngestError, type IngestContext } from './context.ts';

const XLOG_HEAP_INSERT = 0x00;
const XLOG_HEAP_DELETE = 0x10;
const XLOG_HEAP_UPDATE = 0x20;
const XLOG_HEAP_HOT_UPDATE = 0x40;
const XLOG_HEAP_LOCK = 0x60;
const XLOG_HEAP2_MULTI_INSERT = 0x50;
const XLOG_HEAP2_LOCK_UPDATED = 0x60;
const XLOG_HEAP_OPMASK = 0x70;

const XLH_UPDATE_OLD_ALL_VISIBLE_CLEARED = 1;
const XLH_UPDATE_NEW_ALL_VISIBLE_CLEARED = 2;
/** XLH_INSERT_ALL_VISIBLE_CLEARED, XLH_DELETE_ALL_VISIBLE_CLEARED, XLH_LOCK_ALL_FROZEN_CLEARED. */
const CLEARED = 1;

export function ingestVisibility(context: IngestContext): void {
  const { record } = context;
  const operation = record.info & XLOG_HEAP_OPMASK;
  if (record.resourceManager === RM.HEAP2) {
    if (operation === XLOG_HEAP2_MULTI_INSERT) clearOne(context, 0, VISIBILITYMAP_VALID_BITS);
    else if (operation === XLOG_HEAP2_LOCK_UPDATED) clearOne(context, 7, VISIBILITYMAP_ALL_FROZEN);
    return;
  }
  switch (operation) {
    case XLOG_HEAP_INSERT:
      clearOne(context, 2, VISIBILITYMAP_VALID_BITS);
      return;
    case XLOG_HEAP_DELETE:
      clearOne(context, 7, VISIBILITYMAP_VALID_BITS);
      return;
    case XLOG_HEAP_LOCK:
      clearOne(context, 7, VISIBILITYMAP_ALL_FROZEN);
      return;
    case XLOG_HEAP_UPDATE:
    case XLOG_HEAP_HOT_UPDATE:
      clearOfUpdate(context);
      return;
    default:
  }
}

function flagsAt(record: WalRecord, offset: number): number {
  if (offset >= record.mainLength) {
    throw new IngestError(
      'malformed',
      record,
      `${record.mainLength} bytes of main data: no flags at ${offset}`,
    );
  }
  return record.bytes[record.mainStart + offset];
}
function namesMapPage(record: WalRecord): boolean {
  for (let i = 0; i < record.blockCount; i++) if (record.blocks[i].fork === FORK.vm) return true;
  return false;
}
function blockOfId(record: WalRecord, id: number): BlockReference | undefined {
  for (let i = 0; i < record.blockCount; i++) if (record.blocks[i].id === id) return record.blocks[i];
  return undefined;
}

function clearOne(context: IngestContext, flagsOffset: number, bits: number): void {
  const { record } = context;
  if ((flagsAt(record, flagsOffset) & CLEARED) === 0 || namesMapPage(record)) return;
  const heap = blockOfId(record, 0);
  if (heap === undefined) throw new IngestError('malformed', record, 'no block 0');
  clear(context, heap, [heap.block], bits);
}

function clearOfUpdate(context: IngestContext): void {
  const { record } = context;
  const flags = flagsAt(record, 7);
  const either = XLH_UPDATE_OLD_ALL_VISIBLE_CLEARED | XLH_UPDATE_NEW_ALL_VISIBLE_CLEARED;
  if ((flags & either) === 0 || namesMapPage(record)) return;
  const newHeap = blockOfId(record, 0);
  if (newHeap === undefined) throw new IngestError('malformed', record, 'no block 0');
  const oldBlock = (blockOfId(record, 1) ?? newHeap).block;
  const heapBlocks = new Set<number>();
  if (flags & XLH_UPDATE_OLD_ALL_VISIBLE_CLEARED) heapBlocks.add(oldBlock);
  if (flags & XLH_UPDATE_NEW_ALL_VISIBLE_CLEARED) heapBlocks.add(newHeap.block);
  clear(context, newHeap, [...heapBlocks], VISIBILITYMAP_VALID_BITS);
}

/** One value per map page; a map page that is not there yet is made, as visibilitymap_pin does. */
function clear(context: IngestContext, of: BlockReference, heapBlocks: number[], bits: number): void {
  const { state, emit } = context;
  const map = state.files.fork(of, FORK.vm);
  const sorted = heapBlocks.toSorted((a, b) => a - b);
  for (let i = 0; i < sorted.length;) {
    const mapBlock = mapBlockOf(sorted[i]);
    const blocks = [];
    for (; i < sorted.length && mapBlockOf(sorted[i]) === mapBlock; i++) {
      blocks.push({ heapBlock: sorted[i], flags: bits });
    }
    const isNew = state.files.extendOver(map, mapBlock, emit);
    emitPage(emit, map.pagePrefix, mapBlock, encodeOperation({ kind: 'visibilityClear', blocks }, isNew));
  }
}
