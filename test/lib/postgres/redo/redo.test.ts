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
import { encodeRecord, type WrittenBlock, type WrittenRecord } from '../../../support/wal-writer.ts';

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

/** Forms that no workload reaches in a test's time, or only by luck: a checkpoint between two records of one operation. */
describe('rare forms of records', () => {
  const page = (special: number): Uint8Array => {
    const bytes = new Uint8Array(PAGE_BYTES);
    initPage(pageOver(bytes), special);
    return bytes;
  };
  const redone = (record: WalRecord, blockIndex: number, bytes: Uint8Array): DataView => {
    redoBlock(record, blockIndex, bytes);
    expect(pageLsn(pageOver(bytes))).toBe(0x2080);
    return pageOver(bytes).data;
  };
  const block = (id: number, number: number, more: Partial<WrittenBlock> = {}): WrittenBlock => ({
    id,
    relation: RELATION,
    block: number,
    ...more,
  });
  const FLAGS = PAGE_BYTES - 4;

  test('Hash/SPLIT_COMPLETE and SPLIT_ALLOCATE_PAGE set bucket flags on restored images too', () => {
    const image = { page: page(16), apply: true };
    const complete = recordOf({
      resourceManager: RM.HASH,
      info: 0x60,
      main: Uint8Array.of(0x02, 0, 0x42, 0),
      blocks: [block(0, 3, { image }), block(1, 4, { image })],
    });
    expect(redone(complete, 0, page(16)).getUint16(FLAGS, true)).toBe(0x02);
    expect(redone(complete, 1, page(16)).getUint16(FLAGS, true)).toBe(0x42);

    const allocate = recordOf({
      resourceManager: RM.HASH,
      info: 0x40,
      main: Uint8Array.of(9, 0, 0, 0, 0x22, 0, 0x12, 0, 0),
      blocks: [block(0, 3, { image }), block(1, 12, { willInit: true }), block(2, 0)],
    });
    const old = redone(allocate, 0, page(16));
    expect([old.getUint16(FLAGS, true), old.getUint32(PAGE_BYTES - 16, true)]).toEqual([0x22, 9]);
  });

  test('Hash/ADD_OVFL_PAGE with a new bitmap: more than 32,768 overflow pages', () => {
    const meta = page(16);
    const data = pageOver(meta).data;
    data.setUint32(24 + 36, 11, true); // hashm_ovflpoint
    data.setUint32(24 + 44, 1, true); // hashm_nmaps
    const record = recordOf({
      resourceManager: RM.HASH,
      info: 0x30,
      main: Uint8Array.of(0, 16, 0),
      blocks: [
        block(0, 900, { willInit: true, data: Uint8Array.of(7, 0, 0, 0) }),
        block(1, 33),
        block(3, 901, { willInit: true }),
        block(4, 0, { data: Uint8Array.of(1, 0x80, 0, 0) }),
      ],
    });
    const bitmap = redone(record, 2, new Uint8Array(PAGE_BYTES));
    expect(bitmap.getUint16(FLAGS, true)).toBe(0x04);
    expect([bitmap.getUint8(24), bitmap.getUint8(24 + 4095), bitmap.getUint8(24 + 4096)]).toEqual([
      255, 255, 0,
    ]);
    expect(pageOver(meta).data.getUint32(24 + 44, true)).toBe(1);
    redone(record, 3, meta);
    expect(data.getUint32(24 + 40, true)).toBe(0x8001); // hashm_firstfree
    expect(data.getUint32(24 + 44, true)).toBe(2);
    expect(data.getUint32(24 + 52 + 4 * 11, true)).toBe(2); // hashm_spares of this split point: the page and the bitmap
    expect(data.getUint32(24 + 52 + 4 * 98 + 4, true)).toBe(901); // hashm_mapp
  });

  test('Hash/SQUEEZE_PAGE in the middle of a chain: the page after gets another predecessor', () => {
    const main = new Uint8Array(12);
    main.set([5, 0, 0, 0, 8, 0, 0, 0]);
    const record = recordOf({
      resourceManager: RM.HASH,
      info: 0x80,
      main,
      blocks: [block(2, 6), block(3, 5), block(4, 8)],
    });
    expect(redone(record, 1, page(16)).getUint32(PAGE_BYTES - 12, true)).toBe(8);
    expect(redone(record, 2, page(16)).getUint32(PAGE_BYTES - 16, true)).toBe(5);
  });

  test('Gist/PAGE_UPDATE and PAGE_SPLIT take the follow-right flag off a restored left child', () => {
    const child = page(16);
    child[FLAGS] = 0x09; // F_LEAF, F_FOLLOW_RIGHT
    const left = { image: { page: child, apply: true } };
    const update = recordOf({
      resourceManager: RM.GIST,
      main: Uint8Array.of(0, 0, 0, 0),
      blocks: [block(0, 1), block(1, 5, left)],
    });
    const split = recordOf({
      resourceManager: RM.GIST,
      info: 0x30,
      main: new Uint8Array(24),
      blocks: [block(0, 5, left), block(1, 1, { willInit: true, data: new Uint8Array(4) })],
    });
    for (const [record, index] of [
      [update, 1],
      [split, 0],
    ] as const) {
      const data = redone(record, index, page(16));
      expect(data.getUint8(FLAGS)).toBe(0x01);
      expect(data.getUint32(PAGE_BYTES - 12, true)).toBe(0x2080); // the node sequence number is the record's end
    }
  });

  test('Heap2/PRUNE freezes tuples that VACUUM FULL of before 9.0 moved', () => {
    const base = heapPage();
    const plan = [0, 0, 0, 0, 1, 0, 0, 0x0b, 0, 0, 1, 0];
    for (const [flag, xvac] of [
      [0x02, 2],
      [0x04, 0],
    ]) {
      const data = Uint8Array.of(1, 0, 0, 0, ...plan, 1, 0);
      data[4 + 8] = flag;
      const record = recordOf({
        resourceManager: RM.HEAP2,
        info: 0x20,
        main: Uint8Array.of(0, 0x10),
        blocks: [block(0, 3, { data })],
      });
      const bytes = base.slice();
      const tuple = pageOver(bytes).data.getUint32(24, true) & 0x7fff;
      pageOver(bytes).data.setUint32(tuple + 8, 77, true);
      expect(redone(record, 0, bytes).getUint32(tuple + 8, true)).toBe(xvac);
    }
  });
});
