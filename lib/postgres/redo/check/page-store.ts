/**
 * Pages that a check carries from record to record, by relation fork and block.
 *
 * The memory store is enough for a workload; a tool that reads more WAL than fits gives a store of its own that
 * keeps pages elsewhere. `get` may return a page that the caller changes; `put` makes the change last.
 */
export interface PageTag {
  spcOid: number;
  dbOid: number;
  relNumber: number;
  fork: number;
  block: number;
}

/** main, fsm, vm, init. */
export const FORKS = 4;

export interface PageStore {
  /** The page, or undefined where nothing is known of it. */
  get(tag: PageTag): Uint8Array | undefined;
  /** Keeps `page`, which the store may hold on to. */
  put(tag: PageTag, page: Uint8Array): void;
  /** Forgets one block. */
  forget(tag: PageTag): void;
  /** Forgets blocks of a fork from `fromBlock` on. */
  truncate(tag: Omit<PageTag, 'block'>, fromBlock: number): void;
  /** Forgets every fork of a relation. */
  dropRelation(tag: Omit<PageTag, 'block' | 'fork'>): void;
  /** Forgets everything of a database. */
  dropDatabase(spcOid: number, dbOid: number): void;
}

const NO_TAG = { spcOid: -1, dbOid: -1, relNumber: -1, fork: -1 };

export class MemoryPageStore implements PageStore {
  readonly #forks = new Map<string, Map<number, Uint8Array>>();
  #last = new Map<number, Uint8Array>();
  #lastTag: Omit<PageTag, 'block'> = NO_TAG;

  get(tag: PageTag): Uint8Array | undefined {
    return this.#fork(tag).get(tag.block);
  }
  put(tag: PageTag, page: Uint8Array): void {
    this.#fork(tag).set(tag.block, page);
  }
  forget(tag: PageTag): void {
    this.#fork(tag).delete(tag.block);
  }
  truncate(tag: Omit<PageTag, 'block'>, fromBlock: number): void {
    const fork = this.#fork(tag);
    for (const block of fork.keys()) if (block >= fromBlock) fork.delete(block);
  }
  dropRelation({ spcOid, dbOid, relNumber }: Omit<PageTag, 'block' | 'fork'>): void {
    for (let fork = 0; fork < FORKS; fork++) {
      this.#forks.delete(`${spcOid}/${dbOid}/${relNumber}/${fork}`);
    }
    this.#lastTag = NO_TAG;
  }
  dropDatabase(spcOid: number, dbOid: number): void {
    for (const [key, fork] of this.#forks) if (key.startsWith(`${spcOid}/${dbOid}/`)) fork.clear();
  }
  /** How many pages are held. */
  get size(): number {
    let size = 0;
    for (const fork of this.#forks.values()) size += fork.size;
    return size;
  }

  #fork(tag: Omit<PageTag, 'block'>): Map<number, Uint8Array> {
    const last = this.#lastTag;
    if (
      last.relNumber === tag.relNumber &&
      last.fork === tag.fork &&
      last.dbOid === tag.dbOid &&
      last.spcOid === tag.spcOid
    ) {
      return this.#last;
    }
    const key = `${tag.spcOid}/${tag.dbOid}/${tag.relNumber}/${tag.fork}`;
    let fork = this.#forks.get(key);
    if (fork === undefined) this.#forks.set(key, (fork = new Map<number, Uint8Array>()));
    this.#last = fork;
    this.#lastTag = { spcOid: tag.spcOid, dbOid: tag.dbOid, relNumber: tag.relNumber, fork: tag.fork };
    return fork;
  }
}
