/** Redo without a Postgres: its refusals, and the WAL forms that the shipped Postgres does not write yet. */
import { describe, expect, test } from 'vitest';
import { lsn } from '../../../../lib/postgres/lsn.ts';
import { initPage, PAGE_BYTES, pageLsn, pageOver, setPageLsn } from '../../../../lib/postgres/page/page.ts';
import {
  setVisibility,
  VISIBILITYMAP_VALID_BITS,
  visibilityOf,
} from '../../../../lib/postgres/page/visibility-map.ts';
import { redoBlock, RedoError, startsAnew } from '../../../../lib/postgres/redo/redo.ts';
import { RM } from '../../../../lib/postgres/wal/facts.ts';
import { decodeRecord } from '../../../../lib/postgres/wal/decode-record.ts';
import { newWalRecord, type WalRecord } from '../../../../lib/postgres/wal/record.ts';
import { encodeRecord, type WrittenRecord } from '../../../support/wal-writer.ts';

const RELATION: [number, number, number] = [1663, 5, 16384];
const VM = 2;

function recordOf(written: WrittenRecord): WalRecord {
  const record = newWalRecord();
  decodeRecord(encodeRecord(written, lsn(0x100)), lsn(0x2000), lsn(0x2080), record);
  return record;
}
/** A single-column heap tuple, as the data of a heap insert. */
const TUPLE = Uint8Array.of(1, 0, 0, 8, 24, 0, 7, 0, 0, 0);
const insert = (offset: number, init = false): WalRecord =>
  recordOf({
    resourceManager: RM.HEAP,
    info: init ? 0x80 : 0,
    xid: 700,
    main: Uint8Array.of(offset, 0, 0),
    blocks: [{ id: 0, relation: RELATION, block: 3, willInit: init, data: TUPLE }],
  });
function heapPage(): Uint8Array {
  const page = new Uint8Array(PAGE_BYTES);
  redoBlock(insert(1, true), 0, page);
  setPageLsn(pageOver(page), lsn(0x1000));
  return page;
}
const refusal = (record: WalRecord, page: Uint8Array): RedoError => {
  try {
    redoBlock(record, 0, page);
  } catch (error) {
    if (error instanceof RedoError) return error;
    throw error;
  }
  throw new Error('redo refused nothing');
};

test('a record makes a page, the next goes on from there, and the LSN follows', () => {
  const page = heapPage();
  redoBlock(insert(2), 0, page);
  expect(pageLsn(pageOver(page))).toBe(0x2080);
  expect(startsAnew(insert(1, true).blocks[0])).toBe(true);
  expect(startsAnew(insert(2).blocks[0])).toBe(false);
});

describe('what redo cannot do is an error that names record and block', () => {
  test('a page that holds the change already', () => {
    const page = heapPage();
    redoBlock(insert(2), 0, page);
    const error = refusal(insert(3), page);
    expect(error.code).toBe('order');
    expect(error.message).toContain('redo of Heap/INSERT at 0/2000 on 1663/5/16384 main block 3: ');
  });
  test('a page that is not the one the record was written for', () => {
    const error = refusal(insert(7), heapPage());
    expect(error).toMatchObject({
      code: 'page',
      recordType: 'Heap/INSERT',
      block: '1663/5/16384 main block 3',
    });
    expect(error.message).toContain('item 7 cannot be next: the page has 1');
  });
  test('a page that is none', () => {
    const blocks = [{ id: 0, relation: RELATION, block: 3, data: Uint8Array.of(1, 0, 0, 0, 0, 0, 8, 0) }];
    const record = recordOf({ resourceManager: RM.BTREE, main: Uint8Array.of(1, 0), blocks });
    expect(refusal(record, new Uint8Array(PAGE_BYTES)).code).toBe('page');
  });
  test('a record whose parts do not fit each other', () => {
    const blocks = [{ id: 0, relation: RELATION, block: 3, data: TUPLE.subarray(0, 3) }];
    const record = recordOf({ resourceManager: RM.HEAP, main: Uint8Array.of(2, 0, 0), blocks });
    expect(refusal(record, heapPage()).code).toBe('malformed');
  });
  test('a type that has no blocks', () => {
    const record = recordOf({
      resourceManager: RM.HEAP,
      info: 0x30,
      blocks: [{ id: 0, relation: RELATION, block: 3 }],
    });
    expect(refusal(record, heapPage()).code).toBe('unsupported');
  });
  test("an extension's resource manager, by name", () => {
    const record = recordOf({
      resourceManager: 142,
      info: 0x10,
      blocks: [{ id: 0, relation: RELATION, block: 3 }],
    });
    const error = refusal(record, heapPage());
    expect(error.code).toBe('unsupported');
    expect(error.message).toContain('custom 142/UNKNOWN (10)');
  });
  test('an image that does not decompress', () => {
    const page = new Uint8Array(PAGE_BYTES);
    const image = { page, apply: true };
    const record = recordOf({
      resourceManager: RM.XLOG,
      info: 0xb0,
      blocks: [{ id: 0, relation: RELATION, block: 3, image }],
    });
    record.blocks[0].imageInfo |= 0x04;
    expect(refusal(record, heapPage()).code).toBe('image');
    record.blocks[0].imageInfo ^= 0x04 | 0x10;
    expect(refusal(record, heapPage()).message).toContain('compressed with zstd');
  });
  test('a page image that is missing', () => {
    const record = recordOf({
      resourceManager: RM.XLOG,
      info: 0xb0,
      blocks: [{ id: 0, relation: RELATION, block: 3 }],
    });
    expect(refusal(record, heapPage()).code).toBe('malformed');
  });
});

