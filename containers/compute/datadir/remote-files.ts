/**
 * The files whose pages come from the pageserver, as a table in shared memory that every thread can search.
 *
 * Built from the BootManifest in one pass: a relation becomes its segment files of 131072 blocks, an SLRU its
 * segments. Nothing is made on disk and no string is kept, so ten thousand relations cost milliseconds.
 *
 *   base/<db>/<rel>[_fsm|_vm|_init][.<segment>]   global/<rel>…   pg_xact/<segment in hexadecimal>   …
 *
 * An unlogged relation has an init fork; its main fork at boot is a copy of that (storage/file/reinit.c), which
 * here means that the main fork's pages are fetched from the init fork; its other forks are absent.
 */
import {
  PAGE_SIZE,
  SLRU_KINDS,
  SLRU_PAGES_PER_SEGMENT,
  type BootManifest,
  type PageRun,
} from '../../../lib/protocol/pages.ts';
import { presenceWords } from './presence.ts';
import { DataDirectoryError } from './types.ts';

/** RELSEG_SIZE of every build that Ebb runs. */
export const SEGMENT_BLOCKS = 131_072;
const DEFAULT_TABLESPACE = 1663;
const GLOBAL_TABLESPACE = 1664;
const FORK_SUFFIX = ['', '_fsm', '_vm', '_init'] as const;
const MAIN_FORK = 0;
const INIT_FORK = 3;

/** What a directory of the mount can hold of remote files: `kind`, and `oid` of the database for DATABASE. */
export const DIRECTORY = { OTHER: 0, BASE: 1, GLOBAL: 2, DATABASE: 3, FIRST_SLRU: 4 } as const;

const FIELDS = 8;
const KIND = 0;
const OID = 1;
const NUMBER = 2;
const FORK = 3;
const SEGMENT = 4;
const BLOCKS = 5;
const PRESENCE = 6;
const FETCH_FORK = 7;

/** What the threads share. */
export interface RemoteFileBuffers {
  count: number;
  files: SharedArrayBuffer;
  hash: SharedArrayBuffer;
  presence: SharedArrayBuffer;
}

interface FileName {
  kind: number;
  oid: number;
  /** Relation number, or the SLRU's segment. */
  number: number;
  fork: number;
  segment: number;
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
    const rows = new Rows(manifest.relations.length + manifest.slrus.length);
    addRelations(rows, manifest);
    addSlrus(rows, manifest);
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
    const row = index * FIELDS;
    const number = this.#files[row + NUMBER];
    if (this.#files[row + KIND] >= DIRECTORY.FIRST_SLRU)
      return number.toString(16).toUpperCase().padStart(4, '0');
    const segment = this.#files[row + SEGMENT];
    return `${number}${FORK_SUFFIX[this.#files[row + FORK]]}${segment > 0 ? `.${segment}` : ''}`;
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
    const files = this.#files;
    const row = index * FIELDS;
    const at = this.#probe({
      kind: files[row + KIND],
      oid: files[row + OID],
      number: files[row + NUMBER],
      fork: files[row + FORK],
      segment: files[row + SEGMENT],
    });
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

/** Of a directory of the mount, relative to the data directory. */
export function directoryPath(kind: number, oid: number): string {
  if (kind === DIRECTORY.GLOBAL) return 'global';
  if (kind === DIRECTORY.DATABASE) return `base/${oid}`;
  return SLRU_KINDS[kind - DIRECTORY.FIRST_SLRU];
}

/** What the directory at `path` (relative to the data directory) can hold of remote files. */
export function directoryKind(path: string): { kind: number; oid: number } {
  if (path === 'base') return { kind: DIRECTORY.BASE, oid: 0 };
  if (path === 'global') return { kind: DIRECTORY.GLOBAL, oid: 0 };
  const slru = SLRU_KINDS.indexOf(path as (typeof SLRU_KINDS)[number]);
  if (slru >= 0) return { kind: DIRECTORY.FIRST_SLRU + slru, oid: 0 };
  const database = /^base\/([1-9]\d{0,9})$/.exec(path);
  if (database !== null) return { kind: DIRECTORY.DATABASE, oid: Number(database[1]) };
  return { kind: DIRECTORY.OTHER, oid: 0 };
}

