import { mkdtempSync, readdirSync, readlinkSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { layerCodec } from '../../../../containers/pageserver/layers/codec.ts';
import { openSpillFile } from '../../../../containers/pageserver/layers/spill-file.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ebb-spill-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

test('slabs come back as they were, from a file that nobody finds', () => {
  const file = openSpillFile(join(folder, 'spill'), layerCodec);
  const slabs = Array.from({ length: 5 }, (_, i) => new Uint8Array(100_000 * i + 1).fill(i));
  expect(slabs.map((slab) => file.write(slab))).toEqual([0, 1, 2, 3, 4]);
  expect(readdirSync(join(folder, 'spill'))).toEqual([]);
  for (const i of [3, 0, 4, 1, 2]) expect(file.read(i)).toEqual(slabs[i]);
  file.close();
  expect(() => file.read(1)).toThrow('EBADF');
});

test('other bytes than were written are an error', () => {
  const file = openSpillFile(join(folder, 'spill'), layerCodec);
  file.write(new Uint8Array(5000));
  const damaged = file.write(new Uint8Array(5000));
  const number = readdirSync('/proc/self/fd').find((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).startsWith(join(folder, 'spill'));
    } catch {
      return false; // the listing's own
    }
  });
  writeSync(Number(number), new Uint8Array([1]), 0, 1, 7000);
  expect(file.read(0)).toHaveLength(5000);
  expect(() => file.read(damaged)).toThrow('CRC');
  file.close();
});
