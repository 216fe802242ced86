/**
 * From versions to content: an older image, if one is needed, and the values since, oldest first.
 *
 * A chain that does not begin where it must, or a record that redo refuses, is an error that names the key:
 * a wrong page is never returned.
 */
import { formatKey, type Key } from './key.ts';
import type { Version } from './value.ts';

export type ReconstructErrorCode =
  /** Neither a base nor a value that starts a chain. */
  | 'noBase'
  /** A value that no version of Ebb wrote. */
  | 'malformed'
  /** Redo refused: an unknown resource manager, or a page that the record does not fit. `cause` says which. */
  | 'redo';

export class ReconstructError extends Error {
  override readonly name = 'ReconstructError';
  readonly code: ReconstructErrorCode;
  constructor(code: ReconstructErrorCode, key: Key, message: string, cause?: unknown) {
    super(`${formatKey(key)}: ${message}`, cause === undefined ? {} : { cause });
    this.code = code;
  }
}

/**
 * The content of `key` after `versions` (ascending LSN). `base`, if not null, is the content before the first of
 * them and is left untouched; it is not needed when the first version starts a chain. Null: absent.
 * Throws ReconstructError.
 */
export type Reconstruct = (
  key: Key,
  base: Uint8Array | null,
  versions: readonly Version[],
) => Uint8Array | null;
