/**
 * A record for people: `ebb inspect wal` and every error message that names one.
 */
import { formatLsn } from '../lsn.ts';
import { BKPIMAGE_COMPRESS_LZ4, BKPIMAGE_COMPRESS_PGLZ, BKPIMAGE_COMPRESS_ZSTD } from './decode-record.ts';
import { describePayload, type PayloadFields } from './describe-payload.ts';
import type { WalFacts } from './facts.ts';
import type { BlockReference, WalRecord } from './record.ts';

const FORKS = ['main', 'fsm', 'vm', 'init'];
export const forkName = (fork: number): string => FORKS[fork] ?? `fork ${fork}`;

/** Resource manager as Postgres prints it; `custom 128` for an extension's. */
export const resourceManagerName = (id: number, facts: WalFacts): string =>
  facts.resourceManagers[id] ?? `custom ${id}`;

/** Record type as pg_waldump prints it; `UNKNOWN (f0)` where there is none. */
export function recordTypeName(resourceManager: number, info: number, facts: WalFacts): string {
  const type = facts.recordTypes[resourceManager]?.[info & 0xf0];
  return type ?? `UNKNOWN (${(info & 0xf0).toString(16)})`;
}

/** `Heap/INSERT+INIT at 0/3000148`. */
export const nameRecord = (record: WalRecord, facts: WalFacts): string =>
  `${resourceManagerName(record.resourceManager, facts)}/${recordTypeName(record.resourceManager, record.info, facts)} at ${formatLsn(record.lsn)}`;

/** `1663/5/16384 main block 7`: relation, fork and block. */
export const nameBlock = (block: BlockReference): string =>
  `${block.spcOid}/${block.dbOid}/${block.relNumber} ${forkName(block.fork)} block ${block.block}`;

export interface BlockDescription {
  id: number;
  relation: string;
  fork: string;
  block: number;
  willInit: boolean;
  dataBytes: number;
  image: { bytes: number; applied: boolean; compression: 'none' | 'pglz' | 'lz4' | 'zstd' } | null;
}
export interface RecordDescription {
  lsn: string;
  endLsn: string;
  previousLsn: string;
  xid: number;
  resourceManager: string;
  type: string;
  totalBytes: number;
  mainBytes: number;
  /** What the main data says, by name. */
  fields: PayloadFields;
  blocks: BlockDescription[];
}

function compressionOf(info: number): 'none' | 'pglz' | 'lz4' | 'zstd' {
  if (info & BKPIMAGE_COMPRESS_PGLZ) return 'pglz';
  if (info & BKPIMAGE_COMPRESS_LZ4) return 'lz4';
  return info & BKPIMAGE_COMPRESS_ZSTD ? 'zstd' : 'none';
}

/** Everything of a decoded record but its bytes, in plain values that survive the record. */
export function describeRecord(record: WalRecord, facts: WalFacts): RecordDescription {
  return {
    lsn: formatLsn(record.lsn),
    endLsn: formatLsn(record.endLsn),
    previousLsn: formatLsn(record.previous),
    xid: record.xid,
    resourceManager: resourceManagerName(record.resourceManager, facts),
    type: recordTypeName(record.resourceManager, record.info, facts),
    totalBytes: record.totalLength,
    mainBytes: record.mainLength,
    fields: describePayload(record),
    blocks: record.blocks.slice(0, record.blockCount).map((block) => ({
      id: block.id,
      relation: `${block.spcOid}/${block.dbOid}/${block.relNumber}`,
      fork: forkName(block.fork),
      block: block.block,
      willInit: block.willInit,
      dataBytes: block.dataLength,
      image: block.hasImage
        ? {
            bytes: block.imageLength,
            applied: block.applyImage,
            compression: compressionOf(block.imageInfo),
          }
        : null,
    })),
  };
}
