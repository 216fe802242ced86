/** Heap, Heap2 and Sequence. Source: access/heapam_xlog.h, commands/sequence.h. */
import { blockId, hex, locator, type Describe } from './reader.ts';

export const heap: Describe = (main, info) => {
  switch (info & 0x70) {
    case 0x00:
      return { item: main.u16(0), flags: hex(main.u8(2)) };
    case 0x10:
    case 0x60:
      return { xmax: main.u32(0), item: main.u16(4), infobits: hex(main.u8(6)), flags: hex(main.u8(7)) };
    case 0x20:
    case 0x40:
      return {
        oldItem: main.u16(4),
        oldXmax: main.u32(0),
        newItem: main.u16(12),
        newXmax: main.u32(8),
        flags: hex(main.u8(7)),
      };
    case 0x30:
      return { database: main.u32(0), relations: main.u32(4) };
    default:
      return { item: main.u16(0) };
  }
};

const XLHP_HAS_CONFLICT_HORIZON = 0x08;
export const heap2: Describe = (main, info) => {
  switch (info & 0x70) {
    case 0x00:
      return {
        xid: main.u32(0),
        database: main.u32(4),
        relation: main.u32(8),
        mappings: main.u32(24),
      };
    case 0x10:
    case 0x20:
    case 0x30: {
      const flags = main.u8(1);
      if ((flags & XLHP_HAS_CONFLICT_HORIZON) === 0) return { flags: hex(flags) };
      return { flags: hex(flags), conflictHorizon: main.u32(2) };
    }
    case 0x40:
      return { conflictHorizon: main.u32(0), flags: hex(main.u8(4)) };
    case 0x50:
      return { tuples: main.u16(2), flags: hex(main.u8(0)) };
    case 0x60:
      return { xmax: main.u32(0), item: main.u16(4), infobits: hex(main.u8(6)), flags: hex(main.u8(7)) };
    default:
      return {
        topXid: main.u32(0),
        cmin: main.u32(4),
        cmax: main.u32(8),
        comboCid: main.u32(12),
        relation: locator(main, 16),
        tuple: `${blockId(main, 28)}/${main.u16(32)}`,
      };
  }
};

export const sequence: Describe = (main) => ({ sequence: locator(main, 0) });
