/**
 * The key: what a stored value is a value of. A relation page for the most part; the other kinds are all else
 * that a data directory at an LSN is made of.
 *
 *   byte  0     kind (KEY_KIND)
 *         1-4   a          relation kinds: tablespace OID; SLRU kinds: index into SLRU_KINDS; two-phase: epoch
 *         5-8   b          relation kinds: database OID (0 for shared); SLRU kinds: segment; two-phase: xid
 *         9-12  c          relation kinds: relfilenumber
 *        13     fork       relation kinds: 0 main, 1 fsm, 2 vm, 3 init
 *        14-17  block      page kinds: block of the fork; block within the SLRU segment
 *
 * All numbers big-endian, unused ones zero. A `Key` is a string of these 18 bytes, one character (0 to 255)
 * each: it is at once the Map key, the sort key (`<` on strings is the order of the bytes) and, by `keyBytes`,
 * the form in layer files. The blocks of a fork are adjacent and in order, so are the forks of a relation and
 * the relations of a database.
 */
import { SLRU_KINDS, type SlruKind } from '../protocol/pages.ts';

declare const keyBrand: unique symbol;
export type Key = string & { readonly [keyBrand]: true };

export const KEY_BYTES = 18;

export const KEY_KIND = {
  /** The newest time that a commit record has given up to the LSN: i64 LE, microseconds since 2000 (TimestampTz). */
  commitTime: 0,
  /** The CheckPoint fields as of the LSN: 88 bytes (catalog/pg_control.h). */
  checkpoint: 1,
  /** pg_control, 8192 bytes: the template's, with later parameter changes. */
  controlFile: 2,
  /** pg_filenode.map of (a tablespace, b database), whole. */
  relationMap: 3,
  /** A database directory (a tablespace, b database); the value is empty: there or absent. */
  database: 4,
  /** pg_twophase file of (a epoch, b xid), whole. */
  twoPhase: 5,
  /** Segment (a SLRU, b segment): u32 LE, its number of blocks. */
  slruSegment: 6,
  /** Fork (a, b, c, fork): u32 LE, its number of blocks. Absent: the file does not exist. */
  relationSize: 7,
  slruPage: 8,
  relationPage: 9,
} as const;
export type KeyKind = keyof typeof KEY_KIND;

export const FORK = { main: 0, fsm: 1, vm: 2, init: 3 } as const;
export const FORK_NAMES = ['main', 'fsm', 'vm', 'init'] as const;

/** RelFileLocator. */
export interface Relation {
  spcOid: number;
  dbOid: number;
  relNumber: number;
}
export interface RelationFork extends Relation {
  fork: number;
}
/** A key taken apart. */
export type KeyParts =
  | { kind: 'commitTime' | 'checkpoint' | 'controlFile' }
  | { kind: 'relationMap'; spcOid: number; dbOid: number }
  | { kind: 'database'; spcOid: number; dbOid: number }
  | { kind: 'twoPhase'; epoch: number; xid: number }
  | { kind: 'slruSegment'; slru: SlruKind; segment: number }
  | ({ kind: 'relationSize' } & RelationFork)
  | { kind: 'slruPage'; slru: SlruKind; segment: number; block: number }
  | ({ kind: 'relationPage'; block: number } & RelationFork);

/** Both ends belong to the range. */
export interface KeyRange {
  first: Key;
  last: Key;
}

const quad = (value: number): string =>
  String.fromCharCode(value >>> 24, (value >>> 16) & 0xff, (value >>> 8) & 0xff, value & 0xff);
const key = (kind: number, a = 0, b = 0, c = 0, fork = 0, block = 0): Key =>
  (String.fromCharCode(kind) + quad(a) + quad(b) + quad(c) + String.fromCharCode(fork) + quad(block)) as Key;

export const COMMIT_TIME_KEY = key(KEY_KIND.commitTime);
export const CHECKPOINT_KEY = key(KEY_KIND.checkpoint);
export const CONTROL_FILE_KEY = key(KEY_KIND.controlFile);
export const relationMapKey = (spcOid: number, dbOid: number): Key =>
  key(KEY_KIND.relationMap, spcOid, dbOid);
