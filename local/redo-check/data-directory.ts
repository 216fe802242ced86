/**
 * Pages as a stopped cluster's data directory holds them: the state before the WAL.
 *
 * Source: common/relpath.c (names), storage/smgr/md.c (segments of 1 GiB).
 */
import { closeSync, existsSync, openSync, readdirSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { PAGE_BYTES } from '../../lib/postgres/page/page.ts';
import type { PageTag } from '../../lib/postgres/redo/check/page-store.ts';

const DEFAULT_TABLESPACE = 1663;
const GLOBAL_TABLESPACE = 1664;
const SEGMENT_BLOCKS = 131_072;
const FORK_SUFFIXES = ['', '_fsm', '_vm', '_init'];

export class DataDirectory {
  readonly #root: string;
  readonly #files = new Map<string, number | undefined>();

  constructor(root: string) {
    this.#root = root;
  }

  /** The page, or undefined where the directory has none. */
  read(tag: PageTag): Uint8Array | undefined {
    const segment = Math.floor(tag.block / SEGMENT_BLOCKS);
    const file = this.#open(`${this.#pathOf(tag)}${segment > 0 ? `.${segment}` : ''}`);
    if (file === undefined) return undefined;
    const page = new Uint8Array(PAGE_BYTES);
    const count = readSync(file, page, 0, PAGE_BYTES, (tag.block % SEGMENT_BLOCKS) * PAGE_BYTES);
    return count === PAGE_BYTES ? page : undefined;
  }

  close(): void {
    for (const file of this.#files.values()) if (file !== undefined) closeSync(file);
    this.#files.clear();
  }

  #pathOf(tag: PageTag): string {
    const name = `${tag.relNumber}${FORK_SUFFIXES[tag.fork] ?? `_fork${tag.fork}`}`;
    if (tag.spcOid === GLOBAL_TABLESPACE) return join(this.#root, 'global', name);
    if (tag.spcOid === DEFAULT_TABLESPACE) return join(this.#root, 'base', String(tag.dbOid), name);
    const tablespace = join(this.#root, 'pg_tblspc', String(tag.spcOid));
    const version = existsSync(tablespace)
      ? readdirSync(tablespace).find((entry) => entry.startsWith('PG_'))
      : '';
    return join(tablespace, version ?? '', String(tag.dbOid), name);
  }

  #open(path: string): number | undefined {
    if (this.#files.has(path)) return this.#files.get(path);
    if (this.#files.size > 500) this.close();
    const file = existsSync(path) ? openSync(path, 'r') : undefined;
    this.#files.set(path, file);
    return file;
  }
}