test('an image of zeros stays a page of zeros; any other takes the LSN of its record', () => {
  const restored = (image: Uint8Array) => {
    const blocks = [{ id: 0, relation: RELATION, block: 3, image: { page: image, apply: true } }];
    const page = new Uint8Array(PAGE_BYTES).fill(0x77);
    redoBlock(recordOf({ resourceManager: RM.XLOG, info: 0xb0, blocks }), 0, page);
    return page;
  };
  expect(restored(new Uint8Array(PAGE_BYTES))).toEqual(new Uint8Array(PAGE_BYTES));
  const image = heapPage();
  const page = restored(image);
  expect(pageLsn(pageOver(page))).toBe(0x2080);
  setPageLsn(pageOver(page), pageLsn(pageOver(image)));
  expect(page).toEqual(image);
});

/** Later minor versions of 18 name the page of the visibility map that heap records clear bits of. */
describe('the page of the visibility map as a block of a heap record', () => {
  const mapPage = (...visible: number[]): Uint8Array => {
    const page = new Uint8Array(PAGE_BYTES);
    initPage(pageOver(page), 0);
    for (const block of visible) setVisibility(page, block, VISIBILITYMAP_VALID_BITS);
    return page;
  };
  const xmaxAt = (flags: number) => Uint8Array.of(0, 3, 0, 0, 1, 0, 0, flags);

  test.each([
    ['insert', RM.HEAP, 0x00, Uint8Array.of(2, 0, 1), 0],
    ['delete', RM.HEAP, 0x10, xmaxAt(1), 0],
    ['lock', RM.HEAP, 0x60, xmaxAt(1), 1],
    ['multi-insert', RM.HEAP2, 0x50, Uint8Array.of(1, 0, 1, 0, 2, 0), 0],
    ['lock of an updated version', RM.HEAP2, 0x60, xmaxAt(1), 1],
  ])('%s clears the bits of its heap block', (_, resourceManager, info, main, left) => {
    const record = recordOf({
      resourceManager,
      info,
      main,
      blocks: [
        { id: 0, relation: RELATION, block: 9 },
        { id: 1, relation: RELATION, fork: VM, block: 0 },
      ],
    });
    const page = mapPage(8, 9, 10);
    redoBlock(record, 1, page);
    expect([8, 9, 10].map((block) => visibilityOf(page, block))).toEqual([3, left, 3]);
    expect(pageLsn(pageOver(page))).toBe(0x2080);
  });

  const update = (flags: number, map: { id: number; block: number }, oldBlock = 40_000) => {
    const main = new Uint8Array(14);
    main.set([1, 0, 0, flags], 4);
    main[12] = 1;
    return recordOf({
      resourceManager: RM.HEAP,
      info: 0x20,
      main,
      blocks: [
        { id: 0, relation: RELATION, block: 9 },
        { id: 1, relation: RELATION, block: oldBlock },
        { ...map, relation: RELATION, fork: VM },
      ],
    });
  };
  test('update: one page of the map for both versions, or one for each', () => {
    const both = mapPage(8, 9, 11);
    redoBlock(update(3, { id: 2, block: 0 }, 11), 2, both);
    expect([8, 9, 11].map((block) => visibilityOf(both, block))).toEqual([3, 0, 0]);

    // The old version's heap block is on another page of the map, so its bits are none of this page's.
    const alike = 40_000 - 32_672;
    const onlyNew = mapPage(9, alike);
    redoBlock(update(3, { id: 2, block: 0 }), 2, onlyNew);
    expect([9, alike].map((block) => visibilityOf(onlyNew, block))).toEqual([0, 3]);

    const onlyOld = mapPage(40_000, 40_001);
    redoBlock(update(3, { id: 3, block: 1 }), 2, onlyOld);
    expect([40_000, 40_001].map((block) => visibilityOf(onlyOld, block))).toEqual([0, 3]);
  });

  test('bits that were clear already leave the LSN alone', () => {
    const page = mapPage(8);
    redoBlock(update(3, { id: 2, block: 0 }, 11), 2, page);
    expect(pageLsn(pageOver(page))).toBe(0);
  });
});
