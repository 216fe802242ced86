/**
 * Compressed posting lists of GIN, and the changes to a leaf of a posting tree that a record describes.
 *
 *   segment   TID of the first item (6), u16 nbytes, nbytes of differences as varints, padded to an even length
 *
 * Source: access/gin/ginpostinglist.c; ginRedoRecompress in access/gin/ginxlog.c.
 */
import { copyBytes, PAGE_BYTES, PageError, pageLower, type Page } from '../page/page.ts';
import type { WalRecord } from '../wal/record.ts';
import { MalformedRecord } from './errors.ts';
import {
  GIN_COMPRESSED,
  GIN_DATA,
  GIN_DATA_START,
  GIN_LEAF,
  GIN_PAGE_END,
  ginFlags,
  setDataSize,
} from './gin-page.ts';
import { TID_BYTES } from './index-tuple.ts';

const SEGMENT_HEADER_BYTES = 8;
const SEGMENT_DELETE = 1;
const SEGMENT_INSERT = 2;
const SEGMENT_REPLACE = 3;
const SEGMENT_ADDITEMS = 4;
/** MaxHeapTuplesPerPageBits: a TID as one number is block × 2^11 + offset. */
const OFFSETS_PER_BLOCK = 2048;

const evenLength = (bytes: number): number => (bytes + 1) & ~1;
/** SizeOfGinPostingList of the segment at `at`, which must end at `end` at most; 0 when it does not. */
function segmentSize(data: DataView, at: number, end: number): number {
  if (at + SEGMENT_HEADER_BYTES > end) return 0;
  const size = SEGMENT_HEADER_BYTES + evenLength(data.getUint16(at + 6, true));
  return at + size <= end ? size : 0;
}

const tidAt = (data: DataView, at: number): number =>
  (data.getUint16(at, true) * 0x10000 + data.getUint16(at + 2, true)) * OFFSETS_PER_BLOCK +
  data.getUint16(at + 4, true);

const scratch = { bytes: new Uint8Array(PAGE_BYTES), data: new DataView(new ArrayBuffer(0)) };
scratch.data = new DataView(scratch.bytes.buffer);
/** Enough for every TID that a page of varints can hold, twice. */
const oldItems = new Float64Array(2 * PAGE_BYTES);
const merged = new Float64Array(4 * PAGE_BYTES);
const encoded = new Uint8Array(8 * PAGE_BYTES);

/** Decodes the segment at `at` of `data` into `oldItems`; how many there are. */
function decodeSegment(data: DataView, at: number): number {
  const end = at + SEGMENT_HEADER_BYTES + data.getUint16(at + 6, true);
  let value = tidAt(data, at);
  let count = 0;
  oldItems[count++] = value;
  for (let i = at + SEGMENT_HEADER_BYTES; i < end;) {
    let factor = 1;
    let byte = 0x80;
    for (let n = 0; n < 7 && byte & 0x80; n++, factor *= 128) {
      if (i >= end) throw new PageError('a posting list ends within a number');
      byte = data.getUint8(i++);
      value += (byte & 0x7f) * factor;
    }
    oldItems[count++] = value;
  }
  return count;
}

/** Encodes `count` items of `merged` into `encoded`; the size of the segment. */
function encodeSegment(count: number): number {
  const first = merged[0];
  const block = Math.floor(first / OFFSETS_PER_BLOCK);
  const data = new DataView(encoded.buffer);
  data.setUint16(0, Math.floor(block / 0x10000), true);
  data.setUint16(2, block % 0x10000, true);
  data.setUint16(4, first % OFFSETS_PER_BLOCK, true);
  let at = SEGMENT_HEADER_BYTES;
  for (let i = 1; i < count; i++) {
    let difference = merged[i] - merged[i - 1];
    for (; difference > 0x7f; difference = Math.floor(difference / 128)) {
      encoded[at++] = 0x80 | (difference % 128);
    }
    encoded[at++] = difference;
    if (at > PAGE_BYTES) throw new PageError('a posting list grows larger than a page');
  }
  data.setUint16(6, at - SEGMENT_HEADER_BYTES, true);
  if (at % 2 === 1) encoded[at++] = 0;
  return at;
}

