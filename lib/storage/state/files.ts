/**
 * The files of a timeline at its head: every relation fork and SLRU segment with its number of blocks.
 *
 * WAL does not log that a file grows; a block reference beyond the end says so. Blocks in between come into
 * being as zeros, and so does a block that comes back after a truncation, whatever older versions it has. What
 * a record does to sizes is collected and emitted once at its end, so a key has one value per LSN.
 */
import {
  databaseSizesRange,
  pagePrefixOfSize,
  parseKey,
  relationSizeKey,
  slruSegmentKey,
  KEY_KIND,
  keyKind,
  type Key,
  type RelationFork,
} from '../key.ts';
import type { SlruKind } from '../../protocol/pages.ts';
import { encodeOperation } from '../page-operation.ts';
import { ABSENT, emitPage, sizeValue, type Emit } from '../value.ts';

/** A fork or a segment. Holders of one across records must not: a dropped file's object is forgotten. */
export interface FileState {
  readonly sizeKey: Key;
  readonly pagePrefix: string;
  /** -1: the file does not exist. */
  blocks: number;
  changed: boolean;
}
interface CachedFork extends RelationFork {
  file: FileState;
}

const ZERO_PAGE = encodeOperation({ kind: 'zero' }, true);
const CACHE_SLOTS = 512;

export class FileTable {
  readonly #files = new Map<Key, FileState>();
  readonly #changed: FileState[] = [];
  /** Direct-mapped: the same few relations follow each other in WAL, and key strings cost more than a compare. */
  readonly #cache: (CachedFork | undefined)[] = Array.from({ length: CACHE_SLOTS });

  /** The file of a size key, existing or not. */
  file(sizeKey: Key): FileState {
    let file = this.#files.get(sizeKey);
    if (file === undefined) {
      file = { sizeKey, pagePrefix: pagePrefixOfSize(sizeKey), blocks: -1, changed: false };
      this.#files.set(sizeKey, file);
    }
    return file;
  }
  fork(of: RelationFork, fork = of.fork): FileState {
    const { spcOid, dbOid, relNumber } = of;
    const slot = (relNumber ^ (fork << 7) ^ (dbOid << 3)) & (CACHE_SLOTS - 1);
    const cached = this.#cache[slot];
    if (
      cached !== undefined &&
      cached.relNumber === relNumber &&
      cached.fork === fork &&
      cached.dbOid === dbOid &&
      cached.spcOid === spcOid
    ) {
      return cached.file;
    }
    const file = this.file(relationSizeKey({ spcOid, dbOid, relNumber, fork }));
    this.#cache[slot] = { spcOid, dbOid, relNumber, fork, file };
    return file;
  }
  segment(slru: SlruKind, segment: number): FileState {
    return this.file(slruSegmentKey(slru, segment));
  }

  /** Sets a size without emitting it: what was loaded. */
  load(sizeKey: Key, blocks: number): void {
    this.file(sizeKey).blocks = blocks;
  }
  /** Existing files in no order. */
  *existing(): Iterable<FileState> {
    for (const file of this.#files.values()) if (file.blocks >= 0) yield file;
  }
  /** Existing forks of one database's relations. */
  *ofDatabase(spcOid: number, dbOid: number): Iterable<FileState> {
    const { first, last } = databaseSizesRange(spcOid, dbOid);
    for (const file of this.existing()) if (file.sizeKey >= first && file.sizeKey <= last) yield file;
  }
  /** Existing segments of one SLRU. */
  *segments(slru: SlruKind): Iterable<{ file: FileState; segment: number }> {
    for (const file of this.existing()) {
      if (keyKind(file.sizeKey) !== KEY_KIND.slruSegment) continue;
      const parts = parseKey(file.sizeKey);
      if (parts.kind === 'slruSegment' && parts.slru === slru) yield { file, segment: parts.segment };
    }
  }

  /** Sets the size without a word on what the blocks hold: the caller emits each. */
  resize(file: FileState, blocks: number): void {
    file.blocks = blocks;
    if (file.changed) return;
    file.changed = true;
    this.#changed.push(file);
  }
  /** Makes an empty file unless there is one. */
  create(file: FileState): void {
    if (file.blocks < 0) this.resize(file, 0);
  }
  /**
   * Makes sure that `block` exists. True when it did not: then its value must start a chain, and blocks between the
   * old end and it have become zeros.
   */
  extendOver(file: FileState, block: number, emit: Emit): boolean {
    if (block < file.blocks) return false;
    for (let between = Math.max(file.blocks, 0); between < block; between++) {
      emitPage(emit, file.pagePrefix, between, ZERO_PAGE);
    }
    this.resize(file, block + 1);
    return true;
  }
  /** Cuts the file to at most `blocks`; one that does not exist stays so. */
  truncate(file: FileState, blocks: number): void {
    if (file.blocks > blocks) this.resize(file, blocks);
  }
  /** A file that had gained blocks in this same record must not be dropped or cut: no record does that. */
  drop(file: FileState): void {
    if (file.blocks >= 0) this.resize(file, -1);
  }
  /** Emits the sizes that changed since the last call. */
  emitChanged(emit: Emit): void {
    for (const file of this.#changed) {
      file.changed = false;
      emit(file.sizeKey, file.blocks < 0 ? ABSENT : sizeValue(file.blocks));
      if (file.blocks < 0) this.#forget(file);
    }
    this.#changed.length = 0;
  }
  #forget(file: FileState): void {
    this.#files.delete(file.sizeKey);
    const slot = this.#cache.findIndex((cached) => cached?.file === file);
    if (slot >= 0) this.#cache[slot] = undefined;
  }
}
