/** What a check refuses as a whole record, and which pages it forgets; the comparison itself is oracle.pg.test.ts. */
import { expect, test } from 'vitest';
import { lsn } from '../../../../lib/postgres/lsn.ts';
import { initPage, PAGE_BYTES, pageOver } from '../../../../lib/postgres/page/page.ts';
import { RedoCheck, type CheckFailure } from '../../../../lib/postgres/redo/check/check.ts';
import { MemoryPageStore } from '../../../../lib/postgres/redo/check/page-store.ts';
import { postgres18 } from '../../../../lib/postgres/v18/wal.ts';
import { decodeRecord } from '../../../../lib/postgres/wal/decode-record.ts';
import { RM } from '../../../../lib/postgres/wal/facts.ts';
import { newWalRecord } from '../../../../lib/postgres/wal/record.ts';
import { encodeRecord, type WrittenRecord } from '../../../support/wal-writer.ts';

const RELATION: [number, number, number] = [1663, 5, 16384];
const page = new Uint8Array(PAGE_BYTES);
initPage(pageOver(page), 0);
const image = { id: 0, relation: RELATION, block: 3, image: { page, apply: true } };

class Checked {
  readonly pages = new MemoryPageStore();
  readonly failures: CheckFailure[] = [];
  readonly check = new RedoCheck({
    facts: postgres18,
    pages: this.pages,
    onFailure: (failure) => this.failures.push(failure),
  });
  #at = 0x2000;

  add(written: WrittenRecord): this {
    const record = newWalRecord();
    const next = this.#at + 0x4000;
    decodeRecord(encodeRecord(written, lsn(this.#at - 8)), lsn(this.#at), lsn(next), record);
    this.#at = next;
    this.check.check(record);
    return this;
  }
  /** The one thing that was wrong. */
  get failure(): string {
    expect(this.failures.length).toBe(1);
    const [{ recordType, block, message }] = this.failures;
    return `${recordType} on ${block}: ${message}`;
  }
}

const EXTENSION = "records of an extension's resource manager cannot be replayed";
test.each([
  [
    "an extension's record",
    { resourceManager: 130, info: 0x20 },
    `custom 130/UNKNOWN (20) on no block: ${EXTENSION}`,
  ],
  [
    "an extension's record with blocks",
    { resourceManager: 130, blocks: [image] },
    `custom 130/UNKNOWN (0) on 1663/5/16384 main block 3: ${EXTENSION}`,
  ],
  [
    'a type that no Postgres 18 writes',
    { resourceManager: RM.HASH, info: 0xf0 },
    'Hash/UNKNOWN (f0) on no block: no such record type',
  ],
  [
    'blocks where the type has none',
    { resourceManager: RM.XACT, blocks: [image] },
    'Transaction/COMMIT on 1663/5/16384 main block 3: block references, of which this type has none',
  ],
  [
    'no blocks where the type has some',
    { resourceManager: RM.BTREE },
    'Btree/INSERT_LEAF on no block: no block references',
  ],
  [
    'a truncation without its relation',
    { resourceManager: RM.SMGR, info: 0x20, main: new Uint8Array(8) },
    'Storage/TRUNCATE on storage: main data of 8 bytes: at least 20 expected',
  ],
])('%s is an error, and is counted in the table', (_, written, expected) => {
  const checked = new Checked().add(written);
  expect(checked.failure).toBe(expected);
  const line = checked.check.report().find(({ records }) => records > 0);
  expect(line).toMatchObject({ records: 1, errors: 1 });
  expect(expected.startsWith(`${line!.resourceManager}/${line!.type} `)).toBe(true);
});

test('an image that cannot be restored is an error; the block has no known state then', () => {
  const checked = new Checked();
  const record = newWalRecord();
  const written = { resourceManager: RM.XLOG, info: 0xb0, blocks: [image] };
  decodeRecord(encodeRecord(written, lsn(8)), lsn(0x2000), lsn(0x5000), record);
  record.blocks[0].imageInfo |= 0x10; // zstd
  checked.check.check(record);
  expect(checked.failure).toContain('compressed with zstd');
  expect(checked.check.unknown).toBe(1);
  expect(checked.pages.size).toBe(0);
});

/** xl_xact_commit with a database, subtransactions and the files of one relation. */
function commitDropping(relation: [number, number, number]): WrittenRecord {
  const main = new DataView(new ArrayBuffer(8 + 4 + 8 + 12 + 16));
  const words = [0b111, 5, 1663, 2, 701, 702, 1, ...relation];
  for (const [i, word] of words.entries()) main.setUint32(8 + 4 * i, word, true);
  return { resourceManager: RM.XACT, info: 0x80, main: new Uint8Array(main.buffer) };
}

test('pages of a relation that a transaction dropped are forgotten, and no others', () => {
  const other = { ...image, relation: [1663, 5, 16390] as [number, number, number] };
  const checked = new Checked()
    .add({ resourceManager: RM.XLOG, info: 0xb0, blocks: [image] })
    .add({ resourceManager: RM.XLOG, info: 0xb0, blocks: [other] });
  expect(checked.pages.size).toBe(2);
  checked.add(commitDropping(RELATION));
  expect(checked.failures).toEqual([]);
  expect(checked.pages.size).toBe(1);
});
