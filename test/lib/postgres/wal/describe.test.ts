import { expect, test } from 'vitest';
import { lsn } from '../../../../lib/postgres/lsn.ts';
import { postgres18 } from '../../../../lib/postgres/v18/wal.ts';
import { decodeRecord } from '../../../../lib/postgres/wal/decode-record.ts';
import {
  describeRecord,
  recordTypeName,
  resourceManagerName,
} from '../../../../lib/postgres/wal/describe.ts';
import { newWalRecord } from '../../../../lib/postgres/wal/record.ts';
import { encodeRecord, type WrittenRecord } from '../../../support/wal-writer.ts';

function describe(written: WrittenRecord) {
  const record = newWalRecord();
  decodeRecord(encodeRecord(written, lsn(0x3000000)), lsn(0x3000028), lsn(0x3000100), record);
  return describeRecord(record, postgres18);
}

test('a record says what it did and to which blocks', () => {
  const data = Uint8Array.of(1, 0, 0, 8, 24, 0, 1, 2, 3, 4);
  const block = {
    id: 0,
    relation: [1663, 5, 16384] as [number, number, number],
    block: 7,
    willInit: true,
    data,
  };
  const main = Uint8Array.of(3, 0, 1);
  expect(describe({ resourceManager: 10, info: 0x80, xid: 742, main, blocks: [block] })).toEqual({
    lsn: '0/3000028',
    endLsn: '0/3000100',
    previousLsn: '0/3000000',
    xid: 742,
    resourceManager: 'Heap',
    type: 'INSERT+INIT',
    totalBytes: 24 + 20 + 2 + 10 + 3,
    mainBytes: 3,
    fields: { item: 3, flags: '0x01' },
    blocks: [
      {
        id: 0,
        relation: '1663/5/16384',
        fork: 'main',
        block: 7,
        willInit: true,
        dataBytes: 10,
        image: null,
      },
    ],
  });
});

test('a commit says when, and what it dropped', () => {
  const main = new DataView(new ArrayBuffer(12 + 8 + 4 + 8 + 4 + 12));
  main.setBigInt64(0, 766_627_200_000_000n, true);
  main.setUint32(8, 0x07, true);
  main.setUint32(12, 5, true);
  main.setUint32(20, 2, true); // two subtransactions
  main.setUint32(32, 1, true);
  const described = describe({ resourceManager: 1, info: 0x80, xid: 9, main: new Uint8Array(main.buffer) });
  expect(described.type).toBe('COMMIT');
  const fields = { time: '2024-04-17T00:00:00.000Z', database: 5, subtransactions: 2, relationsDropped: 1 };
  expect(described.fields).toEqual(fields);
});

test('what is unknown or too short is said plainly', () => {
  expect(recordTypeName(10, 0xf0, postgres18)).toBe('UNKNOWN (f0)');
  expect(resourceManagerName(200, postgres18)).toBe('custom 200');
  for (let resourceManager = 0; resourceManager < 22; resourceManager++) {
    for (let info = 0; info < 256; info += 16) {
      const main = Uint8Array.of(255);
      expect(describe({ resourceManager, info, main }).mainBytes).toBe(1);
    }
  }
});
