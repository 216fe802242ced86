/**
 * Object storage, as the pageserver needs it: whole objects that are put once, ranges of them, names under a prefix.
 *
 * One port with three implementations that share a test suite: S3 (s3.ts; Cloudflare R2 in production and
 * locally), a folder (folder.ts) and memory (memory.ts). A put is atomic: a reader sees all of an object or none
 * of it. What was put is listed and read at once by everybody (R2 is strongly consistent).
 * Retries are a layer of their own (retry.ts), so that each implementation says plainly what happened.
 */

/**
 * `unavailable`: did not answer, or asked to slow down; a retry can help.
 * `refused`: understood and rejected (credentials, a key outside the project); a retry cannot help.
 * `malformed`: the answer is not what was asked for.
 */
export type StorageErrorCode = 'unavailable' | 'refused' | 'malformed';

export class StorageError extends Error {
  override readonly name = 'StorageError';
  readonly code: StorageErrorCode;
  constructor(code: StorageErrorCode, message: string, cause?: unknown) {
    super(message, { cause });
    this.code = code;
  }
}

/** Bytes `[offset, offset + length)` of an object. */
export interface ByteRange {
  offset: number;
  length: number;
}

export interface ObjectStorage {
  /** Puts a whole object, in place of an older one of that key. Durable when it resolves. */
  put(key: string, bytes: Uint8Array): Promise<void>;
  /** The object, or a range within its bounds; null when there is no such object. */
  get(key: string, range?: ByteRange): Promise<Uint8Array | null>;
  /** Keys that begin with `prefix`, ascending. */
  list(prefix: string): Promise<string[]>;
  /** Deletes; a key that does not exist is no error. */
  delete(keys: readonly string[]): Promise<void>;
}
