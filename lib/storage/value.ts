/**
 * The value: what became of a key at an LSN. Values are bytes with a tag in front, opaque to layers but for
 * one question: `startsChain`. A read walks from the newest value down to the first that starts a chain and
 * hands what it met, oldest first, to `reconstruct`.
 *
 *   tag 0  absent           the key ends here (a dropped relation, a committed two-phase file)     starts
 *       1  image            the whole value: a page of 8192 bytes, a file, a size                  starts
 *       2  record           u8 block index, then the WAL record, to be redone upon the older page
 *       3  recordFromZero   the same upon a page of zeros                                          starts
 *       4  operation        a page operation (page-operation.ts) upon the older value
 *       5  operationFromZero  the same upon a page of zeros                                        starts
 *       6  unreadable       why in UTF-8: the copy of a page that could not be rebuilt             starts
 *
 * Values are filed at the *end* LSN of the record that they come from, at most one per key and LSN. The first
 * value of a block after its fork was extended over it starts a chain, so nothing older shines through after
 * a truncation or a drop.
 */
import type { Lsn } from '../postgres/lsn.ts';
import type { WalRecord } from '../postgres/wal/record.ts';
import { pageKeyAt, type Key } from './key.ts';

declare const valueBrand: unique symbol;
export type Value = Uint8Array & { readonly [valueBrand]: true };

export const VALUE_TAG = {
  absent: 0,
  image: 1,
  record: 2,
  recordFromZero: 3,
  operation: 4,
  operationFromZero: 5,
  unreadable: 6,
} as const;

/** A value at the end LSN of its record. */
export interface Version {
  lsn: Lsn;
  value: Value;
}
/** What one record does to one key. */
export interface Modification {
  key: Key;
  value: Value;
}
/**
 * Takes what ingest finds, in the order of the WAL. Whoever has no use for the keys of pages as strings, of which there are
 * many, takes them apart by `page`: the key is `pageKeyAt(prefix, block)`.
 */
export interface Emit {
  (key: Key, value: Value): void;
  page?: (prefix: string, block: number, value: Value) => void;
}
/** Emits the value of a page. */
export function emitPage(emit: Emit, prefix: string, block: number, value: Value): void {
  if (emit.page === undefined) emit(pageKeyAt(prefix, block), value);
  else emit.page(prefix, block, value);
}

/** Values are cut from slabs: most are small and short-lived, and a buffer of its own costs ten times as much. */
const SLAB_BYTES = 256 << 10;
/** A value up to this size is copied byte by byte: a call costs more. */
const LOOP_BYTES_MAX = 128;
let slab = new Uint8Array(SLAB_BYTES);
let slabUsed = 0;

const tagged = (tag: number, length: number): Value => {
  const size = 1 + length;
  if (size > SLAB_BYTES >> 3) {
    const value = new Uint8Array(size);
    value[0] = tag;
    return value as Value;
  }
  if (slabUsed + size > SLAB_BYTES) {
    slab = new Uint8Array(SLAB_BYTES);
    slabUsed = 0;
  }
  const value = slab.subarray(slabUsed, (slabUsed += size));
  value[0] = tag;
  return value as Value;
};

export const ABSENT: Value = tagged(VALUE_TAG.absent, 0);

/** `bytes` are copied. */
export function imageValue(bytes: Uint8Array): Value {
  const value = tagged(VALUE_TAG.image, bytes.length);
  value.set(bytes, 1);
  return value;
}
/** An image of `length` zeros, for the caller to fill: its content is what follows the first byte. */
export const newImageValue = (length: number): Value => tagged(VALUE_TAG.image, length);
/** A size: u32 LE. */
export function sizeValue(blocks: number): Value {
  const value = tagged(VALUE_TAG.image, 4);
  new DataView(value.buffer, value.byteOffset).setUint32(1, blocks, true);
  return value;
}
/** Reads what `sizeValue` wrote (the value's content, without its tag). */
export const decodeSize = (content: Uint8Array): number =>
  new DataView(content.buffer, content.byteOffset, content.byteLength).getUint32(0, true);

/** A TimestampTz: i64 LE, microseconds since 2000. */
export function timestampValue(microseconds: number): Value {
  const value = tagged(VALUE_TAG.image, 8);
  new DataView(value.buffer, value.byteOffset).setBigInt64(1, BigInt(microseconds), true);
  return value;
}
/** Reads what `timestampValue` wrote (the value's content), or a record's own 8 bytes. */
export const decodeTimestamp = (content: Uint8Array): number =>
  Number(new DataView(content.buffer, content.byteOffset, content.byteLength).getBigInt64(0, true));

/** The record is copied whole. `fromZero`: WILL_INIT, or the block did not exist before. */
export function recordValue(record: WalRecord, blockIndex: number, fromZero: boolean): Value {
  const value = tagged(fromZero ? VALUE_TAG.recordFromZero : VALUE_TAG.record, 1 + record.totalLength);
  value[1] = blockIndex;
  const { bytes, totalLength } = record;
  if (totalLength > LOOP_BYTES_MAX) value.set(bytes.subarray(0, totalLength), 2);
  else for (let i = 0; i < totalLength; i++) value[i + 2] = bytes[i];
  return value;
}
/** `code` and `payload` as page-operation.ts defines them. */
export function operationValue(code: number, payload: Uint8Array, fromZero: boolean): Value {
  const value = tagged(fromZero ? VALUE_TAG.operationFromZero : VALUE_TAG.operation, 1 + payload.length);
  value[1] = code;
  value.set(payload, 2);
  return value;
}

/** Every read of the key fails with `why`, until something newer starts a chain. */
export function unreadableValue(why: string): Value {
  const text = new TextEncoder().encode(why);
  const value = tagged(VALUE_TAG.unreadable, text.length);
  value.set(text, 1);
  return value;
}

/** True when nothing older than this value matters. */
export const startsChain = (value: Uint8Array): boolean =>
  value[0] !== VALUE_TAG.record && value[0] !== VALUE_TAG.operation;

/** The whole content when the value alone gives it: null for absent, undefined when it must be rebuilt. */
export function plainContent(value: Uint8Array): Uint8Array | null | undefined {
  if (value[0] === VALUE_TAG.image) return value.subarray(1);
  return value[0] === VALUE_TAG.absent ? null : undefined;
}
