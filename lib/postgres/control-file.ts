/**
 * pg_control: 296 bytes that say what cluster this is and where its WAL is to be read from, in a file of 8192.
 *
 * Source: catalog/pg_control.h (ControlFileData, PG_CONTROL_VERSION 1800), common/controldata_utils.c.
 */
import { CheckPoint, type CheckPointFields } from './checkpoint.ts';
import { crc32c } from './crc32c.ts';
import { bool, f64, layout, lsnField, reserved, u32, u64, i32, type Field } from './layout.ts';

export const CONTROL_FILE_BYTES = 8192;
export const CONTROL_VERSION_18 = 1800;

/** enum DBState. */
export const DATABASE_STATE = {
  startup: 0,
  shutDown: 1,
  shutDownInRecovery: 2,
  shuttingDown: 3,
  inCrashRecovery: 4,
  inArchiveRecovery: 5,
  inProduction: 6,
} as const;

const checkPointField: Field<CheckPointFields> = {
  size: CheckPoint.size,
  read: (data, offset) =>
    CheckPoint.decode(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), offset),
  write: (data, offset, value) => {
    const into = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    into.set(CheckPoint.encode(value), offset);
  },
};
const byteArray = (size: number): Field<Uint8Array> => ({
  size,
  read: (data, offset) => new Uint8Array(data.buffer, data.byteOffset + offset, size).slice(),
  write: (data, offset, value) => {
    new Uint8Array(data.buffer, data.byteOffset + offset, size).set(value);
  },
});

export const ControlFile = layout('ControlFileData', 296, {
  systemIdentifier: u64,
  controlVersion: u32,
  catalogVersion: u32,
  /** DATABASE_STATE. */
  state: u32,
  padding1: reserved(4),
  time: u64,
  checkPoint: lsnField,
  checkPointCopy: checkPointField,
  unloggedLsn: lsnField,
  minRecoveryPoint: lsnField,
  minRecoveryPointTimelineId: u32,
  padding2: reserved(4),
  backupStartPoint: lsnField,
  backupEndPoint: lsnField,
  backupEndRequired: bool,
  padding3: reserved(3),
  walLevel: i32,
  walLogHints: bool,
  padding4: reserved(3),
  maxConnections: i32,
  maxWorkerProcesses: i32,
  maxWalSenders: i32,
  maxPreparedTransactions: i32,
  maxLocksPerTransaction: i32,
  trackCommitTimestamp: bool,
  padding5: reserved(3),
  maxAlign: u32,
  floatFormat: f64,
  blockBytes: u32,
  relationSegmentBlocks: u32,
  walBlockBytes: u32,
  walSegmentBytes: u32,
  nameDataLength: u32,
  indexMaxKeys: u32,
  toastMaxChunkBytes: u32,
  largeObjectBlockBytes: u32,
  float8ByValue: bool,
  padding6: reserved(3),
  dataChecksumVersion: u32,
  defaultCharSigned: bool,
  mockAuthenticationNonce: byteArray(32),
  padding7: reserved(3),
  /** CRC-32C of all before it. */
  crc: u32,
});
export type ControlFileFields = ReturnType<typeof ControlFile.decode>;

export class ControlFileError extends Error {
  override readonly name = 'ControlFileError';
}

/** Reads the file's content (296 bytes at least). Throws ControlFileError on another version or a wrong CRC. */
export function decodeControlFile(bytes: Uint8Array): ControlFileFields {
  if (bytes.length < ControlFile.size) {
    throw new ControlFileError(`pg_control has ${bytes.length} bytes: ${ControlFile.size} expected`);
  }
  const header = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const version = header.getUint32(ControlFile.offsets.controlVersion, true);
  if (version !== CONTROL_VERSION_18) {
    throw new ControlFileError(`pg_control has version ${version}: ${CONTROL_VERSION_18} expected`);
  }
  const found = header.getUint32(ControlFile.offsets.crc, true);
  const expected = crc32c(bytes, 0, 0, ControlFile.offsets.crc);
  if (found !== expected) {
    throw new ControlFileError(
      `pg_control has CRC ${found.toString(16)}: its content gives ${expected.toString(16)}`,
    );
  }
  return ControlFile.decode(bytes);
}

/** The whole file of 8192 bytes, its CRC computed. */
export function encodeControlFile(fields: ControlFileFields): Uint8Array {
  const file = new Uint8Array(CONTROL_FILE_BYTES);
  file.set(ControlFile.encode(fields));
  const crc = crc32c(file, 0, 0, ControlFile.offsets.crc);
  new DataView(file.buffer).setUint32(ControlFile.offsets.crc, crc, true);
  return file;
}
