/** Object storage with each attempt counted and timed: below the retries, so that what they hide is seen. */
import type { Metrics } from '../metrics/metrics.ts';
import { StorageError, type ObjectStorage, type PartsUpload } from './storage.ts';

export function measured(storage: ObjectStorage, metrics: Metrics): ObjectStorage {
  async function timed<T>(operation: string, request: () => Promise<T>): Promise<T> {
    const startedAt = performance.now();
    let outcome = 'ok';
    try {
      return await request();
    } catch (error) {
      outcome = error instanceof StorageError ? error.code : 'malformed';
      throw error;
    } finally {
      metrics.storageRequests.inc(1, { operation, outcome });
      metrics.storageRequestSeconds.observe((performance.now() - startedAt) / 1000, { operation });
    }
  }
  const measuredParts = (parts: PartsUpload): PartsUpload => ({
    put: async (number, bytes) => {
      await timed('putPart', () => parts.put(number, bytes));
      metrics.storageSentBytes.inc(bytes.length);
    },
    complete: () => timed('completeParts', () => parts.complete()),
    abort: () => timed('abortParts', () => parts.abort()),
  });
  return {
    put: async (key, bytes, condition) => {
      const tag = await timed('put', () => storage.put(key, bytes, condition));
      metrics.storageSentBytes.inc(bytes.length);
      return tag;
    },
    get: async (key, range) => {
      const bytes = await timed('get', () => storage.get(key, range));
      metrics.storageReceivedBytes.inc(bytes?.length ?? 0);
      return bytes;
    },
    getTagged: async (key) => {
      const object = await timed('get', () => storage.getTagged(key));
      metrics.storageReceivedBytes.inc(object?.bytes.length ?? 0);
      return object;
    },
    list: (prefix) => timed('list', () => storage.list(prefix)),
    delete: (keys) => timed('delete', () => storage.delete(keys)),
    beginParts: async (key) => measuredParts(await timed('beginParts', () => storage.beginParts(key))),
  };
}