/** Merges `added` TIDs of the record with `old` ones in `oldItems` into `merged`; how many there are. */
function mergeItems(data: DataView, at: number, added: number, old: number): number {
  let i = 0;
  let j = 0;
  let count = 0;
  while (i < added || j < old) {
    const next = i < added ? tidAt(data, at + i * TID_BYTES) : Infinity;
    const have = j < old ? oldItems[j] : Infinity;
    const smallest = Math.min(next, have);
    if (next === have || (count > 0 && smallest <= merged[count - 1])) {
      throw new PageError('items to be added to a posting list are there already, or out of order');
    }
    merged[count++] = smallest;
    if (next < have) i++;
    else j++;
  }
  return count;
}

/**
 * Changes the segments of a posting tree leaf. `[at, end)` of the record: u16 nactions, then for each u8 segment
 * number, u8 action and what it needs: a segment, or u16 n and n TIDs.
 */
export function recompressLeaf(record: WalRecord, start: number, end: number, page: Page): void {
  const flags = ginFlags(page);
  if ((flags & (GIN_DATA | GIN_LEAF | GIN_COMPRESSED)) !== (GIN_DATA | GIN_LEAF | GIN_COMPRESSED)) {
    throw new PageError(
      `GIN page flags 0x${flags.toString(16)}: a compressed leaf of a posting tree expected`,
    );
  }
  const oldEnd = pageLower(page);
  if (oldEnd < GIN_DATA_START || oldEnd > GIN_PAGE_END)
    throw new PageError(`pd_lower ${oldEnd} of a posting tree leaf`);
  scratch.bytes.set(page.bytes);

  let from = GIN_DATA_START; // in the old page
  let to = GIN_DATA_START; // in the new one
  let segment = 0;
  const oldSize = () => {
    const size = segmentSize(scratch.data, from, oldEnd);
    if (size === 0) throw new PageError(`the leaf has no segment ${segment}`);
    return size;
  };
  const put = (source: Uint8Array, at: number, size: number) => {
    if (to + size > GIN_PAGE_END) throw new PageError('the segments do not fit on the leaf');
    copyBytes(source, at, page.bytes, to, size);
    to += size;
  };
  let at = start + 2;
  if (at > end) throw new MalformedRecord('no count of actions');
  for (let actions = record.data.getUint16(start, true); actions > 0; actions--) {
    if (at + 2 > end) throw new MalformedRecord('an action goes past the data');
    const target = record.data.getUint8(at);
    const action = record.data.getUint8(at + 1);
    at += 2;
    if (target < segment) throw new MalformedRecord(`an action on segment ${target} after one on ${segment}`);
    for (; segment < target; segment++) {
      const size = oldSize();
      put(scratch.bytes, from, size);
      from += size;
    }
    switch (action) {
      case SEGMENT_DELETE:
        from += oldSize();
        segment++;
        break;
      case SEGMENT_INSERT:
      case SEGMENT_REPLACE: {
        const size = segmentSize(record.data, at, end);
        if (size === 0) throw new MalformedRecord('a segment goes past the data');
        if (action === SEGMENT_REPLACE) {
          from += oldSize();
          segment++;
        }
        put(record.bytes, at, size);
        at += size;
        break;
      }
      case SEGMENT_ADDITEMS: {
        const count = at + 2 <= end ? record.data.getUint16(at, true) : 0xffff;
        at += 2;
        if (at + count * TID_BYTES > end) throw new MalformedRecord('items go past the data');
        const size = oldSize();
        const total = mergeItems(record.data, at, count, decodeSegment(scratch.data, from));
        put(encoded, 0, encodeSegment(total));
        from += size;
        segment++;
        at += count * TID_BYTES;
        break;
      }
      default:
        throw new MalformedRecord(`action ${action} on a posting tree leaf`);
    }
  }
  put(scratch.bytes, from, oldEnd - from);
  setDataSize(page, to - GIN_DATA_START);
}
