/**
 * WAL for a person: a line per record as pg_waldump prints it, and a line per block that it touches.
 */
import { formatLsn, lsn, type Lsn } from '../../../lib/postgres/lsn.ts';
import { postgres18 } from '../../../lib/postgres/v18/wal.ts';
import { newWalRecord } from '../../../lib/postgres/wal/decode-record.ts';
import { WalDecoder } from '../../../lib/postgres/wal/decoder.ts';
import {
  describeRecord,
  type BlockDescription,
  type RecordDescription,
} from '../../../lib/postgres/wal/describe.ts';
import { WalError } from '../../../lib/postgres/wal/errors.ts';
import { WAL_PAGE_BYTES } from '../../../lib/postgres/wal/geometry.ts';

/** Decoding can begin anywhere when it begins at the start of a page: then it looks for the next record. */
export const pageStart = (position: Lsn): Lsn => lsn(position - (position % WAL_PAGE_BYTES));

export interface WalListing {
  records: RecordDescription[];
  /** Why decoding ended before the end of the bytes; null when only a part of a record is left. */
  problem: string | null;
}

/** Decodes `bytes`, which begin at the page start `startLsn`; keeps records that start at or after `from`. */
export function decodeWal(bytes: Uint8Array, startLsn: Lsn, from: Lsn, limit: number): WalListing {
  const decoder = new WalDecoder({ startLsn, facts: postgres18 });
  const record = newWalRecord();
  const records: RecordDescription[] = [];
  decoder.push(bytes);
  try {
    while (records.length < limit && decoder.next(record)) {
      if (record.lsn >= from) records.push(describeRecord(record, postgres18));
    }
  } catch (error) {
    if (!(error instanceof WalError)) throw error;
    return { records, problem: error.message };
  }
  return { records, problem: null };
}

export function walText({ records, problem }: WalListing, end: Lsn): string {
  const lines = records.flatMap((record) => [recordLine(record), ...record.blocks.map(blockLine)]);
  lines.push(problem ?? `${records.length} records; the WAL here ends at ${formatLsn(end)}`);
  return lines.join('\n');
}

const recordLine = (record: RecordDescription): string =>
  `${record.lsn.padEnd(12)} ${`${record.resourceManager}/${record.type}`.padEnd(28)} xid ${String(record.xid).padEnd(8)} ` +
  `${record.totalBytes} bytes, previous ${record.previousLsn}${fieldsText(record)}`;

const fieldsText = ({ fields }: RecordDescription): string =>
  Object.entries(fields)
    .map(([name, value]) => `, ${name} ${value}`)
    .join('');

function blockLine(block: BlockDescription): string {
  const image = block.image
    ? `, image of ${block.image.bytes} bytes${block.image.compression === 'none' ? '' : ` (${block.image.compression})`}` +
      (block.image.applied ? '' : ', for comparison only')
    : '';
  const fork = block.fork === 'main' ? '' : ` ${block.fork}`;
  const init = block.willInit ? ', made anew' : '';
  return `${' '.repeat(13)}block ${block.id}: ${block.relation}${fork} block ${block.block}, ${block.dataBytes} bytes of data${image}${init}`;
}
