import fc from 'fast-check';
import { expect, test } from 'vitest';
import { CheckPoint } from '../../../lib/postgres/checkpoint.ts';
import {
  ControlFile,
  ControlFileError,
  CONTROL_FILE_BYTES,
  CONTROL_VERSION_18,
  decodeControlFile,
  encodeControlFile,
} from '../../../lib/postgres/control-file.ts';
import { lsn } from '../../../lib/postgres/lsn.ts';

const fields = {
  ...ControlFile.decode(new Uint8Array(296)),
  systemIdentifier: 0xffff_ffff_ffff_fff1n,
  controlVersion: CONTROL_VERSION_18,
  catalogVersion: 202_506_291,
  checkPoint: lsn(0x1_0000_0028),
  checkPointCopy: { ...CheckPoint.decode(new Uint8Array(88)), nextXid: 5 * 2 ** 32 + 9, time: -5n & 0xffn },
  mockAuthenticationNonce: Uint8Array.from({ length: 32 }, (_, i) => i),
};

test('what is written is read again, and stands where Postgres looks for it', () => {
  const file = encodeControlFile(fields);
  expect(file).toHaveLength(CONTROL_FILE_BYTES);
  const { crc: _, ...read } = decodeControlFile(file);
  const { crc: __, ...written } = fields;
  expect(read).toEqual(written);
  const data = new DataView(file.buffer);
  expect(data.getUint32(8, true)).toBe(1800);
  expect(data.getBigUint64(32, true)).toBe(0x1_0000_0028n);
  expect(data.getBigUint64(40 + 24, true)).toBe(BigInt(fields.checkPointCopy.nextXid));
  expect(file[257 + 31]).toBe(31);
});

test('another version, a short file and any changed byte are refused', () => {
  const file = encodeControlFile(fields);
  expect(() => decodeControlFile(file.subarray(0, 295))).toThrow('pg_control has 295 bytes: 296 expected');
  const other = file.slice();
  other[8] = 0;
  expect(() => decodeControlFile(other)).toThrow(/pg_control has version 1792: 1800 expected/);
  fc.assert(
    fc.property(fc.nat({ max: 295 }), fc.integer({ min: 1, max: 255 }), (at, change) => {
      const damaged = file.slice();
      damaged[at] ^= change;
      expect(() => decodeControlFile(damaged)).toThrow(ControlFileError);
    }),
  );
});
