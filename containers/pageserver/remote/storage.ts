/**
 * Object storage, as the pageserver needs it: whole objects, ranges of them, names under a prefix.
 *
 * One port with three implementations that share a test suite: S3 (s3.ts; Cloudflare R2 in production and
 * locally), a folder (folder.ts) and memory (memory.ts). A put is atomic: a reader sees all of an object or none
 * of it. What was put is listed and read at once by everybody (R2 is strongly consistent).
 * Retries (retry.ts), faults (faults.ts) and counting (measured.ts) are layers of their own, so that each implementation says
 * plainly what happened.
 */

/**
 * `unavailable`: did not answer, or could not; whether the request took effect is not known. A retry can help.
 * `throttled`: asked to slow down, and did nothing. A retry can help.
 * `conflict`: the condition of a put does not hold; nothing was changed.
 * `refused`: understood and rejected (credentials, a key outside the project); a retry cannot help.
 * `malformed`: the answer is not what was asked for.
 */
export type StorageErrorCode = 'unavailable' | 'throttled' | 'conflict' | 'refused' | 'malformed';

export class StorageError extends Error {
  override readonly name = 'StorageError';
  readonly code: StorageErrorCode;
  constructor(code: StorageErrorCode, message: string, cause?: unknown) {
    super(message, { cause });
    this.code = code;
  }
  get isRetryable(): boolean {
    return this.code === 'unavailable' || this.code === 'throttled';
  }
}

/** The code for an HTTP status of S3; `status` is undefined where there was no answer. */
export function codeOfStatus(status: number | undefined): StorageErrorCode {
  if (status === 412) return 'conflict';
  if (status === 429 || status === 503) return 'throttled'; // SlowDown, TooManyRequests
  // 409: another conditional put of the key is under way; S3 asks for a retry.
  if (status === undefined || status >= 500 || [408, 409, 425].includes(status)) return 'unavailable';
  return 'refused';
}

/** Bytes `[offset, offset + length)` of an object. */
export interface ByteRange {
  offset: number;
  length: number;
}

/** What a put wants to find: no object of the key, or the one that has this tag. */
export type PutCondition = { absent: true } | { tag: string };

/** Changes whenever the bytes of an object do (S3's ETag). */
export interface TaggedObject {
  bytes: Uint8Array;
  tag: string;
}

/** An object that is put in parts: none of it is there before `complete`. */
export interface PartsUpload {
  /** Parts are numbered from 1 and may come in any order, beside each other; all but the last have one size. */
  put(number: number, bytes: Uint8Array): Promise<void>;
  /** Makes the object, in place of an older one, of the parts in the order of their numbers. */
  complete(): Promise<void>;
  /** Forgets the parts. */
  abort(): Promise<void>;
}

/** Parts smaller than this are refused by S3, but for the last. */
export const PART_BYTES_MIN = 5 << 20;

export interface ObjectStorage {
  /** Puts a whole object, in place of an older one of that key. Durable when it resolves, with its tag. */
  put(key: string, bytes: Uint8Array, condition?: PutCondition): Promise<string>;
  /** The object, or a range within its bounds; null when there is no such object. */
  get(key: string, range?: ByteRange): Promise<Uint8Array | null>;
  /** The object with its tag; null when there is none. */
  getTagged(key: string): Promise<TaggedObject | null>;
  /** Keys that begin with `prefix`, ascending. */
  list(prefix: string): Promise<string[]>;
  /** Deletes; a key that does not exist is no error. */
  delete(keys: readonly string[]): Promise<void>;
  beginParts(key: string): Promise<PartsUpload>;
}
