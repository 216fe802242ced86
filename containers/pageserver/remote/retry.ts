/**
 * Retries over object storage: an `unavailable` answer is tried again with exponential backoff and full jitter until
 * `attemptsMax` or until the signal aborts; every other failure is passed on at once.
 */
import { StorageError, type ByteRange, type ObjectStorage } from './storage.ts';

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
        const retryable = error instanceof StorageError && error.code === 'unavailable';
        if (!retryable || tried >= options.attemptsMax) throw error;
        options.onRetry?.(error, operation);
        await options.sleep(random() * Math.min(options.delayMs * 2 ** (tried - 1), options.delayMsMax));
      }
    }
  };
  return {
    put: (key: string, bytes: Uint8Array) => attempt('put', () => storage.put(key, bytes)),
    get: (key: string, range?: ByteRange) => attempt('get', () => storage.get(key, range)),
    list: (prefix: string) => attempt('list', () => storage.list(prefix)),
    delete: (keys: readonly string[]) => attempt('delete', () => storage.delete(keys)),
  };
}
