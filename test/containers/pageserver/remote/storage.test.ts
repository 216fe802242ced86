import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { FolderStorage } from '../../../../containers/pageserver/remote/folder.ts';
import { MemoryStorage } from '../../../../containers/pageserver/remote/memory.ts';
import { withRetries } from '../../../../containers/pageserver/remote/retry.ts';
import { S3Storage } from '../../../../containers/pageserver/remote/s3.ts';
import { StorageError } from '../../../../containers/pageserver/remote/storage.ts';
import { storageSuite } from './suite.ts';

describe('memory', () => {
  const storage = new MemoryStorage();
  storageSuite(() => storage);
});

describe('folder', () => {
  let root: string;
  let storage: FolderStorage;
  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), 'ebb-storage-'));
    storage = new FolderStorage(root);
  });
  afterAll(() => rm(root, { recursive: true, force: true }));
  storageSuite(() => storage);

  test.each(['', '/a', 'a//b', '../a', 'a/../b', 'a/.'])('refuses the key %j', async (key) => {
    await expect(new FolderStorage(root).put(key, new Uint8Array(1))).rejects.toMatchObject({
      code: 'refused',
    });
  });
});

describe('retries', () => {
  const slept: number[] = [];
  const retried = (storage: MemoryStorage, attemptsMax = 5) =>
    withRetries(storage, {
      attemptsMax,
      delayMs: 100,
      delayMsMax: 250,
      sleep: async (ms) => void slept.push(ms),
      random: () => 1,
    });

  test('an unavailable answer is tried again with growing delays', async () => {
    const storage = new MemoryStorage();
    let failures = 4;
    storage.before = () => {
      if (failures-- > 0) throw new StorageError('unavailable', 'slow down');
    };
    await retried(storage).put('a', new Uint8Array(1));
    expect(storage.objects.size).toBe(1);
    expect(slept).toEqual([100, 200, 250, 250]);
  });
  test('gives up after attemptsMax, and at once when refused', async () => {
    const storage = new MemoryStorage();
    let calls = 0;
    storage.before = () => {
      calls++;
      throw new StorageError('unavailable', 'down');
    };
    await expect(retried(storage, 3).get('a')).rejects.toThrow('down');
    expect(calls).toBe(3);
    storage.before = () => {
      calls++;
      throw new StorageError('refused', 'no');
    };
    await expect(retried(storage).get('a')).rejects.toThrow('no');
    expect(calls).toBe(4);
  });
});

test('S3 that does not answer is unavailable, not a hang or a wrong answer', async () => {
  const storage = new S3Storage({ endpoint: 'http://127.0.0.1:9', bucket: 'ebb' });
  await expect(storage.get('a')).rejects.toMatchObject({ name: 'StorageError', code: 'unavailable' });
});
