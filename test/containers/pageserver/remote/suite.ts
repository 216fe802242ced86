/** What every implementation of the storage port must do. */
import { expect, test } from 'vitest';
import { putOnce } from '../../../../containers/pageserver/remote/retry.ts';
import {
  PART_BYTES_MIN,
  StorageError,
  type ObjectStorage,
} from '../../../../containers/pageserver/remote/storage.ts';
import { upload } from '../../../../containers/pageserver/remote/upload.ts';

const bytesOf = (text: string) => new TextEncoder().encode(text);
const textOf = (bytes: Uint8Array | null) => bytes && new TextDecoder().decode(bytes);
export const someBytes = (length: number): Uint8Array =>
  Uint8Array.from({ length }, (_, i) => (i * 2654435761) >>> 24);
const sourceOf = (bytes: Uint8Array) => ({
  size: bytes.length,
  read: async (offset: number, length: number) => bytes.subarray(offset, offset + length),
});

/** All keys are below `root`. */
export function storageSuite(storage: () => ObjectStorage, root = 'projects/p/layers/'): void {
  test('what was put is read whole, in ranges, and replaced', async () => {
    const key = `${root}a`;
    await storage().put(key, bytesOf('0123456789'));
    expect(textOf(await storage().get(key))).toBe('0123456789');
    expect(textOf(await storage().get(key, { offset: 3, length: 4 }))).toBe('3456');
    await storage().put(key, bytesOf('other'));
    expect(textOf(await storage().get(key))).toBe('other');
    await storage().put(`${root}empty`, new Uint8Array(0));
    expect(textOf(await storage().get(`${root}empty`))).toBe('');
  });

  test('a large object comes back byte for byte', async () => {
    const large = someBytes(3 << 20);
    await storage().put(`${root}large`, large);
    expect(Buffer.compare((await storage().get(`${root}large`))!, large)).toBe(0);
    const tail = await storage().get(`${root}large`, { offset: large.length - 5, length: 5 });
    expect(tail).toEqual(large.slice(-5));
  });

  test('a key that is not there is null; a range beyond the end is an error', async () => {
    expect(await storage().get(`${root}none`)).toBeNull();
    expect(await storage().getTagged(`${root}none`)).toBeNull();
    expect(await storage().get(`${root}none`, { offset: 0, length: 1 })).toBeNull();
    await storage().put(`${root}short`, bytesOf('abc'));
    await expect(storage().get(`${root}short`, { offset: 2, length: 5 })).rejects.toBeInstanceOf(
      StorageError,
    );
  });

  test('lists by prefix in order, across pages of the listing, and deletes', async () => {
    const names = Array.from({ length: 25 }, (_, i) => `${root}q/t/${String(i).padStart(4, '0')}`);
    for (const name of names.toReversed()) await storage().put(name, bytesOf(name));
    await storage().put(`${root}r/t/x`, bytesOf('x'));
    expect(await storage().list(`${root}q/`)).toEqual(names);
    expect(await storage().list(`${root}q/t/000`)).toEqual(names.slice(0, 10));
    expect(await storage().list(`${root}nothing/`)).toEqual([]);
    await storage().delete([...names.slice(1), `${root}q/t/absent`]);
    expect(await storage().list(`${root}q/`)).toEqual(names.slice(0, 1));
    await storage().delete([]);
  });

  test('a put on the condition that nothing is there, or that it is what was read', async () => {
    const key = `${root}conditional`;
    const conflict = { name: 'StorageError', code: 'conflict' };
    const first = await storage().put(key, bytesOf('1'), { absent: true });
    await expect(storage().put(key, bytesOf('2'), { absent: true })).rejects.toMatchObject(conflict);
    const found = (await storage().getTagged(key))!;
    expect([textOf(found.bytes), found.tag]).toEqual(['1', first]);
    const second = await storage().put(key, bytesOf('2'), { tag: first });
    expect(second).not.toBe(first);
    await expect(storage().put(key, bytesOf('3'), { tag: first })).rejects.toMatchObject(conflict);
    expect(textOf(await storage().get(key))).toBe('2');
    await storage().delete([key]);
    await expect(storage().put(key, bytesOf('4'), { tag: second }), 'gone').rejects.toMatchObject({
      name: 'StorageError',
    });
    expect(await storage().get(key)).toBeNull();
  });

  test('of many that put on one condition at once, one succeeds', async () => {
    const key = `${root}race`;
    const race = (round: string, condition: { absent: true } | { tag: string }) =>
      Promise.all(
        Array.from({ length: 6 }, async (_, i) => {
          const outcome = await putOnce(storage(), key, bytesOf(`${round}${i}`), condition);
          return 'tag' in outcome ? outcome.tag : null;
        }),
      );
    const first = (await race('a', { absent: true })).filter((tag) => tag !== null);
    expect(first.length).toBe(1);
    const second = (await race('b', { tag: first[0] })).filter((tag) => tag !== null);
    expect(second.length).toBe(1);
    expect((await storage().getTagged(key))!.tag).toBe(second[0]);
    await storage().delete([key]);
  });

  test('an object in parts is there when it is complete, and not before', async () => {
    const key = `${root}parts`;
    const bytes = someBytes(PART_BYTES_MIN * 2 + 12_345);
    const parts = await storage().beginParts(key);
    await parts.put(3, bytes.subarray(PART_BYTES_MIN * 2));
    await parts.put(1, bytes.subarray(0, PART_BYTES_MIN));
    await parts.put(2, someBytes(PART_BYTES_MIN).toReversed());
    await parts.put(2, bytes.subarray(PART_BYTES_MIN, PART_BYTES_MIN * 2)); // as a retry does
    expect(await storage().get(key)).toBeNull();
    expect(await storage().list(key)).toEqual([]);
    await parts.complete();
    expect(Buffer.compare((await storage().get(key))!, bytes)).toBe(0);
    const middle = { offset: PART_BYTES_MIN - 3, length: 6 };
    expect(await storage().get(key, middle)).toEqual(bytes.slice(middle.offset, middle.offset + 6));

    const given = await storage().beginParts(`${root}given-up`);
    await given.put(1, bytesOf('x'));
    await given.abort();
    expect(await storage().list(root + 'given')).toEqual([]);
  });

  test('an upload chooses by size, and both ways give the same object', async () => {
    const partBytes = PART_BYTES_MIN;
    for (const size of [0, 1000, partBytes, partBytes + 1, partBytes * 3]) {
      const bytes = someBytes(size);
      await upload(storage(), `${root}upload`, sourceOf(bytes), { partBytes, partsAtOnce: 2 });
      expect(Buffer.compare((await storage().get(`${root}upload`))!, bytes), `${size}`).toBe(0);
    }
  });
}
