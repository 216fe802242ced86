/** What every implementation of the storage port must do. */
import { expect, test } from 'vitest';
import { StorageError, type ObjectStorage } from '../../../../containers/pageserver/remote/storage.ts';

const bytesOf = (text: string) => new TextEncoder().encode(text);
const textOf = (bytes: Uint8Array | null) => bytes && new TextDecoder().decode(bytes);

export function storageSuite(storage: () => ObjectStorage): void {
  test('what was put is read whole, in ranges, and replaced', async () => {
    await storage().put('projects/p/layers/a', bytesOf('0123456789'));
    expect(textOf(await storage().get('projects/p/layers/a'))).toBe('0123456789');
    expect(textOf(await storage().get('projects/p/layers/a', { offset: 3, length: 4 }))).toBe('3456');
    await storage().put('projects/p/layers/a', bytesOf('other'));
    expect(textOf(await storage().get('projects/p/layers/a'))).toBe('other');
    await storage().put('projects/p/layers/empty', new Uint8Array(0));
    expect(textOf(await storage().get('projects/p/layers/empty'))).toBe('');
  });

  test('a large object comes back byte for byte', async () => {
    const large = Uint8Array.from({ length: 3 << 20 }, (_, i) => (i * 2654435761) >>> 24);
    await storage().put('large', large);
    expect(Buffer.compare((await storage().get('large'))!, large)).toBe(0);
    const tail = await storage().get('large', { offset: large.length - 5, length: 5 });
    expect(tail).toEqual(large.slice(-5));
  });

  test('a key that is not there is null; a range beyond the end is an error', async () => {
    expect(await storage().get('none')).toBeNull();
    expect(await storage().get('none', { offset: 0, length: 1 })).toBeNull();
    await storage().put('short', bytesOf('abc'));
    await expect(storage().get('short', { offset: 2, length: 5 })).rejects.toBeInstanceOf(StorageError);
  });

  test('lists by prefix in order, across pages of the listing, and deletes', async () => {
    const names = Array.from({ length: 25 }, (_, i) => `projects/q/layers/t/${String(i).padStart(4, '0')}`);
    for (const name of names.toReversed()) await storage().put(name, bytesOf(name));
    await storage().put('projects/r/layers/t/x', bytesOf('x'));
    expect(await storage().list('projects/q/layers/')).toEqual(names);
    expect(await storage().list('projects/q/layers/t/000')).toEqual(names.slice(0, 10));
    expect(await storage().list('nothing/')).toEqual([]);
    await storage().delete([...names.slice(1), 'projects/q/layers/t/absent']);
    expect(await storage().list('projects/q/')).toEqual(names.slice(0, 1));
    await storage().delete([]);
  });
}
