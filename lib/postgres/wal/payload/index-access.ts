/**
 * The index access methods.
 *
 * Source: access/nbtxlog.h, access/hash_xlog.h, access/ginxlog.h, access/gistxlog.h, access/spgxlog.h, access/brin_xlog.h.
 */
import { blockId, fullXid, locator, type Describe, type PayloadFields, type Reader } from './reader.ts';

/** xl_btree_reuse_page and gistxlogPageReuse. */
const reusedPage = (main: Reader): PayloadFields => ({
  relation: locator(main, 0),
  block: main.u32(12),
  conflictHorizon: fullXid(main, 16),
});

export const btree: Describe = (main, info) => {
  switch (info & 0xf0) {
    case 0x00:
    case 0x10:
    case 0x20:
    case 0x50:
      return { item: main.u16(0) };
    case 0x30:
    case 0x40:
      return { level: main.u32(0), firstRight: main.u16(4), newItem: main.u16(6), posting: main.u16(8) };
    case 0x60:
      return { intervals: main.u16(0) };
    case 0x70:
      return { conflictHorizon: main.u32(0), deleted: main.u16(4), updated: main.u16(6) };
    case 0x80:
    case 0x90:
      return { left: main.u32(0), right: main.u32(4), level: main.u32(8), safeXid: fullXid(main, 16) };
    case 0xa0:
      return { root: main.u32(0), level: main.u32(4) };
    case 0xb0:
      return { leaf: main.u32(4), left: main.u32(8), right: main.u32(12), topParent: main.u32(16) };
    case 0xc0:
      return { deleted: main.u16(0), updated: main.u16(2) };
    case 0xd0:
      return reusedPage(main);
    default:
      return {};
  }
};

export const hash: Describe = (main, info) => {
  switch (info & 0xf0) {
    case 0x00:
      return { tuples: main.f64(0), fillFactor: main.u16(12) };
    case 0x10:
    case 0x30:
      return { bitmapBytes: main.u16(0) };
    case 0x20:
      return { item: main.u16(0) };
    case 0x40:
      return { newBucket: main.u32(0) };
    case 0x60:
      return { oldBucketFlags: main.u16(0), newBucketFlags: main.u16(2) };
    case 0x70:
      return { tuples: main.u16(0) };
    case 0x80:
      return { before: main.u32(0), after: main.u32(4), tuples: main.u16(8) };
    case 0xb0:
      return { tuples: main.f64(0) };
    case 0xc0:
      return { conflictHorizon: main.u32(0), tuples: main.u16(4) };
    default:
      return {};
  }
};

export const gin: Describe = (main, info) => {
  switch (info & 0xf0) {
    case 0x10:
      return { bytes: main.u32(0) };
    case 0x20: {
      const flags = main.u16(0);
      const kind = { tree: flags & 0x01 ? 'posting' : 'entry', page: flags & 0x02 ? 'leaf' : 'inner' };
      if (flags & 0x02) return kind;
      return { ...kind, children: `${blockId(main, 2)}/${blockId(main, 6)}` };
    }
    case 0x30: {
      const flags = main.u16(24);
      return {
        tree: flags & 0x01 ? 'posting' : 'entry',
        page: flags & 0x02 ? 'leaf' : 'inner',
        root: flags & 0x04 ? 'split' : 'kept',
      };
    }
    case 0x50:
      return { parentItem: main.u16(0), right: main.u32(4), deleteXid: main.u32(8) };
    case 0x60:
      return { relation: locator(main, 0), tuples: main.u32(80) };
    case 0x70:
      return { right: main.u32(0), tuples: main.u32(4) };
    case 0x80:
      return { deleted: main.u32(56) };
    default:
      return {};
  }
};

export const gist: Describe = (main, info) => {
  switch (info & 0xf0) {
    case 0x00:
      return { deleted: main.u16(0), inserted: main.u16(2) };
    case 0x10:
      return { conflictHorizon: main.u32(0), deleted: main.u16(4) };
    case 0x20:
      return reusedPage(main);
    case 0x30:
      return { pages: main.u16(18) };
    case 0x60:
      return { deleteXid: fullXid(main, 0), downlink: main.u16(8) };
    default:
      return {};
  }
};

export const spgist: Describe = (main, info) => {
  switch (info & 0xf0) {
    case 0x10:
      return { leaf: main.u16(2), head: main.u16(4), parent: main.u16(6), node: main.u16(8) };
    case 0x20:
      return { moved: main.u16(0), parent: main.u16(6), node: main.u16(8) };
    case 0x30:
      return { item: main.u16(0), newItem: main.u16(2), parent: main.u16(6), node: main.u16(8) };
    case 0x40:
      return { prefix: main.u16(0), postfix: main.u16(2) };
    case 0x50:
      return {
        deleted: main.u16(2),
        inserted: main.u16(4),
        inner: main.u16(8),
        parent: main.u16(14),
        node: main.u16(16),
      };
    case 0x60:
      return { dead: main.u16(0), placeholders: main.u16(2), moved: main.u16(4), chained: main.u16(6) };
    case 0x70:
      return { deleted: main.u16(0) };
    default:
      return { toPlaceholder: main.u16(0), firstPlaceholder: main.u16(2), conflictHorizon: main.u32(4) };
  }
};

export const brin: Describe = (main, info) => {
  switch (info & 0x70) {
    case 0x00:
      return { pagesPerRange: main.u32(0), version: main.u16(4) };
    case 0x10:
      return { heapBlock: main.u32(0), pagesPerRange: main.u32(4), item: main.u16(8) };
    case 0x20:
      return {
        heapBlock: main.u32(4),
        pagesPerRange: main.u32(8),
        oldItem: main.u16(0),
        newItem: main.u16(12),
      };
    case 0x30:
      return { item: main.u16(0) };
    case 0x40:
      return { block: main.u32(0) };
    default:
      return { pagesPerRange: main.u32(0), heapBlock: main.u32(4), item: main.u16(8) };
  }
};
