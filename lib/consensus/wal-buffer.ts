/**
 * The WAL that a proposer holds in memory: contiguous chunks as they came from Postgres, immutable.
 *
 * It holds at least everything that is not committed, because nobody else can be relied on to have that. What is
 * committed may be dropped at any time: an acceptor that still needs it is fed from another acceptor.
 */
import { lsnPlus, type Lsn } from '../postgres/lsn.ts';
import { assert } from '../assert.ts';

export interface WalChunk {
  readonly beginLsn: Lsn;
  readonly endLsn: Lsn;
  /** End of the last whole record at or before `endLsn`. */
  readonly recordEndLsn: Lsn;
  readonly bytes: Uint8Array;
}
export interface WalBuffer {
  readonly chunks: readonly WalChunk[];
  /** Where the chunks begin; equals `endLsn` when there are none. */
  readonly beginLsn: Lsn;
  readonly endLsn: Lsn;
  /** End of the last whole record of all. */
  readonly recordEndLsn: Lsn;
}

/** A slice of the buffer for one append. */
export interface WalSlice {
  parts: Uint8Array[];
  endLsn: Lsn;
  recordEndLsn: Lsn;
}

export const emptyBuffer = (atLsn: Lsn): WalBuffer => ({
  chunks: [],
  beginLsn: atLsn,
  endLsn: atLsn,
  recordEndLsn: atLsn,
});

/** Chunks up to this size are joined, so that many small commits do not make a long list. */
const JOINED_BYTES_MAX = 16 << 10;

/** Adds `bytes` at the end. `recordEndLsn` is the end of the last whole record up to their end. */
export function pushWal(buffer: WalBuffer, bytes: Uint8Array, recordEndLsn: Lsn): WalBuffer {
  const endLsn = lsnPlus(buffer.endLsn, bytes.length);
  assert(
    recordEndLsn >= buffer.recordEndLsn && recordEndLsn <= endLsn,
    `record end ${recordEndLsn} within ${buffer.recordEndLsn} and ${endLsn}`,
  );
  const last = buffer.chunks.at(-1);
  const { beginLsn } = buffer;
  if (last !== undefined && last.bytes.length + bytes.length <= JOINED_BYTES_MAX) {
    const joined = new Uint8Array(last.bytes.length + bytes.length);
    joined.set(last.bytes);
    joined.set(bytes, last.bytes.length);
    const chunk = { beginLsn: last.beginLsn, endLsn, recordEndLsn, bytes: joined };
    return { chunks: [...buffer.chunks.slice(0, -1), chunk], beginLsn, endLsn, recordEndLsn };
  }
  const chunk = { beginLsn: buffer.endLsn, endLsn, recordEndLsn, bytes };
  return { chunks: [...buffer.chunks, chunk], beginLsn, endLsn, recordEndLsn };
}

/** Drops whole chunks that end at or before `lsn`. */
export function dropBefore(buffer: WalBuffer, lsn: Lsn): WalBuffer {
  let count = 0;
  while (count < buffer.chunks.length && buffer.chunks[count].endLsn <= lsn) count++;
  if (count === 0) return buffer;
  const chunks = buffer.chunks.slice(count);
  return { ...buffer, chunks, beginLsn: chunks.length === 0 ? buffer.endLsn : chunks[0].beginLsn };
}

/**
 * At most `bytesMax` from `fromLsn` (inside the buffer) on. `knownRecordEndLsn` is the record end that the
 * receiver knows; the slice's own is never lower.
 */
export function sliceWal(
  buffer: WalBuffer,
  { fromLsn, knownRecordEndLsn, bytesMax }: { fromLsn: Lsn; knownRecordEndLsn: Lsn; bytesMax: number },
): WalSlice {
  let index = buffer.chunks.length;
  while (index > 0 && buffer.chunks[index - 1].endLsn > fromLsn) index--;
  const parts: Uint8Array[] = [];
  let at = fromLsn;
  let recordEndLsn = knownRecordEndLsn;
  for (let rest = bytesMax; rest > 0 && index < buffer.chunks.length; index++) {
    const chunk = buffer.chunks[index];
    const skip = at - chunk.beginLsn;
    const part = chunk.bytes.subarray(skip, skip + rest);
    parts.push(part);
    rest -= part.length;
    at = lsnPlus(at, part.length);
    if (chunk.recordEndLsn <= at && chunk.recordEndLsn > recordEndLsn) recordEndLsn = chunk.recordEndLsn;
  }
  return { parts, endLsn: at, recordEndLsn };
}