export const databaseKey = (spcOid: number, dbOid: number): Key => key(KEY_KIND.database, spcOid, dbOid);
export const twoPhaseKey = (epoch: number, xid: number): Key => key(KEY_KIND.twoPhase, epoch, xid);
export const slruSegmentKey = (slru: SlruKind, segment: number): Key =>
  key(KEY_KIND.slruSegment, SLRU_KINDS.indexOf(slru), segment);
export const slruPageKey = (slru: SlruKind, segment: number, block: number): Key =>
  key(KEY_KIND.slruPage, SLRU_KINDS.indexOf(slru), segment, 0, 0, block);
export const relationSizeKey = (of: RelationFork): Key =>
  key(KEY_KIND.relationSize, of.spcOid, of.dbOid, of.relNumber, of.fork);
export const relationPageKey = (of: RelationFork, block: number): Key =>
  key(KEY_KIND.relationPage, of.spcOid, of.dbOid, of.relNumber, of.fork, block);

/** The size key of the fork that a page key (either kind of page) belongs to. */
export function sizeKeyOfPage(page: Key): Key {
  const kind = page.charCodeAt(0) === KEY_KIND.slruPage ? KEY_KIND.slruSegment : KEY_KIND.relationSize;
  return (String.fromCharCode(kind) + page.slice(1, 14) + '\0\0\0\0') as Key;
}
/** What the page keys of a size key's fork or segment begin with; `pageKeyAt` completes it. */
export function pagePrefixOfSize(size: Key): string {
  const kind = size.charCodeAt(0) === KEY_KIND.slruSegment ? KEY_KIND.slruPage : KEY_KIND.relationPage;
  return String.fromCharCode(kind) + size.slice(1, 14);
}
export const pageKeyAt = (prefix: string, block: number): Key => (prefix + quad(block)) as Key;
/** Page key of `block` in the fork of a size key (either kind). */
export const pageKeyOfSize = (size: Key, block: number): Key => pageKeyAt(pagePrefixOfSize(size), block);

const readQuad = (of: string, at: number): number =>
  ((of.charCodeAt(at) << 24) |
    (of.charCodeAt(at + 1) << 16) |
    (of.charCodeAt(at + 2) << 8) |
    of.charCodeAt(at + 3)) >>>
  0;
/** The block number of a page key. */
export const keyBlock = (of: Key): number => readQuad(of, 14);
/** A page of a relation or of an SLRU: what redo and page operations apply to. */
export const isPageKey = (of: Key): boolean => of.charCodeAt(0) >= KEY_KIND.slruPage;
/** The number at byte 0, one of KEY_KIND. */
export const keyKind = (of: Key): number => of.charCodeAt(0);

const KIND_NAMES: readonly (KeyKind | undefined)[] = Object.entries(KEY_KIND).reduce<(KeyKind | undefined)[]>(
  (names, [name, kind]) => {
    names[kind] = name as KeyKind;
    return names;
  },
  [],
);

/** Takes a key apart. Throws RangeError when it is none. */
export function parseKey(of: Key): KeyParts {
  const kind = of.length === KEY_BYTES ? KIND_NAMES[of.charCodeAt(0)] : undefined;
  const [a, b, c] = [readQuad(of, 1), readQuad(of, 5), readQuad(of, 9)];
  switch (kind) {
    case 'commitTime':
    case 'checkpoint':
    case 'controlFile':
      return { kind };
    case 'relationMap':
    case 'database':
      return { kind, spcOid: a, dbOid: b };
    case 'twoPhase':
      return { kind, epoch: a, xid: b };
    case 'slruSegment':
    case 'slruPage': {
      const slru = SLRU_KINDS[a];
      if (slru === undefined) throw new RangeError(`key ${keyHex(of)}: no SLRU ${a}`);
      return kind === 'slruPage'
        ? { kind, slru, segment: b, block: keyBlock(of) }
        : { kind, slru, segment: b };
    }
    case 'relationSize':
    case 'relationPage': {
      const fork = of.charCodeAt(13);
      if (fork > 3) throw new RangeError(`key ${keyHex(of)}: fork ${fork} is not 0 to 3`);
      const relation = { spcOid: a, dbOid: b, relNumber: c, fork };
      return kind === 'relationPage' ? { kind, ...relation, block: keyBlock(of) } : { kind, ...relation };
    }
    case undefined:
      throw new RangeError(`not a key: ${keyHex(of)}`);
  }
}

