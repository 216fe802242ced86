/**
 * Committed WAL from a safekeeper to a reader (the pageserver, `ebb inspect wal`), over a WebSocket.
 *
 *   safekeeper → reader   0x77 'w', u64 startLsn, u64 commitLsn, bytes (at most 1 MiB; contiguous; up to commitLsn)
 *   reader → safekeeper   0x72 'r', u64 ingestedLsn, u64 remoteConsistentLsn
 *
 * Only bytes below `commitLsn` are sent: what a quorum has persisted in the current term's history. The reader
 * reports what it has ingested (`ingestedLsn`) and what no crash of its own can take back because it is in
 * object storage (`remoteConsistentLsn`); the latter lets safekeepers trim. A safekeeper keeps at most
 * `WAL_WINDOW_BYTES` unreported bytes in flight to a reader.
 */
import type { Lsn } from '../postgres/lsn.ts';
import { ByteReader, ByteWriter, MalformedMessage } from './bytes.ts';

export const WAL_CHUNK_BYTES_MAX = 1 << 20;
export const WAL_WINDOW_BYTES = 16 << 20;

export interface WalChunk {
  startLsn: Lsn;
  commitLsn: Lsn;
  bytes: Uint8Array;
}
export interface WalReaderReport {
  ingestedLsn: Lsn;
  remoteConsistentLsn: Lsn;
}

export const encodeWalChunk = (chunk: WalChunk): Uint8Array =>
  new ByteWriter(17 + chunk.bytes.length)
    .u8(0x77)
    .u53(chunk.startLsn)
    .u53(chunk.commitLsn)
    .bytes(chunk.bytes)
    .done();

/** Throws MalformedMessage. `bytes` is a view. */
export function decodeWalChunk(message: Uint8Array): WalChunk {
  const reader = new ByteReader(message);
  const tag = reader.u8();
  if (tag !== 0x77) throw new MalformedMessage(`WAL stream message of tag ${tag}: 119 expected`);
  const chunk = { startLsn: reader.lsn(), commitLsn: reader.lsn(), bytes: reader.rest() };
  if (chunk.bytes.length > WAL_CHUNK_BYTES_MAX)
    throw new MalformedMessage(`WAL chunk of ${chunk.bytes.length} bytes`);
  return chunk;
}

export const encodeWalReaderReport = (report: WalReaderReport): Uint8Array =>
  new ByteWriter(17).u8(0x72).u53(report.ingestedLsn).u53(report.remoteConsistentLsn).done();

/** Throws MalformedMessage. */
export function decodeWalReaderReport(message: Uint8Array): WalReaderReport {
  const reader = new ByteReader(message);
  const tag = reader.u8();
  if (tag !== 0x72) throw new MalformedMessage(`WAL reader message of tag ${tag}: 114 expected`);
  const report = { ingestedLsn: reader.lsn(), remoteConsistentLsn: reader.lsn() };
  reader.end();
  return report;
}
