/**
 * Retries over object storage: what is `unavailable` or `throttled` is tried again with exponential backoff and full jitter
 * until `attemptsMax` or until the signal aborts; every other failure is passed on at once.
 *
 * An attempt that was not answered may have taken effect, so a conditional put that is tried again can meet what it put
 * itself: it is then a `conflict` like any other. `putOnce` tells the two apart.
 */
import {
  StorageError,
  type ObjectStorage,
  type PartsUpload,
  type PutCondition,
  type TaggedObject,
} from './storage.ts';

export interface RetryOptions {
  attemptsMax: number;
  /** First delay; it doubles up to `delayMsMax`. The delay used is random below that. */
  delayMs: number;
  delayMsMax: number;
  /** Waits; rejects when the pageserver stops. */
  sleep: (ms: number) => Promise<void>;
  random?: () => number;
  /** Told of every failure that is retried. */
  onRetry?: (error: StorageError, operation: string) => void;
}

export function withRetries(storage: ObjectStorage, options: RetryOptions): ObjectStorage {
  const random = options.random ?? Math.random;
  const attempt = async <T>(operation: string, request: () => Promise<T>): Promise<T> => {
    for (let tried = 1; ; tried++) {
      try {
        return await request();
      } catch (error) {
        const retryable = error instanceof StorageError && error.isRetryable;
        if (!retryable || tried >= options.attemptsMax) throw error;
        options.onRetry?.(error, operation);
        await options.sleep(random() * Math.min(options.delayMs * 2 ** (tried - 1), options.delayMsMax));
      }
    }
  };
  const retriedParts = (parts: PartsUpload): PartsUpload => ({
    put: (number, bytes) => attempt('put', () => parts.put(number, bytes)),
    complete: () => attempt('put', () => parts.complete()),
    abort: () => attempt('delete', () => parts.abort()),
  });
  return {
    put: (key, bytes, condition) => attempt('put', () => storage.put(key, bytes, condition)),
    get: (key, range) => attempt('get', () => storage.get(key, range)),
    getTagged: (key) => attempt('get', () => storage.getTagged(key)),
    list: (prefix) => attempt('list', () => storage.list(prefix)),
    delete: (keys) => attempt('delete', () => storage.delete(keys)),
    beginParts: async (key) => retriedParts(await attempt('put', () => storage.beginParts(key))),
  };
}

/**
 * A conditional put that may meet its own earlier attempt: a conflict with an object of the very same bytes is success. For
 * objects whose bytes nobody else would put. Resolves to the tag, or to what is there instead.
 */
export async function putOnce(
  storage: ObjectStorage,
  key: string,
  bytes: Uint8Array,
  condition: PutCondition,
): Promise<{ tag: string } | { conflict: TaggedObject | null }> {
  try {
    return { tag: await storage.put(key, bytes, condition) };
  } catch (error) {
    if (!(error instanceof StorageError) || error.code !== 'conflict') throw error;
    const found = await storage.getTagged(key);
    if (found !== null && Buffer.compare(found.bytes, bytes) === 0) return { tag: found.tag };
    return { conflict: found };
  }
}