/** The 18 bytes. */
export function keyBytes(of: Key, into = new Uint8Array(KEY_BYTES), offset = 0): Uint8Array {
  for (let i = 0; i < KEY_BYTES; i++) into[offset + i] = of.charCodeAt(i);
  return into;
}
/** The key in `bytes[offset, offset + 18)`; its form is not checked (parseKey does). */
export function keyFromBytes(bytes: Uint8Array, offset = 0): Key {
  if (offset + KEY_BYTES > bytes.length) {
    throw new RangeError(`key at ${offset}: ${KEY_BYTES} bytes expected, ${bytes.length - offset} found`);
  }
  let text = '';
  for (let i = 0; i < KEY_BYTES; i++) text += String.fromCharCode(bytes[offset + i]);
  return text as Key;
}

const rangeOf = (prefix: string): KeyRange => ({
  first: prefix.padEnd(KEY_BYTES, '\0') as Key,
  last: prefix.padEnd(KEY_BYTES, '\xff') as Key,
});
/** Every key there can be. */
export const ALL_KEYS: KeyRange = rangeOf('');
/** Every key of one kind. */
export const kindRange = (kind: KeyKind): KeyRange => rangeOf(String.fromCharCode(KEY_KIND[kind]));
/** Sizes of all forks of all relations of one database. */
export const databaseSizesRange = (spcOid: number, dbOid: number): KeyRange =>
  rangeOf(String.fromCharCode(KEY_KIND.relationSize) + quad(spcOid) + quad(dbOid));
/** All pages of the fork or segment of a size key. */
export const pagesRange = (size: Key): KeyRange => ({
  first: pageKeyOfSize(size, 0),
  last: pageKeyOfSize(size, 0xffff_ffff),
});

/** For logs and layer dumps. */
export const keyHex = (of: string): string =>
  Array.from(of, (char) => char.charCodeAt(0).toString(16).padStart(2, '0')).join('');

/** As a person reads it: `relation 1663/5/16384 vm block 0`, `pg_xact 0000 block 3`, `two-phase 0/731`. */
export function formatKey(of: Key): string {
  const parts = parseKey(of);
  switch (parts.kind) {
    case 'commitTime':
      return 'commit time';
    case 'checkpoint':
      return 'checkpoint fields';
    case 'controlFile':
      return 'control file';
    case 'relationMap':
      return `relation map ${parts.spcOid}/${parts.dbOid}`;
    case 'database':
      return `database ${parts.spcOid}/${parts.dbOid}`;
    case 'twoPhase':
      return `two-phase ${parts.epoch}/${parts.xid}`;
    case 'slruSegment':
      return `${parts.slru} ${segmentName(parts.segment)} size`;
    case 'slruPage':
      return `${parts.slru} ${segmentName(parts.segment)} block ${parts.block}`;
    case 'relationSize':
      return `relation ${formatFork(parts)} size`;
    case 'relationPage':
      return `relation ${formatFork(parts)} block ${parts.block}`;
  }
}
const formatFork = (of: RelationFork): string =>
  `${of.spcOid}/${of.dbOid}/${of.relNumber} ${FORK_NAMES[of.fork]}`;
/** An SLRU segment's file name (SlruFileName with short names, access/transam/slru.c). */
export const segmentName = (segment: number): string => segment.toString(16).toUpperCase().padStart(4, '0');
