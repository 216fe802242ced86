/**
 * The pages of a check in bounded memory: a cache of them, and a temporary file for those that do not fit.
 *
 * What a page was before the WAL begins may come from a data directory, read when the page is first asked for.
 */
import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PAGE_BYTES } from '../../lib/postgres/page/page.ts';
import { FORKS, type PageStore, type PageTag } from '../../lib/postgres/redo/check/page-store.ts';
import type { DataDirectory } from './data-directory.ts';

type ForkTag = Omit<PageTag, 'block'>;

interface Fork {
  key: string;
  /** Slot in the file by block; every block that this store knows has one, or NO_SLOT where nothing is known any more. */
  slots: Map<number, number>;
  /** Blocks from here on are no longer, or never were, what the data directory holds. */
  baseLimit: number;
}
/** A block that was forgotten: what the data directory has of it is not its state either. */
const NO_SLOT = -1;
interface CachedPage {
  page: Uint8Array;
  dirty: boolean;
}

export class PageFile implements PageStore {
  readonly #folder = mkdtempSync(join(tmpdir(), 'ebb-redo-check-'));
  readonly #file = openSync(join(this.#folder, 'pages'), 'w+');
  readonly #forks = new Map<string, Fork>();
  /** By slot, least recently used first. */
  readonly #cache = new Map<number, CachedPage>();
  readonly #pagesMax: number;
  readonly #base: DataDirectory | undefined;
  #slots = 0;
  /** Slots of blocks that are gone, to be used again. */
  readonly #free: number[] = [];
  #lastTag: ForkTag = { spcOid: -1, dbOid: -1, relNumber: -1, fork: -1 };
  #lastFork: Fork | undefined;

  constructor(options: { memoryBytes: number; base?: DataDirectory | undefined }) {
    this.#pagesMax = Math.max(64, Math.floor(options.memoryBytes / PAGE_BYTES));
    this.#base = options.base;
  }

  get(tag: PageTag): Uint8Array | undefined {
    const fork = this.#forkOf(tag);
    const slot = fork.slots.get(tag.block);
    if (slot === NO_SLOT) return undefined;
    if (slot !== undefined) return this.#cached(slot).page;
    if (this.#base === undefined || tag.block >= fork.baseLimit) return undefined;
    const page = this.#base.read(tag);
    if (page !== undefined) this.put(tag, page);
    return page;
  }

  put(tag: PageTag, page: Uint8Array): void {
    const fork = this.#forkOf(tag);
    let slot = fork.slots.get(tag.block);
    if (slot === undefined || slot === NO_SLOT) {
      fork.slots.set(tag.block, (slot = this.#free.pop() ?? this.#slots++));
    }
    const cached = this.#cache.get(slot);
    if (cached === undefined) {
      this.#cache.set(slot, { page, dirty: true });
      this.#evict();
    } else {
      cached.page = page;
      cached.dirty = true;
    }
  }

  forget(tag: PageTag): void {
    const fork = this.#forkOf(tag);
    this.#release(fork.slots.get(tag.block));
    fork.slots.set(tag.block, NO_SLOT);
  }

  truncate(tag: ForkTag, fromBlock: number): void {
    const fork = this.#forkOf(tag);
    fork.baseLimit = Math.min(fork.baseLimit, fromBlock);
    for (const [block, slot] of fork.slots) {
      if (block < fromBlock) continue;
      fork.slots.delete(block);
      this.#release(slot);
    }
  }

  dropRelation({ spcOid, dbOid, relNumber }: Omit<ForkTag, 'fork'>): void {
    for (let number = 0; number < FORKS; number++) {
      const key = `${spcOid}/${dbOid}/${relNumber}/${number}`;
      const fork = this.#forks.get(key);
      if (fork === undefined) continue;
      for (const slot of fork.slots.values()) this.#release(slot);
      this.#forks.delete(key);
      if (this.#lastFork === fork) this.#lastFork = undefined;
    }
  }

  dropDatabase(spcOid: number, dbOid: number): void {
    for (const [key, fork] of this.#forks) {
      if (!key.startsWith(`${spcOid}/${dbOid}/`)) continue;
      for (const slot of fork.slots.values()) this.#release(slot);
      fork.slots.clear();
      fork.baseLimit = 0;
    }
  }

  /** How many pages the file has room for; that many were known at once at most. */
  get slotCount(): number {
    return this.#slots;
  }

  /** Deletes the file. */
  close(): void {
    closeSync(this.#file);
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #forkOf(tag: ForkTag): Fork {
    const last = this.#lastTag;
    const same =
      last.relNumber === tag.relNumber &&
      last.fork === tag.fork &&
      last.dbOid === tag.dbOid &&
      last.spcOid === tag.spcOid;
    if (same && this.#lastFork !== undefined) return this.#lastFork;
    const key = `${tag.spcOid}/${tag.dbOid}/${tag.relNumber}/${tag.fork}`;
    let fork = this.#forks.get(key);
    if (fork === undefined) {
      this.#forks.set(key, (fork = { key, slots: new Map<number, number>(), baseLimit: Infinity }));
    }
    this.#lastTag = { spcOid: tag.spcOid, dbOid: tag.dbOid, relNumber: tag.relNumber, fork: tag.fork };
    this.#lastFork = fork;
    return fork;
  }

  #release(slot: number | undefined): void {
    if (slot === undefined || slot === NO_SLOT) return;
    this.#cache.delete(slot);
    this.#free.push(slot);
  }

  #cached(slot: number): CachedPage {
    const cached = this.#cache.get(slot);
    if (cached !== undefined) {
      // Whoever gets a page may change it and put it back; until it is put, its bytes here are the truth.
      cached.dirty = true;
      return cached;
    }
    const page = new Uint8Array(PAGE_BYTES);
    readSync(this.#file, page, 0, PAGE_BYTES, slot * PAGE_BYTES);
    const fresh = { page, dirty: true };
    this.#cache.set(slot, fresh);
    this.#evict();
    return fresh;
  }

  /** Writes out the oldest eighth when the cache is full: recency matters little, writes in a row do. */
  #evict(): void {
    if (this.#cache.size <= this.#pagesMax) return;
    let count = Math.ceil(this.#pagesMax / 8);
    for (const [slot, { page, dirty }] of this.#cache) {
      if (count-- === 0) return;
      if (dirty) writeSync(this.#file, page, 0, PAGE_BYTES, slot * PAGE_BYTES);
      this.#cache.delete(slot);
    }
  }
}
