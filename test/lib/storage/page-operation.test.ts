import fc from 'fast-check';
import { expect, test } from 'vitest';
import { CheckPoint } from '../../../lib/postgres/checkpoint.ts';
import { visibilityOf } from '../../../lib/postgres/page/visibility-map.ts';
import { xidStatus } from '../../../lib/postgres/slru/clog.ts';
import { MalformedMessage } from '../../../lib/protocol/bytes.ts';
import {
  applyOperation,
  decodeOperation,
  encodeOperation,
  type PageOperation,
} from '../../../lib/storage/page-operation.ts';
import { startsChain } from '../../../lib/storage/value.ts';

const u8 = fc.nat({ max: 0xff });
const u16 = fc.nat({ max: 0xffff });
const u32 = fc.nat({ max: 0xffff_ffff });
const operation: fc.Arbitrary<PageOperation> = fc.oneof(
  fc.constant<PageOperation>({ kind: 'zero' }),
  fc.record({ kind: fc.constant('xidStatus'), status: fc.nat({ max: 3 }), indexes: fc.array(u16) }),
  fc.record({
    kind: fc.constant('multixactOffsets'),
    entries: fc.array(fc.record({ entry: u16, offset: u32 })),
  }),
  fc.record({
    kind: fc.constant('multixactMembers'),
    first: u16,
    members: fc.array(fc.record({ xid: u32, status: u8 })),
  }),
  fc.record({
    kind: fc.constant('commitTimestamp'),
    time: fc.uint8Array({ minLength: 8, maxLength: 8 }),
    origin: u16,
    indexes: fc.array(u16),
  }),
  fc.record({
    kind: fc.constant('visibilityClear'),
    blocks: fc.array(fc.record({ heapBlock: u32, flags: u8 })),
  }),
  fc.record({ kind: fc.constant('visibilityTruncate'), heapBlocks: u32 }),
  fc.record({ kind: fc.constant('nextXid'), nextXid: fc.maxSafeNat() }),
);

test('an operation survives its coding', () => {
  fc.assert(
    fc.property(operation, fc.boolean(), (given, fromZero) => {
      const value = encodeOperation(given, fromZero);
      expect(startsChain(value)).toBe(fromZero);
      expect(decodeOperation(value.subarray(1))).toEqual(given);
    }),
  );
});

test('bytes that are no operation are malformed', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
      try {
        decodeOperation(bytes);
      } catch (error) {
        expect(error).toBeInstanceOf(MalformedMessage);
      }
    }),
  );
  expect(() => decodeOperation(Uint8Array.of(99))).toThrow('page operation of code 99: 1 to 8 known');
});

const applied = (given: PageOperation, page = new Uint8Array(8192)): Uint8Array => {
  applyOperation(given, page);
  return page;
};

test('transaction status: two bits each, neighbours untouched', () => {
  const page = applied({ kind: 'xidStatus', status: 1, indexes: [0, 2, 32_767] });
  applyOperation({ kind: 'xidStatus', status: 2, indexes: [1, 2] }, page);
  expect([0, 1, 2, 3, 32_766, 32_767].map((index) => xidStatus(page, index))).toEqual([1, 2, 2, 0, 0, 1]);
});

test('multixact offsets and members lie where multixact.c looks for them', () => {
  const offsets = applied({ kind: 'multixactOffsets', entries: [{ entry: 2047, offset: 0x01020304 }] });
  expect([...offsets.subarray(8188)]).toEqual([4, 3, 2, 1]);
  const members = applied({
    kind: 'multixactMembers',
    first: 3,
    members: [
      { xid: 700, status: 5 },
      { xid: 701, status: 2 },
    ],
  });
  expect(members[3]).toBe(5); // fourth flag byte of group 0
  expect(members[4 + 3 * 4]).toBe(700 & 0xff);
  expect(members[20]).toBe(2); // first flag byte of group 1
  expect(members[24]).toBe(701 & 0xff);
});

test('commit timestamps: eight bytes of time, two of origin', () => {
  const time = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8);
  const page = applied({ kind: 'commitTimestamp', time, origin: 0x0a0b, indexes: [818] });
  expect([...page.subarray(8180, 8190)]).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 0x0b, 0x0a]);
});

test('visibility bits: a page of zeros first gets a header; clearing and cutting touch only what they name', () => {
  const page = applied({ kind: 'visibilityClear', blocks: [] });
  expect([...page.subarray(12, 20)]).toEqual([24, 0, 0, 32, 0, 32, 4, 32]);
  page.fill(0xff, 24);
  const clear = [
    { heapBlock: 5, flags: 3 },
    { heapBlock: 6, flags: 2 },
  ];
  applyOperation({ kind: 'visibilityClear', blocks: clear }, page);
  expect([4, 5, 6, 7].map((block) => visibilityOf(page, block))).toEqual([3, 0, 1, 3]);
  applyOperation({ kind: 'visibilityTruncate', heapBlocks: 10 }, page);
  expect([8, 9, 10, 11, 12, 5000].map((block) => visibilityOf(page, block))).toEqual([3, 3, 0, 0, 0, 0]);
});

test('nextXid changes that field alone', () => {
  const before = CheckPoint.encode({ ...CheckPoint.decode(new Uint8Array(88)), nextOid: 24_576, nextXid: 7 });
  const after = applied({ kind: 'nextXid', nextXid: 3 * 2 ** 32 + 9 }, before.slice());
  expect(CheckPoint.decode(after)).toEqual({ ...CheckPoint.decode(before), nextXid: 3 * 2 ** 32 + 9 });
});