function parseName(kind: number, oid: number, name: string): FileName | undefined {
  if (kind >= DIRECTORY.FIRST_SLRU) {
    if (!/^[0-9A-F]{4,6}$/.test(name)) return undefined;
    return { kind, oid, number: Number.parseInt(name, 16), fork: 0, segment: 0 };
  }
  if (kind !== DIRECTORY.GLOBAL && kind !== DIRECTORY.DATABASE) return undefined;
  const match = /^([1-9]\d{0,9})(_fsm|_vm|_init)?(?:\.([1-9]\d{0,5}))?$/.exec(name);
  if (match === null) return undefined;
  const fork = FORK_SUFFIX.indexOf((match[2] ?? '') as (typeof FORK_SUFFIX)[number]);
  return { kind, oid, number: Number(match[1]), fork, segment: Number(match[3] ?? 0) };
}

/** The table while it is made: a relation of several gigabytes has more rows than one. */
class Rows {
  count = 0;
  presenceWords = 0;
  #words: Uint32Array<ArrayBuffer>;

  constructor(countHint: number) {
    this.#words = new Uint32Array((countHint + 1) * FIELDS);
  }
  add(
    kind: number,
    oid: number,
    number: number,
    fork: number,
    segment: number,
    blocks: number,
    from = fork,
  ): void {
    const at = this.count++ * FIELDS;
    if (at === this.#words.length) {
      const larger = new Uint32Array(this.#words.length * 2);
      larger.set(this.#words);
      this.#words = larger;
    }
    const words = this.#words;
    words[at + KIND] = kind;
    words[at + OID] = oid;
    words[at + NUMBER] = number;
    words[at + FORK] = fork;
    words[at + SEGMENT] = segment;
    words[at + BLOCKS] = blocks;
    words[at + PRESENCE] = this.presenceWords;
    words[at + FETCH_FORK] = from;
    this.presenceWords += presenceWords(blocks);
  }
  shared(): SharedArrayBuffer {
    const used = this.#words.subarray(0, Math.max(this.count, 1) * FIELDS);
    const shared = new SharedArrayBuffer(used.byteLength);
    new Uint32Array(shared).set(used);
    return shared;
  }
}

function addRelations(rows: Rows, { relations }: BootManifest): void {
  // Relation numbers are unique within a database; two databases that share one only cost a closer look.
  const initForks = new Map<string, number>();
  const unloggedNumbers = new Set<number>();
  for (const [, db, rel, fork, blocks] of relations) {
    if (fork !== INIT_FORK) continue;
    initForks.set(`${db}/${rel}`, blocks);
    unloggedNumbers.add(rel);
  }
  for (const [spc, db, rel, fork, blocks] of relations) {
    checkRelation(spc, db, fork, blocks);
    const isUnlogged = unloggedNumbers.has(rel) && initForks.has(`${db}/${rel}`);
    if (isUnlogged && fork !== INIT_FORK) continue;
    const kind = spc === GLOBAL_TABLESPACE ? DIRECTORY.GLOBAL : DIRECTORY.DATABASE;
    let segment = 0;
    do {
      const blocksHere = Math.min(SEGMENT_BLOCKS, blocks - segment * SEGMENT_BLOCKS);
      rows.add(kind, db, rel, fork, segment, blocksHere);
      if (isUnlogged) rows.add(kind, db, rel, MAIN_FORK, segment, blocksHere, INIT_FORK);
      segment++;
    } while (segment * SEGMENT_BLOCKS < blocks);
  }
}

function checkRelation(spc: number, db: number, fork: number, blocks: number): void {
  const placed = spc === GLOBAL_TABLESPACE ? db === 0 : spc === DEFAULT_TABLESPACE && db > 0;
  const countable = Number.isInteger(blocks) && blocks >= 0 && blocks < 0xffff_ffff;
  if (!placed || !countable || FORK_SUFFIX[fork] === undefined)
    throw new DataDirectoryError(
      'content',
      `the manifest has a relation in tablespace ${spc}, database ${db}, fork ${fork}, of ${blocks} blocks`,
    );
}

function addSlrus(rows: Rows, { slrus }: BootManifest): void {
  for (const { kind, segment, blocks } of slrus) {
    const index = SLRU_KINDS.indexOf(kind);
    if (index < 0 || !Number.isInteger(blocks) || blocks < 0 || blocks > SLRU_PAGES_PER_SEGMENT)
      throw new DataDirectoryError(
        'content',
        `the manifest has ${kind} segment ${segment} of ${blocks} blocks`,
      );
    rows.add(DIRECTORY.FIRST_SLRU + index, 0, segment, 0, 0, blocks);
  }
}
