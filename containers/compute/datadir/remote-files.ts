/**
 * The files whose pages come from the pageserver, as a table in shared memory that every thread can search.
 *
 * Built from the BootManifest in one pass: a relation becomes its segment files of 131072 blocks, an SLRU its
 * segments. Nothing is made on disk and no string is kept, so ten thousand relations cost milliseconds.
 */
import { PAGE_SIZE, SLRU_KINDS, type BootManifest, type PageRun } from '../../../lib/protocol/pages.ts';
import { DIRECTORY, directoryPath, formatName, parseName, type FileName } from './file-names.ts';
import {
  BLOCKS,
  DEFAULT_TABLESPACE,
  FETCH_FORK,
  FIELDS,
  FORK,
  GLOBAL_TABLESPACE,
  KIND,
  manifestRows,
  NUMBER,
  OID,
  PRESENCE,
  SEGMENT,
  SEGMENT_BLOCKS,
} from './manifest-rows.ts';
import { DataDirectoryError } from './types.ts';

/** What the threads share. */
export interface RemoteFileBuffers {
  count: number;
  files: SharedArrayBuffer;
  hash: SharedArrayBuffer;
  presence: SharedArrayBuffer;
}

export class RemoteFiles {
  readonly buffers: RemoteFileBuffers;
  readonly count: number;
  readonly #files: Uint32Array;
  readonly #hash: Uint32Array;

  constructor(buffers: RemoteFileBuffers) {
    this.buffers = buffers;
    this.count = buffers.count;
    this.#files = new Uint32Array(buffers.files);
    this.#hash = new Uint32Array(buffers.hash);
  }

  /** Throws DataDirectoryError `content` for a manifest that contradicts itself. */
  static build(manifest: BootManifest): RemoteFiles {
    const rows = manifestRows(manifest);
    const hashSize = 2 ** Math.ceil(Math.log2(rows.count * 2 + 2));
    const built = new RemoteFiles({
      count: rows.count,
      files: rows.shared(),
      hash: new SharedArrayBuffer(hashSize * 4),
      presence: new SharedArrayBuffer(Math.max(rows.presenceWords, 1) * 4),
    });
    for (let index = 0; index < built.count; index++) built.#insert(index);
    return built;
  }

  /** The file of that name in a directory; -1 where none was at the boot LSN. */
  find(kind: number, oid: number, name: string): number {
    const file = parseName(kind, oid, name);
    if (file === undefined) return -1;
    const at = this.#probe(file);
    return this.#hash[at] - 1;
  }

  blocks(index: number): number {
    return this.#files[index * FIELDS + BLOCKS];
  }
  size(index: number): number {
    return this.blocks(index) * PAGE_SIZE;
  }
  /** Where its bits start among the presence words. */
  presenceStart(index: number): number {
    return this.#files[index * FIELDS + PRESENCE];
  }
  kind(index: number): number {
    return this.#files[index * FIELDS + KIND];
  }
  oid(index: number): number {
    return this.#files[index * FIELDS + OID];
  }

  name(index: number): string {
    return formatName(this.#fileName(index));
  }
  #fileName(index: number): FileName {
    const files = this.#files;
    const row = index * FIELDS;
    return {
      kind: files[row + KIND],
      oid: files[row + OID],
      number: files[row + NUMBER],
      fork: files[row + FORK],
      segment: files[row + SEGMENT],
    };
  }
  /** Relative to the data directory. */
  path(index: number): string {
    return `${directoryPath(this.kind(index), this.oid(index))}/${this.name(index)}`;
  }

  /** How the pageserver knows `count` blocks of the file from its block `block` on. */
  run(index: number, block: number, count: number): PageRun {
    const row = index * FIELDS;
    const kind = this.#files[row + KIND];
    if (kind >= DIRECTORY.FIRST_SLRU) {
      const slru = SLRU_KINDS[kind - DIRECTORY.FIRST_SLRU];
      return { kind: 'slru', slru, segment: this.#files[row + NUMBER], block, count };
    }
    return {
      kind: 'relation',
      spcOid: kind === DIRECTORY.GLOBAL ? GLOBAL_TABLESPACE : DEFAULT_TABLESPACE,
      dbOid: this.#files[row + OID],
      relNumber: this.#files[row + NUMBER],
      fork: this.#files[row + FETCH_FORK],
      block: this.#files[row + SEGMENT] * SEGMENT_BLOCKS + block,
      count,
    };
  }

  /** The reverse of `run`: the blocks of a run that exist here, by file. An unknown file gives nothing. */
  locate(run: PageRun): { index: number; block: number; count: number } | undefined {
    const file: FileName =
      run.kind === 'slru'
        ? {
            kind: DIRECTORY.FIRST_SLRU + SLRU_KINDS.indexOf(run.slru),
            oid: 0,
            number: run.segment,
            fork: 0,
            segment: 0,
          }
        : {
            kind: run.spcOid === GLOBAL_TABLESPACE ? DIRECTORY.GLOBAL : DIRECTORY.DATABASE,
            oid: run.dbOid,
            number: run.relNumber,
            fork: run.fork,
            segment: Math.floor(run.block / SEGMENT_BLOCKS),
          };
    const index = this.#hash[this.#probe(file)] - 1;
    if (index < 0) return undefined;
    const block = run.kind === 'slru' ? run.block : run.block % SEGMENT_BLOCKS;
    const count = Math.min(run.count, this.blocks(index) - block);
    return count > 0 ? { index, block, count } : undefined;
  }

  #insert(index: number): void {
    const at = this.#probe(this.#fileName(index));
    if (this.#hash[at] !== 0)
      throw new DataDirectoryError('content', `the manifest names ${this.path(index)} twice`);
    this.#hash[at] = index + 1;
  }

  /** The place of that file in the hash, or the free place where it would go. */
  #probe(file: FileName): number {
    const sizeMask = this.#hash.length - 1;
    let at = hashOf(file) & sizeMask;
    for (; this.#hash[at] !== 0; at = (at + 1) & sizeMask) {
      const row = (this.#hash[at] - 1) * FIELDS;
      if (
        this.#files[row + NUMBER] === file.number &&
        this.#files[row + FORK] === file.fork &&
        this.#files[row + SEGMENT] === file.segment &&
        this.#files[row + OID] === file.oid &&
        this.#files[row + KIND] === file.kind
      )
        break;
    }
    return at;
  }
}

function hashOf({ kind, oid, number, fork, segment }: FileName): number {
  let hash = Math.imul(number, 0x9e37_79b1) ^ Math.imul(oid + kind, 0x85eb_ca6b);
  hash = Math.imul(hash ^ (segment * 4 + fork), 0xc2b2_ae35);
  return (hash ^ (hash >>> 15)) >>> 0;
}
