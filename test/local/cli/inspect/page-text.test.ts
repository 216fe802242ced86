import fc from 'fast-check';
import { expect, test } from 'vitest';
import { initPage, pageOver, setPageLsn } from '../../../../lib/postgres/page/page.ts';
import { parseLsn } from '../../../../lib/postgres/lsn.ts';
import { describePage } from '../../../../local/cli/inspect/page-text.ts';

const newPage = (specialBytes: number) => {
  const page = pageOver(new Uint8Array(8192));
  initPage(page, specialBytes);
  setPageLsn(page, parseLsn('0/3012345'));
  return page;
};

/** Puts one item at the end of the free space, as PageAddItem does. */
function addItem(page: ReturnType<typeof newPage>, body: Uint8Array): void {
  const lower = page.data.getUint16(12, true);
  const upper = page.data.getUint16(14, true) - ((body.length + 7) & ~7);
  page.bytes.set(body, upper);
  page.data.setUint32(lower, upper | (1 << 15) | (body.length << 17), true);
  page.data.setUint16(12, lower + 4, true);
  page.data.setUint16(14, upper, true);
}

test('a heap page', () => {
  const page = newPage(0);
  const tuple = new Uint8Array(24 + 12);
  const data = new DataView(tuple.buffer);
  data.setUint32(0, 742, true); // t_xmin
  data.setUint16(16, 1, true); // t_ctid: (0,1)
  data.setUint16(18, 0x8000 | 2, true); // t_infomask2: HEAP_ONLY_TUPLE, two attributes
  data.setUint16(20, 0x0100 | 0x0800 | 0x0001 | 0x0002, true);
  tuple[22] = 24;
  tuple[23] = 0b01; // the second attribute is NULL
  tuple.set(new TextEncoder().encode('\x11RustAU Syd'), 24);
  addItem(page, tuple);
  expect(describePage(page.bytes)).toMatchInlineSnapshot(`
    "page of a heap, lsn 0/3012345
    lower 28, upper 8152 (8124 bytes free), special 8192
    flags none, checksum 0, prune xid 0

    item 1: normal, 36 bytes at 8152
      xmin 742, xmax 0, command 0, ctid (0,1), 2 attributes
      infomask HASNULL|HASVARWIDTH|XMIN_COMMITTED|XMAX_INVALID, infomask2 ONLY_TUPLE
      null attributes 2
        11 52 75 73 74 41 55 20 53 79 64 00              ·RustAU Syd·"
  `);
});

test('a B-tree leaf', () => {
  const page = newPage(16);
  const special = 8192 - 16;
  page.data.setUint32(special + 4, 7, true); // btpo_next
  page.data.setUint16(special + 12, 1, true); // BTP_LEAF
  const tuple = new Uint8Array(16);
  const data = new DataView(tuple.buffer);
  data.setUint16(2, 3, true);
  data.setUint16(4, 9, true);
  data.setUint16(6, 16, true);
  data.setUint32(8, 42, true);
  addItem(page, tuple);
  addItem(page, tuple);
  expect(describePage(page.bytes)).toMatchInlineSnapshot(`
    "page of a btree, lsn 0/3012345
    lower 32, upper 8144 (8112 bytes free), special 8176
    flags none, checksum 0, prune xid 0
    left none, right 7, level 0, LEAF, vacuum cycle 0

    item 1: normal, 16 bytes at 8160
      high key
        2a 00 00 00 00 00 00 00                          *·······
    item 2: normal, 16 bytes at 8144
      heap (3,9)
        2a 00 00 00 00 00 00 00                          *·······"
  `);
});

test('a page that was never written', () => {
  expect(describePage(new Uint8Array(8192))).toMatchInlineSnapshot(
    `"a page of zeros: never written, or only extended to"`,
  );
});

test('any bytes are described, however wrong', () => {
  const bytes = fc.uint8Array({ minLength: 64, maxLength: 64 });
  const header = fc.uint8Array({ minLength: 64, maxLength: 64 });
  fc.assert(
    fc.property(header, bytes, fc.constantFrom(0, 8, 16), (start, end, special) => {
      const page = newPage(special);
      page.bytes.set(start.subarray(12), 12);
      page.bytes.set(end, 8192 - 64);
      expect(describePage(page.bytes).length).toBeGreaterThan(0);
      if (start[0] & 1) page.data.setUint16(16, 8192 - special, true);
      expect(describePage(page.bytes).length).toBeGreaterThan(0);
    }),
    { numRuns: 500 },
  );
});
