/**
 * Puts an object of any size with bounded memory: in one request when it is small, else in parts, a few of them at a time,
 * each of which is retried for itself. A part is small enough for a Worker to let it pass.
 */
import type { ObjectStorage } from './storage.ts';

export interface ObjectSource {
  size: number;
  read(offset: number, length: number): Promise<Uint8Array>;
}

export interface UploadOptions {
  partBytes: number;
  partsAtOnce: number;
}
const DEFAULTS: UploadOptions = { partBytes: 8 << 20, partsAtOnce: 3 };

/** Throws StorageError, and what the source throws. The object is there when it resolves. */
export async function upload(
  storage: ObjectStorage,
  key: string,
  source: ObjectSource,
  { partBytes, partsAtOnce } = DEFAULTS,
): Promise<void> {
  if (source.size <= partBytes) {
    await storage.put(key, await source.read(0, source.size));
    return;
  }
  const parts = await storage.beginParts(key);
  const count = Math.ceil(source.size / partBytes);
  const waiting = Array.from({ length: count }, (_, at) => at);
  const putSome = async (): Promise<void> => {
    for (let at = waiting.shift(); at !== undefined; at = waiting.shift()) {
      const offset = at * partBytes;
      await parts.put(at + 1, await source.read(offset, Math.min(partBytes, source.size - offset)));
    }
  };
  try {
    const workers = Array.from({ length: partsAtOnce }, () =>
      putSome().catch((error: unknown) => {
        waiting.length = 0;
        throw error;
      }),
    );
    for (const ended of await Promise.allSettled(workers))
      if (ended.status === 'rejected') throw ended.reason;
    await parts.complete();
  } catch (error) {
    // Storage that is down cannot be told either; a bucket forgets unfinished uploads by itself (docs/DEPLOY.md).
    await parts.abort().catch(() => undefined);
    throw error;
  }
}
