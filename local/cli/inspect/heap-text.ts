/**
 * A heap tuple for a person: who made it, who ended it, by Postgres's names, and its data.
 *
 * Source: access/htup_details.h.
 */
import { HEAP_TUPLE_HEADER_BYTES } from '../../../lib/postgres/redo/heap-tuple.ts';
import { flagNames } from './flags.ts';
import { hexDump } from './table.ts';

/** Bits of two come before the single ones that they consist of. */
const INFOMASK = {
  XMIN_FROZEN: 0x0300,
  MOVED: 0xc000,
  XMAX_SHR_LOCK: 0x0050,
  HASNULL: 0x0001,
  HASVARWIDTH: 0x0002,
  HASEXTERNAL: 0x0004,
  HASOID_OLD: 0x0008,
  XMAX_KEYSHR_LOCK: 0x0010,
  COMBOCID: 0x0020,
  XMAX_EXCL_LOCK: 0x0040,
  XMAX_LOCK_ONLY: 0x0080,
  XMIN_COMMITTED: 0x0100,
  XMIN_INVALID: 0x0200,
  XMAX_COMMITTED: 0x0400,
  XMAX_INVALID: 0x0800,
  XMAX_IS_MULTI: 0x1000,
  UPDATED: 0x2000,
  MOVED_OFF: 0x4000,
  MOVED_IN: 0x8000,
} as const;
const INFOMASK2 = { KEYS_UPDATED: 0x2000, HOT_UPDATED: 0x4000, ONLY_TUPLE: 0x8000 } as const;
const ATTRIBUTES_MASK = 0x07ff;

/** `bytes`: the whole item. Lines with an indent. */
export function heapItem(bytes: Uint8Array): string[] {
  if (bytes.length < HEAP_TUPLE_HEADER_BYTES) return [hexDump(bytes, '    ')];
  const data = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const mask2 = data.getUint16(18, true);
  const mask = data.getUint16(20, true);
  const headerBytes = bytes[22];
  const block = data.getUint16(12, true) * 0x1_0000 + data.getUint16(14, true);
  return [
    `  xmin ${data.getUint32(0, true)}, xmax ${data.getUint32(4, true)}, command ${data.getUint32(8, true)}, ` +
      `ctid (${block},${data.getUint16(16, true)}), ${mask2 & ATTRIBUTES_MASK} attributes`,
    `  infomask ${flagNames(mask, INFOMASK)}, infomask2 ${flagNames(mask2 & ~ATTRIBUTES_MASK, INFOMASK2)}`,
    ...nulls(bytes, mask, mask2),
    hexDump(bytes.subarray(Math.min(headerBytes, bytes.length)), '    '),
  ];
}

/** t_bits: a zero bit is a NULL. */
function nulls(bytes: Uint8Array, mask: number, mask2: number): string[] {
  if ((mask & INFOMASK.HASNULL) === 0) return [];
  const numbers: number[] = [];
  for (let attribute = 0; attribute < (mask2 & ATTRIBUTES_MASK); attribute++) {
    const bits = bytes[HEAP_TUPLE_HEADER_BYTES + (attribute >> 3)] ?? 0;
    if ((bits & (1 << (attribute & 7))) === 0) numbers.push(attribute + 1);
  }
  return [`  null attributes ${numbers.join(', ')}`];
}
