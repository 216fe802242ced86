/**
 * The main data of a record for people: the fields that say what happened, by name. Records that say nothing more than
 * their type and blocks have none; data too short for what it should hold gives none either.
 *
 * Each resource manager's fields are in payload/; they are Postgres's own (backend/access/rmgrdesc/ tells what is worth
 * telling), and a test compares them with what pg_walinspect prints of the same record.
 */
import { brin, btree, gin, gist, hash, spgist } from './payload/index-access.ts';
import { heap, heap2, sequence } from './payload/heap.ts';
import { NOTHING, type Describe, type PayloadFields, type Reader } from './payload/reader.ts';
import { logicalMessage, replicationOrigin, standby, transaction, xlog } from './payload/server.ts';
import { clog, commitTs, database, multixact, relationMap, storage, tablespace } from './payload/storage.ts';
import type { WalRecord } from './record.ts';

export type { PayloadFields } from './payload/reader.ts';

/** In RmgrId order (access/rmgrlist.h). */
const DESCRIBE: readonly Describe[] = [
  xlog,
  transaction,
  storage,
  clog,
  database,
  tablespace,
  multixact,
  relationMap,
  standby,
  heap2,
  heap,
  btree,
  hash,
  gin,
  gist,
  sequence,
  spgist,
  brin,
  commitTs,
  replicationOrigin,
  NOTHING, // Generic: all it says is in its blocks
  logicalMessage,
];

/** The fields of the record's main data. Never throws for what the data holds. */
export function describePayload(record: WalRecord): PayloadFields {
  const describe = DESCRIBE[record.resourceManager] ?? NOTHING;
  if (record.mainLength === 0) return {};
  const start = record.bytes.byteOffset + record.mainStart;
  const view = new DataView(record.bytes.buffer, start, record.mainLength);
  const reader: Reader = {
    u8: (at) => view.getUint8(at),
    u16: (at) => view.getUint16(at, true),
    u32: (at) => view.getUint32(at, true),
    i64: (at) => view.getBigInt64(at, true),
    f64: (at) => view.getFloat64(at, true),
    text: (at) =>
      new TextDecoder()
        .decode(record.bytes.subarray(record.mainStart + at, record.mainStart + record.mainLength))
        .replace(/\0.*$/s, ''),
  };
  try {
    return describe(reader, record.info);
  } catch (error) {
    if (error instanceof RangeError) return {};
    throw error;
  }
}
