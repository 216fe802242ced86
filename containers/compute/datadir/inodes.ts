/**
 * The inodes that the kernel knows, in shared memory, for all threads.
 *
 *   id 1            the root
 *   id 2 … 1+n      the n remote files, whether looked up or not
 *   above           files and directories that are only here, given out as they are looked up, taken back on FORGET
 *
 * The table's lock guards finding, adding and removing; each inode has a lock for opening, closing and for
 * changes of its presence bits, which is never held while taking the table's. The kernel itself keeps changes in a
 * directory apart from lookups there.
 */
import { Descriptors } from './descriptors.ts';
import {
  BUCKETS,
  FIELD,
  FIRST_REMOTE,
  FLAG,
  HEADER,
  HEADER_WORDS,
  InodeRecords,
  NAME_AT,
  ROOT,
  STATE,
  TYPE,
  WORDS,
  type InodeBuffers,
} from './inode-records.ts';
import { lock, unlock } from './shared-lock.ts';

export class Inodes {
  readonly descriptors: Descriptors;
  readonly #records: InodeRecords;
  readonly #bytes: Uint8Array<SharedArrayBuffer>;
  readonly #capacity: number;
  readonly remoteEnd: number;

  constructor(buffers: InodeBuffers) {
    this.#records = new InodeRecords(buffers);
    this.descriptors = new Descriptors(buffers, this.#records);
    this.#bytes = new Uint8Array(buffers.records);
    this.#capacity = buffers.capacity;
    this.remoteEnd = FIRST_REMOTE + buffers.remoteCount;
  }

  isRemote(id: number): boolean {
    return id >= FIRST_REMOTE && id < this.remoteEnd;
  }
  /** Whether the kernel can mean something by this id. */
  isKnown(id: number): boolean {
    return id >= ROOT && id < this.#capacity && this.#records.get(id, FIELD.state) !== STATE.FREE;
  }
  state = (id: number): number => this.#records.get(id, FIELD.state);
  setState = (id: number, state: number): void => this.#records.set(id, FIELD.state, state);
  type = (id: number): number => this.#records.get(id, FIELD.type);
  parent = (id: number): number => this.#records.get(id, FIELD.parent);
  generation = (id: number): number => this.#records.get(id, FIELD.generation);
  directoryKind = (id: number): number => this.#records.get(id, FIELD.directoryKind);
  directoryOid = (id: number): number => this.#records.get(id, FIELD.directoryOid) >>> 0;
  hasFlag = (id: number, flag: number): boolean => (this.#records.get(id, FIELD.flags) & flag) !== 0;
  setFlag = (id: number, flag: number): void => {
    Atomics.or(this.#records.words, id * WORDS + FIELD.flags, flag);
  };

  name(id: number): string {
    const at = id * WORDS * 4 + NAME_AT;
    let name = '';
    for (let i = 0, length = this.#records.get(id, FIELD.nameLength); i < length; i++)
      name += String.fromCharCode(this.#bytes[at + i]);
    return name;
  }

  /** Runs `action` with the inode's own lock. */
  withLock<T>(id: number, action: () => T): T {
    return this.#records.withLock(id, action);
  }
  #withTable<T>(action: () => T): T {
    lock(this.#records.table, HEADER.lock);
    try {
      return action();
    } finally {
      unlock(this.#records.table, HEADER.lock);
    }
  }

  /** Fills in the record of the root, or of a remote file when it is first looked up. */
  #fill(id: number, parent: number, name: string, type: number): void {
    const at = id * WORDS * 4 + NAME_AT;
    for (let i = 0; i < name.length; i++) this.#bytes[at + i] = name.charCodeAt(i);
    this.#records.set(id, FIELD.nameLength, name.length);
    this.#records.set(id, FIELD.parent, parent);
    this.#records.set(id, FIELD.type, type);
    this.#records.set(id, FIELD.state, STATE.LIVE);
  }
  addRoot(): void {
    this.#fill(ROOT, 0, '', TYPE.DIRECTORY);
    this.#records.set(ROOT, FIELD.lookups, 1);
  }

  /** One more lookup of a remote file under its name at the boot LSN. */
  lookUpRemote(id: number, parent: number, name: string): void {
    this.#withTable(() => {
      if (this.#records.get(id, FIELD.state) === STATE.FREE) this.#fill(id, parent, name, TYPE.FILE);
      Atomics.add(this.#records.words, id * WORDS + FIELD.lookups, 1);
    });
  }

  /**
   * One more lookup of what is only here: the inode of that name, a new one if there was none; 0 when the
   * table is full. `directory`: what a new directory can hold of remote files.
   */
  lookUpLocal(parent: number, name: string, type: number, directory?: { kind: number; oid: number }): number {
    return this.#withTable(() => {
      let id = this.#findLocal(parent, name);
      if (id === 0) {
        id = this.#takeFree();
        if (id === 0) return 0;
        this.#fill(id, parent, name, type);
        this.#records.set(id, FIELD.descriptor, 0);
        this.#records.set(id, FIELD.flags, 0);
        this.#records.set(id, FIELD.directoryKind, directory?.kind ?? 0);
        this.#records.set(id, FIELD.directoryOid, directory?.oid ?? 0);
        this.#chain(id);
      }
      Atomics.add(this.#records.words, id * WORDS + FIELD.lookups, 1);
      return id;
    });
  }

  /** Whether the kernel has no reference to it. */
  isForgotten = (id: number): boolean => this.#records.get(id, FIELD.lookups) <= 0;

  findLocal(parent: number, name: string): number {
    return this.#withTable(() => this.#findLocal(parent, name));
  }

  /** The inode loses its name; it stays until the kernel forgets it. */
  unname(id: number): void {
    this.#withTable(() => this.#unchain(id));
    this.#records.set(id, FIELD.state, STATE.UNLINKED);
  }

  /** The inode gets another name. */
  rename(id: number, parent: number, name: string): void {
    this.#withTable(() => {
      this.#unchain(id);
      this.#fill(id, parent, name, this.#records.get(id, FIELD.type));
      this.#chain(id);
    });
  }

  /** The kernel forgets `lookups` lookups; with the last one the inode is given back. */
  forget(id: number, lookups: number): void {
    if (id <= ROOT || id >= this.#capacity) return;
    this.#withTable(() => {
      const left = Atomics.sub(this.#records.words, id * WORDS + FIELD.lookups, lookups) - lookups;
      if (left > 0 || this.#records.get(id, FIELD.state) === STATE.FREE) return;
      this.withLock(id, () => this.descriptors.close(id));
      if (this.isRemote(id)) {
        if (this.#records.get(id, FIELD.state) === STATE.LIVE && this.hasFlag(id, FLAG.NAME_GONE))
          this.#unchain(id);
        return;
      }
      this.#unchain(id);
      this.#records.set(id, FIELD.state, STATE.FREE);
      Atomics.add(this.#records.words, id * WORDS + FIELD.generation, 1);
      this.#records.set(id, FIELD.next, this.#records.table[HEADER.free]);
      this.#records.table[HEADER.free] = id;
    });
  }

  #bucket(parent: number, name: string): number {
    let hash = Math.imul(parent, 0x9e37_79b1);
    for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x0100_0193);
    return HEADER_WORDS + ((hash ^ (hash >>> 15)) & (BUCKETS - 1));
  }
  #findLocal(parent: number, name: string): number {
    let id = this.#records.table[this.#bucket(parent, name)];
    while (id !== 0 && !(this.#records.get(id, FIELD.parent) === parent && this.name(id) === name))
      id = this.#records.get(id, FIELD.next);
    return id;
  }
  #chain(id: number): void {
    const bucket = this.#bucket(this.#records.get(id, FIELD.parent), this.name(id));
    this.#records.set(id, FIELD.next, this.#records.table[bucket]);
    this.#records.table[bucket] = id;
  }
  /** Takes the inode out of its chain; nothing where it is in none. */
  #unchain(id: number): void {
    const bucket = this.#bucket(this.#records.get(id, FIELD.parent), this.name(id));
    let previous = 0;
    for (
      let at = this.#records.table[bucket];
      at !== 0;
      previous = at, at = this.#records.get(at, FIELD.next)
    ) {
      if (at !== id) continue;
      if (previous === 0) this.#records.table[bucket] = this.#records.get(id, FIELD.next);
      else this.#records.set(previous, FIELD.next, this.#records.get(id, FIELD.next));
      this.#records.set(id, FIELD.next, 0);
      return;
    }
  }
  #takeFree(): number {
    const free = this.#records.table[HEADER.free];
    if (free !== 0) {
      this.#records.table[HEADER.free] = this.#records.get(free, FIELD.next);
      return free;
    }
    const used = this.#records.table[HEADER.used];
    if (used >= this.#capacity) return 0;
    this.#records.table[HEADER.used] = used + 1;
    return used;
  }
}
