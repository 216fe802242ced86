/**
 * What a timeline offers to those that read its state as of one LSN: loading the head after a restart, the
 * boot manifest, a database that is copied file by file.
 */
import type { Lsn } from '../postgres/lsn.ts';
import type { Key, KeyRange } from './key.ts';

export interface StorageView {
  readonly lsn: Lsn;
  /**
   * The content (page, file, size; without the value's tag) of `key` as of `lsn`; null when it has none or is absent.
   * For a page key the caller has made sure that the block is within its fork.
   */
  get(key: Key): Promise<Uint8Array | null>;
  /**
   * All keys of `range` that are there as of `lsn`, in key order. Only asked for kinds whose every value is an
   * image or absent: databases, relation maps, two-phase files, SLRU segments, relation sizes.
   */
  scan(range: KeyRange): AsyncIterable<{ key: Key; content: Uint8Array }>;
}
