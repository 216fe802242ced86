/**
 * What a timeline offers to those that read its state as of one LSN: loading the head after a restart, the
 * boot manifest, a database that is copied file by file.
 */
import type { Lsn } from '../postgres/lsn.ts';
import type { Key, KeyRange } from './key.ts';

export interface StorageView {
  readonly lsn: Lsn;
  /**
   * Start of the last record that ends at or before `lsn`; 0 where there is none. Exact at the head of the timeline
   * (`TimelineState.lastRecordLsn`, which the timeline keeps with its index over a restart); 0 is good enough
   * below it, since only a new timeline can continue from there.
   */
  readonly previousLsn: Lsn;
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
