/**
 * Names in a data directory: which file of which relation or SLRU a path means, and back.
 *
 *   base/<db>/<rel>[_fsm|_vm|_init][.<segment>]   global/<rel>…   pg_xact/<segment in hexadecimal>   …
 *
 * Source: common/relpath.c, storage/smgr/md.c (segments), access/transam/slru.c (SlruFileName).
 */
import { SLRU_KINDS } from '../../../lib/protocol/pages.ts';

/** By ForkNumber. */
export const FORK_SUFFIX = ['', '_fsm', '_vm', '_init'] as const;

/** What a directory of the mount can hold of remote files: `kind`, and `oid` of the database for DATABASE. */
export const DIRECTORY = { OTHER: 0, BASE: 1, GLOBAL: 2, DATABASE: 3, FIRST_SLRU: 4 } as const;

export interface FileName {
  kind: number;
  oid: number;
  /** Relation number, or the SLRU's segment. */
  number: number;
  fork: number;
  segment: number;
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

/** The file that `name` means in a directory; undefined for any other name. */
export function parseName(kind: number, oid: number, name: string): FileName | undefined {
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

/** The reverse of `parseName`. */
export function formatName({ kind, number, fork, segment }: FileName): string {
  if (kind >= DIRECTORY.FIRST_SLRU) return number.toString(16).toUpperCase().padStart(4, '0');
  return `${number}${FORK_SUFFIX[fork]}${segment > 0 ? `.${segment}` : ''}`;
}
