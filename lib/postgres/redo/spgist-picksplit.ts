/**
 * SPGist/PICKSPLIT: a list of leaf tuples becomes an inner tuple with lists of its own, over up to four pages.
 *
 * Source: spgRedoPickSplit in access/spgist/spgxlog.c.
 */
import type { Page } from '../page/page.ts';
import type { BlockReference, WalRecord } from '../wal/record.ts';
import { needMain, requiredBlock } from './resource-manager.ts';
import {
  addOrReplaceTuple,
  initSpgistPage,
  killTuples,
  loggedInnerSize,
  loggedLeafSize,
  SPGIST_LEAF,
  SPGIST_NULLS,
  SPGIST_PLACEHOLDER,
  SPGIST_REDIRECT,
  updateNodeLink,
} from './spgist-page.ts';

const SOURCE = 0;
const DESTINATION = 1;
const INNER = 2;

/**
 * spgxlogPickSplit: bool isRootSplit, u16 nDelete, nInsert, bool initSrc, initDest, u16 offnumInner, bool initInner,
 * storesNulls, innerIsParent, u16 offnumParent, nodeI, state (u32 redirectXid, bool isBuild); offset numbers deleted, offset
 * numbers inserted, a byte for each that says on which page, the inner tuple, the leaf tuples.
 */
export function pickSplit(record: WalRecord, block: BlockReference, page: Page): void {
  needMain(record, 28);
  const { data, mainStart: main } = record;
  const deletes = data.getUint16(main + 2, true);
  const inserts = data.getUint16(main + 4, true);
  needMain(record, 28 + 2 * deletes + 3 * inserts);
  const innerOffset = data.getUint16(main + 8, true);
  const innerBlock = requiredBlock(record, INNER).block;
  const nulls = data.getUint8(main + 11) === 0 ? 0 : SPGIST_NULLS;
  const deleted = main + 28;
  const inserted = deleted + 2 * deletes;
  const selectors = inserted + 2 * inserts;
  const inner = selectors + inserts;
  const innerSize = loggedInnerSize(data, inner, main + record.mainLength);
  const linkParent = () =>
    updateNodeLink(
      page,
      data.getUint16(main + 14, true),
      data.getUint16(main + 16, true),
      innerBlock,
      innerOffset,
    );

  switch (block.id) {
    case SOURCE:
      if (data.getUint8(main + 6) !== 0) {
        initSpgistPage(page, SPGIST_LEAF | nulls);
      } else {
        const isBuild = data.getUint8(main + 24) !== 0;
        const first = {
          state: isBuild ? SPGIST_PLACEHOLDER : SPGIST_REDIRECT,
          block: innerBlock,
          offsetNumber: innerOffset,
          xid: data.getUint32(main + 20, true),
        };
        killTuples(page, data, deleted, deletes, first, SPGIST_PLACEHOLDER);
      }
      break;
    case DESTINATION:
      if (data.getUint8(main + 7) !== 0) initSpgistPage(page, SPGIST_LEAF | nulls);
      break;
    case INNER:
      if (data.getUint8(main + 10) !== 0) initSpgistPage(page, nulls);
      addOrReplaceTuple(page, record.bytes, inner, innerSize, innerOffset);
      if (data.getUint8(main + 12) !== 0) linkParent();
      return;
    default:
      linkParent();
      return;
  }
  let at = inner + innerSize;
  for (let i = 0; i < inserts; i++) {
    const size = loggedLeafSize(data, at, main + record.mainLength);
    if ((data.getUint8(selectors + i) !== 0) === (block.id === DESTINATION)) {
      addOrReplaceTuple(page, record.bytes, at, size, data.getUint16(inserted + 2 * i, true));
    }
    at += size;
  }
}
