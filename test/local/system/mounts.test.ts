import fc from 'fast-check';
import { expect, test } from 'vitest';
import { mountsUnder, parseMountInfo } from '../../../local/system/mounts.ts';

const TABLE = `22 28 0:21 / /proc rw,nosuid shared:12 - proc proc rw
31 28 0:27 / /state/a\\040b/disks/c/pgdata rw - fuse ebb rw
`;

test('mount points, with their octal escapes taken back', () => {
  expect(parseMountInfo(TABLE)).toEqual(['/proc', '/state/a b/disks/c/pgdata']);
});

test('a folder is not under one whose name it begins with', () => {
  expect(mountsUnder('/pro')).toEqual([]);
  expect(mountsUnder('/proc')).toContain('/proc');
});

test('any text is parsed', () => {
  fc.assert(fc.property(fc.string(), (text) => Array.isArray(parseMountInfo(text))));
});
