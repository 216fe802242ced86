import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Dirent, DIRENT_TYPE, encodeDirectory, sliceDirectory } from '../../../lib/fuse/directory.ts';
import {
  InHeader,
  OPERATION,
  operationName,
  OutHeader,
  ReadIn,
  SetattrIn,
  u53,
} from '../../../lib/fuse/protocol.ts';

const bytes = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex.replaceAll(/\s/g, ''), 'hex'));

test('a READ request as Linux 6.18 sent it', () => {
  const request = bytes(`
    50000000 0f000000 2e00000000000000 7b00000000000000 feff0000 feff0000 d2040000 00000000
    0000000000000000 0020000000000000 00200000 00000000 0000000000000000 00800000 00000000`);
  expect(InHeader.decode(request)).toMatchObject({
    length: 80,
    operation: OPERATION.READ,
    unique: 0x2e,
    nodeId: 123,
    uid: 65_534,
    pid: 1234,
  });
  expect(ReadIn.decode(request, InHeader.size)).toMatchObject({ offset: 8192, size: 8192, flags: 0x8000 });
});

test('a reply header', () => {
  expect(OutHeader.encode({ length: 16, error: -2, unique: 0x2e })).toEqual(
    bytes('10000000 feffffff 2e00000000000000'),
  );
});

test('field offsets where the kernel has them', () => {
  expect(SetattrIn.offsets).toMatchObject({ valid: 0, fh: 8, size: 16, mode: 68, uid: 76, gid: 80 });
});

test('eight bytes as a number', () => {
  const view = new DataView(new ArrayBuffer(8));
  fc.assert(
    fc.property(fc.nat({ max: Number.MAX_SAFE_INTEGER }), (value) => {
      u53.write(view, 0, value);
      expect(view.getBigUint64(0, true)).toBe(BigInt(value));
      expect(u53.read(view, 0)).toBe(value);
    }),
  );
});

test('operations have names', () => {
  expect(operationName(15)).toBe('READ');
  expect(operationName(999)).toBe('operation 999');
});

test('a listing read in pieces of any size gives every entry once, in order, whole', () => {
  const name = fc.string({
    minLength: 1,
    maxLength: 30,
    unit: fc.constantFrom('a', 'b', '0', '9', '_', '.'),
  });
  fc.assert(
    fc.property(fc.array(name, { maxLength: 40 }), fc.integer({ min: 64, max: 400 }), (names, sizeMax) => {
      const listing = encodeDirectory(names.map((name) => ({ name, type: DIRENT_TYPE.file })));
      const read: string[] = [];
      let offset = 0;
      for (;;) {
        const piece = sliceDirectory(listing, offset, sizeMax);
        if (piece.length === 0) break;
        expect(piece.length).toBeLessThanOrEqual(sizeMax);
        for (let at = 0; at < piece.length;) {
          const { nameLength, next, type } = Dirent.decode(piece, at);
          read.push(Buffer.from(piece.subarray(at + 24, at + 24 + nameLength)).toString('latin1'));
          expect(type).toBe(read.length <= 2 ? DIRENT_TYPE.directory : DIRENT_TYPE.file);
          at = next - offset;
        }
        offset += piece.length;
      }
      expect(read).toEqual(['.', '..', ...names]);
    }),
  );
});
