import { expect, test } from 'vitest';
import { bootFiles } from '../../../../lib/postgres/boot/boot-files.ts';
import { CHECKPOINT_RECORD_BYTES } from '../../../../lib/postgres/boot/checkpoint-record.ts';
import type { SparseFile } from '../../../../lib/postgres/boot/wal-segments.ts';
import { CheckPoint } from '../../../../lib/postgres/checkpoint.ts';
import { ControlFile, decodeControlFile, encodeControlFile } from '../../../../lib/postgres/control-file.ts';
import { formatLsn, INVALID_LSN, lsn, parseLsn } from '../../../../lib/postgres/lsn.ts';
import { postgres18 } from '../../../../lib/postgres/v18/wal.ts';
import { WalDecoder } from '../../../../lib/postgres/wal/decoder.ts';
import {
  recordEnd,
  recordStart,
  segmentStart,
  WAL_SEGMENT_BYTES,
} from '../../../../lib/postgres/wal/geometry.ts';
import { newWalRecord } from '../../../../lib/postgres/wal/decode-record.ts';
import { bootCorners } from '../../../support/boot-corners.ts';

const systemIdentifier = 7_300_000_000_000_000_001n;
const checkPoint = CheckPoint.encode({
  nextXid: 5 * 2 ** 32 + 777,
  nextOid: 24_576,
  nextMulti: 9,
  nextMultiOffset: 21,
  oldestXid: 731,
  oldestXidDb: 1,
  oldestMulti: 1,
  oldestMultiDb: 1,
});
const controlFile = encodeControlFile(
  ControlFile.decode(ControlFile.encode({ controlVersion: 1800, catalogVersion: 202_506_291 })),
);
const settings = {
  maxConnections: 100,
  maxWorkerProcesses: 8,
  maxWalSenders: 4,
  maxPreparedTransactions: 20,
  maxLocksPerTransaction: 64,
};
const bootAt = (position: number, previous = INVALID_LSN) =>
  bootFiles({
    facts: postgres18,
    lsn: lsn(position),
    previousLsn: previous,
    systemIdentifier,
    checkPoint,
    controlFile,
    settings,
    timeSeconds: 1_700_000_000,
  });
const content = (file: SparseFile): Uint8Array => {
  const bytes = new Uint8Array(file.size);
  for (const piece of file.pieces) bytes.set(piece.bytes, piece.offset);
  return bytes;
};

test.each(bootCorners(parseLsn('0/5000000')))(
  'the record at $name ($text) decodes, and points at itself',
  ({ position }) => {
    const previous = lsn(0x123458);
    const { files, recordLsn, endLsn } = bootAt(position, previous);
    expect(recordLsn).toBe(recordStart(lsn(position)));
    expect(endLsn).toBe(recordEnd(recordLsn, CHECKPOINT_RECORD_BYTES));

    const decoder = new WalDecoder({
      startLsn: lsn(position),
      facts: postgres18,
      timelineId: 1,
      systemIdentifier,
      previous,
    });
    const start = segmentStart(recordLsn);
    const wal = new Uint8Array(WAL_SEGMENT_BYTES * (files.length - 1));
    files.slice(1).forEach((file, i) => wal.set(content(file), i * WAL_SEGMENT_BYTES));
    decoder.push(wal.subarray(position - start));
    const record = newWalRecord();
    expect(decoder.next(record)).toBe(true);
    expect({ lsn: record.lsn, endLsn: record.endLsn }).toEqual({ lsn: recordLsn, endLsn });
    const decoded = CheckPoint.decode(record.bytes, record.mainStart);
    expect(decoded).toMatchObject({
      redo: recordLsn,
      timelineId: 1,
      nextXid: 5 * 2 ** 32 + 777,
      nextOid: 24_576,
    });

    const control = decodeControlFile(content(files[0]));
    expect(control).toMatchObject({
      ...settings,
      state: 1,
      checkPoint: recordLsn,
      systemIdentifier,
      walLevel: 1,
    });
    expect(control.checkPointCopy).toEqual(decoded);
  },
);

test('a new timeline: the record stands behind the long header of its first segment and has none before it', () => {
  const { files, recordLsn } = bootAt(parseLsn('0/3000000'));
  expect(formatLsn(recordLsn)).toBe('0/3000028');
  expect(files.map((file) => file.path)).toEqual(['global/pg_control', 'pg_wal/000000010000000000000003']);
});

test('a log beyond 4 GiB keeps both halves of its positions', () => {
  const { files, recordLsn } = bootAt(parseLsn('16/B374D848'));
  expect(files[1].path).toBe('pg_wal/0000000100000016000000B3');
  expect(formatLsn(decodeControlFile(content(files[0])).checkPoint)).toBe(formatLsn(recordLsn));
});
