/**
 * The manifest's relations and SLRUs as rows of a table, one for each file, made in one pass.
 *
 * An unlogged relation has an init fork; its main fork at boot is a copy of that (storage/file/reinit.c), which here
 * means that the main fork's pages are fetched from the init fork; its other forks are absent.
 */
import { SLRU_KINDS, SLRU_PAGES_PER_SEGMENT, type BootManifest } from '../../../lib/protocol/pages.ts';
import { DIRECTORY, FORK_SUFFIX } from './file-names.ts';
import { presenceWords } from './presence.ts';
import { DataDirectoryError } from './types.ts';

/** RELSEG_SIZE of every build that Ebb runs. */
export const SEGMENT_BLOCKS = 131_072;
export const DEFAULT_TABLESPACE = 1663;
export const GLOBAL_TABLESPACE = 1664;
const MAIN_FORK = 0;
const INIT_FORK = 3;

/** Words of a row. NUMBER: the relation's, or the SLRU segment's. PRESENCE: where its bits start. */
export const FIELDS = 8;
export const KIND = 0;
export const OID = 1;
export const NUMBER = 2;
export const FORK = 3;
export const SEGMENT = 4;
export const BLOCKS = 5;
export const PRESENCE = 6;
/** The fork that its pages are fetched from. */
export const FETCH_FORK = 7;

/** Throws DataDirectoryError `content` for what no manifest can say. */
export function manifestRows(manifest: BootManifest): Rows {
  const rows = new Rows(manifest.relations.length + manifest.slrus.length);
  addRelations(rows, manifest);
  addSlrus(rows, manifest);
  return rows;
}

/** Grows as it is made: a relation of several gigabytes has more rows than one. */
export class Rows {
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
