import fc from 'fast-check';
import { expect, test } from 'vitest';
import { SLRU_KINDS } from '../../../lib/protocol/pages.ts';
import {
  ALL_KEYS,
  CHECKPOINT_KEY,
  COMMIT_TIME_KEY,
  CONTROL_FILE_KEY,
  databaseKey,
  databaseSizesRange,
  formatKey,
  KEY_BYTES,
  keyBlock,
  keyBytes,
  keyFromBytes,
  kindRange,
  pageKeyOfSize,
  pagesRange,
  parseKey,
  relationMapKey,
  relationPageKey,
  relationSizeKey,
  sizeKeyOfPage,
  slruPageKey,
  slruSegmentKey,
  twoPhaseKey,
  type Key,
  type KeyParts,
} from '../../../lib/storage/key.ts';

const u32 = fc.nat({ max: 0xffff_ffff });
const fork = fc.record({ spcOid: u32, dbOid: u32, relNumber: u32, fork: fc.nat({ max: 3 }) });
const slru = fc.constantFrom(...SLRU_KINDS);
const parts: fc.Arbitrary<KeyParts> = fc.oneof(
  fc.constantFrom<KeyParts>({ kind: 'checkpoint' }, { kind: 'controlFile' }, { kind: 'commitTime' }),
  fc.record({ kind: fc.constantFrom('relationMap', 'database'), spcOid: u32, dbOid: u32 }),
  fc.record({ kind: fc.constant('twoPhase'), epoch: u32, xid: u32 }),
  fc.record({ kind: fc.constant('slruSegment'), slru, segment: u32 }),
  fc.record({ kind: fc.constant('slruPage'), slru, segment: u32, block: u32 }),
  fork.map((of): KeyParts => ({ kind: 'relationSize', ...of })),
  fc.tuple(fork, u32).map(([of, block]): KeyParts => ({ kind: 'relationPage', ...of, block })),
);

function make(of: KeyParts): Key {
  switch (of.kind) {
    case 'checkpoint':
      return CHECKPOINT_KEY;
    case 'controlFile':
      return CONTROL_FILE_KEY;
    case 'commitTime':
      return COMMIT_TIME_KEY;
    case 'relationMap':
      return relationMapKey(of.spcOid, of.dbOid);
    case 'database':
      return databaseKey(of.spcOid, of.dbOid);
    case 'twoPhase':
      return twoPhaseKey(of.epoch, of.xid);
    case 'slruSegment':
      return slruSegmentKey(of.slru, of.segment);
    case 'slruPage':
      return slruPageKey(of.slru, of.segment, of.block);
    case 'relationSize':
      return relationSizeKey(of);
    case 'relationPage':
      return relationPageKey(of, of.block);
  }
}

test('a key taken apart is what it was made of, and its bytes make it again', () => {
  fc.assert(
    fc.property(parts, (of) => {
      const key = make(of);
      expect(key).toHaveLength(KEY_BYTES);
      expect(parseKey(key)).toEqual(of);
      expect(keyFromBytes(keyBytes(key))).toBe(key);
      expect(formatKey(key)).not.toBe('');
    }),
  );
});

test('keys sort as their bytes do, and lie in the range of their kind', () => {
  fc.assert(
    fc.property(parts, parts, (a, b) => {
      const [x, y] = [make(a), make(b)];
      expect(Math.sign(Buffer.compare(keyBytes(x), keyBytes(y)))).toBe(x < y ? -1 : x > y ? 1 : 0);
      for (const { first, last } of [kindRange(a.kind), ALL_KEYS]) {
        expect(first <= x && x <= last).toBe(true);
      }
      const other = kindRange(b.kind);
      expect(other.first <= x && x <= other.last).toBe(a.kind === b.kind);
    }),
  );
});

test('the blocks of a fork are adjacent, and page keys and size keys find each other', () => {
  fc.assert(
    fc.property(fork, fork, u32, u32, (of, other, block, next) => {
      const size = relationSizeKey(of);
      const page = relationPageKey(of, block);
      expect(pageKeyOfSize(size, block)).toBe(page);
      expect(sizeKeyOfPage(page)).toBe(size);
      expect(keyBlock(page)).toBe(block);
      expect(page < relationPageKey(of, next)).toBe(block < next);
      const { first, last } = pagesRange(size);
      expect(first <= page && page <= last).toBe(true);
      const stranger = relationPageKey(other, next);
      const same = relationSizeKey(other) === size;
      expect(first <= stranger && stranger <= last).toBe(same);
      const database = databaseSizesRange(of.spcOid, of.dbOid);
      expect(database.first <= size && size <= database.last).toBe(true);
    }),
  );
  const segment = slruSegmentKey('pg_xact', 7);
  expect(pageKeyOfSize(segment, 3)).toBe(slruPageKey('pg_xact', 7, 3));
  expect(sizeKeyOfPage(slruPageKey('pg_xact', 7, 3))).toBe(segment);
});

test('bytes that are no key are refused by name', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: KEY_BYTES, maxLength: KEY_BYTES }), (bytes) => {
      const key = keyFromBytes(bytes);
      try {
        parseKey(key);
      } catch (error) {
        expect(error).toBeInstanceOf(RangeError);
      }
    }),
  );
  expect(() => keyFromBytes(new Uint8Array(17))).toThrow('key at 0: 18 bytes expected, 17 found');
  expect(() => parseKey('' as Key)).toThrow('not a key');
  expect(() => parseKey(keyFromBytes(new Uint8Array(18).fill(10)))).toThrow('not a key: 0a0a');
});

test('keys read as a person expects', () => {
  const of = { spcOid: 1663, dbOid: 5, relNumber: 16_384, fork: 2 };
  expect(
    [
      CHECKPOINT_KEY,
      CONTROL_FILE_KEY,
      relationMapKey(1664, 0),
      databaseKey(1663, 5),
      twoPhaseKey(0, 731),
      slruSegmentKey('pg_xact', 10),
      slruPageKey('pg_multixact/members', 1, 2),
      relationSizeKey(of),
      relationPageKey(of, 9),
    ].map(formatKey),
  ).toEqual([
    'checkpoint fields',
    'control file',
    'relation map 1664/0',
    'database 1663/5',
    'two-phase 0/731',
    'pg_xact 000A size',
    'pg_multixact/members 0001 block 2',
    'relation 1663/5/16384 vm size',
    'relation 1663/5/16384 vm block 9',
  ]);
});
