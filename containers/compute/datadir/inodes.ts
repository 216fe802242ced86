/**
 * The inodes that the kernel knows, in shared memory, for all threads.
 *
 *   id 1            the root
 *   id 2 … 1+n      the n remote files, whether looked up or not
 *   above           files and directories that are only here, given out as they are looked up, taken back on FORGET
 *
 * One record of 128 bytes each: state, parent, number of lookups, the backing file's descriptor and the name. A
 * descriptor is shared by everyone who has the file open; it is pinned while a system call uses it, so that
 * another thread does not close it (the number could mean another file a moment later).
 *
 * The table's lock guards finding, adding and removing; each inode has a lock for opening, closing and for
 * changes of its presence bits, which is never held while taking the table's. The kernel itself keeps changes in a
 * directory apart from lookups there.
 */
import { closeSync } from 'node:fs';
import { lock, unlock } from './shared-lock.ts';

export const ROOT = 1;
export const FIRST_REMOTE = 2;

const WORDS = 32;
const NAME_AT = 16 * 4;
/** Longest name: Postgres's own are far shorter. */
export const NAME_MAX = WORDS * 4 - NAME_AT;

const FIELD = {
  state: 0,
  type: 1,
  parent: 2,
  lookups: 3,
  lock: 4,
  descriptor: 5,
  pins: 6,
  /** Next in the hash chain, or in the list of free records. */
  next: 7,
  nameLength: 8,
  directoryKind: 9,
  directoryOid: 10,
  generation: 11,
  flags: 12,
} as const;

/** UNLINKED: no name leads to it any more, but the kernel still has it. */
export const STATE = { FREE: 0, LIVE: 1, UNLINKED: 2 } as const;
export const TYPE = { FILE: 0, DIRECTORY: 1, SYMBOLIC_LINK: 2 } as const;
/** Of remote files. MATERIALISED: there is a backing file. NAME_GONE: its name at the boot LSN is not its any more. */
export const FLAG = { MATERIALISED: 1, NAME_GONE: 2 } as const;

const HEADER = { lock: 0, free: 1, used: 2, descriptors: 3 } as const;
const HEADER_WORDS = 16;
const BUCKETS = 1 << 16;

export interface InodeBuffers {
  remoteCount: number;
  capacity: number;
  records: SharedArrayBuffer;
  table: SharedArrayBuffer;
  /** Descriptors that may be open before some are closed. */
  descriptorsMax: number;
}

/** Room for `localMax` inodes beyond the remote files; untouched memory costs nothing. */
export function newInodeBuffers(remoteCount: number, localMax: number, descriptorsMax: number): InodeBuffers {
  const capacity = FIRST_REMOTE + remoteCount + localMax;
  const buffers = {
    remoteCount,
    capacity,
    records: new SharedArrayBuffer(capacity * WORDS * 4),
    table: new SharedArrayBuffer((HEADER_WORDS + BUCKETS) * 4),
    descriptorsMax,
  };
  new Int32Array(buffers.table)[HEADER.used] = FIRST_REMOTE + remoteCount;
  return buffers;
}

export class Inodes {
  readonly #words: Int32Array<SharedArrayBuffer>;
  readonly #bytes: Uint8Array<SharedArrayBuffer>;
  readonly #table: Int32Array<SharedArrayBuffer>;
  readonly #capacity: number;
  readonly #descriptorsMax: number;
  readonly remoteEnd: number;

  constructor(buffers: InodeBuffers) {
    this.#words = new Int32Array(buffers.records);
    this.#bytes = new Uint8Array(buffers.records);
    this.#table = new Int32Array(buffers.table);
    this.#capacity = buffers.capacity;
    this.#descriptorsMax = buffers.descriptorsMax;
    this.remoteEnd = FIRST_REMOTE + buffers.remoteCount;
  }

  #get(id: number, field: number): number {
    return Atomics.load(this.#words, id * WORDS + field);
  }
  #set(id: number, field: number, value: number): void {
    Atomics.store(this.#words, id * WORDS + field, value);
  }

  isRemote(id: number): boolean {
    return id >= FIRST_REMOTE && id < this.remoteEnd;
  }
  /** Whether the kernel can mean something by this id. */
  isKnown(id: number): boolean {
    return id >= ROOT && id < this.#capacity && this.#get(id, FIELD.state) !== STATE.FREE;
  }
  state = (id: number): number => this.#get(id, FIELD.state);
  setState = (id: number, state: number): void => this.#set(id, FIELD.state, state);
  type = (id: number): number => this.#get(id, FIELD.type);
  parent = (id: number): number => this.#get(id, FIELD.parent);
  generation = (id: number): number => this.#get(id, FIELD.generation);
  directoryKind = (id: number): number => this.#get(id, FIELD.directoryKind);
  directoryOid = (id: number): number => this.#get(id, FIELD.directoryOid) >>> 0;
  hasFlag = (id: number, flag: number): boolean => (this.#get(id, FIELD.flags) & flag) !== 0;
  setFlag = (id: number, flag: number): void => {
    Atomics.or(this.#words, id * WORDS + FIELD.flags, flag);
  };

  name(id: number): string {
    const at = id * WORDS * 4 + NAME_AT;
    let name = '';
    for (let i = 0, length = this.#get(id, FIELD.nameLength); i < length; i++)
      name += String.fromCharCode(this.#bytes[at + i]);
    return name;
  }

  /** Runs `action` with the inode's own lock. */
  withLock<T>(id: number, action: () => T): T {
    const at = id * WORDS + FIELD.lock;
    lock(this.#words, at);
    try {
      return action();
    } finally {
      unlock(this.#words, at);
    }
  }
  #withTable<T>(action: () => T): T {
    lock(this.#table, HEADER.lock);
    try {
      return action();
    } finally {
      unlock(this.#table, HEADER.lock);
    }
  }

  /** Fills in the record of the root, or of a remote file when it is first looked up. */
  #fill(id: number, parent: number, name: string, type: number): void {
    const at = id * WORDS * 4 + NAME_AT;
    for (let i = 0; i < name.length; i++) this.#bytes[at + i] = name.charCodeAt(i);
    this.#set(id, FIELD.nameLength, name.length);
    this.#set(id, FIELD.parent, parent);
    this.#set(id, FIELD.type, type);
    this.#set(id, FIELD.state, STATE.LIVE);
  }
  addRoot(): void {
    this.#fill(ROOT, 0, '', TYPE.DIRECTORY);
    this.#set(ROOT, FIELD.lookups, 1);
  }

  /** One more lookup of a remote file under its name at the boot LSN. */
  lookUpRemote(id: number, parent: number, name: string): void {
    this.#withTable(() => {
      if (this.#get(id, FIELD.state) === STATE.FREE) this.#fill(id, parent, name, TYPE.FILE);
      Atomics.add(this.#words, id * WORDS + FIELD.lookups, 1);
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
        this.#set(id, FIELD.descriptor, 0);
        this.#set(id, FIELD.flags, 0);
        this.#set(id, FIELD.directoryKind, directory?.kind ?? 0);
        this.#set(id, FIELD.directoryOid, directory?.oid ?? 0);
        this.#chain(id);
      }
      Atomics.add(this.#words, id * WORDS + FIELD.lookups, 1);
      return id;
    });
  }

  /** Whether the kernel has no reference to it. */
  isForgotten = (id: number): boolean => this.#get(id, FIELD.lookups) <= 0;

  findLocal(parent: number, name: string): number {
    return this.#withTable(() => this.#findLocal(parent, name));
  }

  /** The inode loses its name; it stays until the kernel forgets it. */
  unname(id: number): void {
    this.#withTable(() => this.#unchain(id));
    this.#set(id, FIELD.state, STATE.UNLINKED);
  }

  /** The inode gets another name. */
  rename(id: number, parent: number, name: string): void {
    this.#withTable(() => {
      this.#unchain(id);
      this.#fill(id, parent, name, this.#get(id, FIELD.type));
      this.#chain(id);
    });
  }

  /** The kernel forgets `lookups` lookups; with the last one the inode is given back. */
  forget(id: number, lookups: number): void {
    if (id <= ROOT || id >= this.#capacity) return;
    this.#withTable(() => {
      const left = Atomics.sub(this.#words, id * WORDS + FIELD.lookups, lookups) - lookups;
      if (left > 0 || this.#get(id, FIELD.state) === STATE.FREE) return;
      this.withLock(id, () => this.closeDescriptor(id));
      if (this.isRemote(id)) {
        if (this.#get(id, FIELD.state) === STATE.LIVE && this.hasFlag(id, FLAG.NAME_GONE)) this.#unchain(id);
        return;
      }
      this.#unchain(id);
      this.#set(id, FIELD.state, STATE.FREE);
      Atomics.add(this.#words, id * WORDS + FIELD.generation, 1);
      this.#set(id, FIELD.next, this.#table[HEADER.free]);
      this.#table[HEADER.free] = id;
    });
  }

  /**
   * The descriptor of the backing file, pinned until `unpin`; `open` makes it when there is none. What `open`
   * throws passes through.
   */
  pin(id: number, open: (id: number) => number): number {
    const at = id * WORDS;
    Atomics.add(this.#words, at + FIELD.pins, 1);
    const descriptor = Atomics.load(this.#words, at + FIELD.descriptor) - 1;
    if (descriptor >= 0) return descriptor;
    try {
      return this.withLock(id, () => this.openLocked(id, open));
    } catch (error) {
      this.unpin(id);
      throw error;
    }
  }
  unpin(id: number): void {
    Atomics.sub(this.#words, id * WORDS + FIELD.pins, 1);
  }

  /** The descriptor or a new one, for a caller that holds the inode's lock. */
  openLocked(id: number, open: (id: number) => number): number {
    const kept = this.#get(id, FIELD.descriptor) - 1;
    if (kept >= 0) return kept;
    const descriptor = open(id);
    this.setDescriptor(id, descriptor);
    return descriptor;
  }
  setDescriptor(id: number, descriptor: number): void {
    this.#set(id, FIELD.descriptor, descriptor + 1);
    if (Atomics.add(this.#table, HEADER.descriptors, 1) + 1 >= this.#descriptorsMax) this.#closeSome(id);
  }

  /** Closes the descriptor unless it is in use. The caller holds the inode's lock. */
  closeDescriptor(id: number): boolean {
    const at = id * WORDS;
    const kept = Atomics.exchange(this.#words, at + FIELD.descriptor, 0);
    if (kept === 0) return false;
    if (Atomics.load(this.#words, at + FIELD.pins) > 0) {
      Atomics.store(this.#words, at + FIELD.descriptor, kept);
      return false;
    }
    Atomics.sub(this.#table, HEADER.descriptors, 1);
    closeSync(kept - 1);
    return true;
  }

  closeAllDescriptors(): void {
    for (let id = FIRST_REMOTE, end = this.#table[HEADER.used]; id < end; id++)
      if (this.#get(id, FIELD.descriptor) !== 0) this.withLock(id, () => this.closeDescriptor(id));
  }

  /** Makes room: closes a quarter of the descriptors, of files that can be opened again by name. */
  #closeSome(except: number): void {
    let left = Math.ceil(this.#descriptorsMax / 4);
    const used = this.#table[HEADER.used];
    const start = except; // so that not always the same files are hit
    for (let step = 1; step < used && left > 0; step++) {
      const id = FIRST_REMOTE + ((start - FIRST_REMOTE + step) % (used - FIRST_REMOTE));
      if (id === except || this.#get(id, FIELD.descriptor) === 0) continue;
      const at = id * WORDS + FIELD.lock;
      if (Atomics.compareExchange(this.#words, at, 0, 1) !== 0) continue; // held by somebody: not worth waiting
      try {
        const needed = this.#get(id, FIELD.state) === STATE.UNLINKED && this.#get(id, FIELD.lookups) > 0;
        if (!needed && this.closeDescriptor(id)) left--;
      } finally {
        unlock(this.#words, at);
      }
    }
  }

  #bucket(parent: number, name: string): number {
    let hash = Math.imul(parent, 0x9e37_79b1);
    for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x0100_0193);
    return HEADER_WORDS + ((hash ^ (hash >>> 15)) & (BUCKETS - 1));
  }
  #findLocal(parent: number, name: string): number {
    let id = this.#table[this.#bucket(parent, name)];
    while (id !== 0 && !(this.#get(id, FIELD.parent) === parent && this.name(id) === name))
      id = this.#get(id, FIELD.next);
    return id;
  }
  #chain(id: number): void {
    const bucket = this.#bucket(this.#get(id, FIELD.parent), this.name(id));
    this.#set(id, FIELD.next, this.#table[bucket]);
    this.#table[bucket] = id;
  }
  /** Takes the inode out of its chain; nothing where it is in none. */
  #unchain(id: number): void {
    const bucket = this.#bucket(this.#get(id, FIELD.parent), this.name(id));
    let previous = 0;
    for (let at = this.#table[bucket]; at !== 0; previous = at, at = this.#get(at, FIELD.next)) {
      if (at !== id) continue;
      if (previous === 0) this.#table[bucket] = this.#get(id, FIELD.next);
      else this.#set(previous, FIELD.next, this.#get(id, FIELD.next));
      this.#set(id, FIELD.next, 0);
      return;
    }
  }
  #takeFree(): number {
    const free = this.#table[HEADER.free];
    if (free !== 0) {
      this.#table[HEADER.free] = this.#get(free, FIELD.next);
      return free;
    }
    const used = this.#table[HEADER.used];
    if (used >= this.#capacity) return 0;
    this.#table[HEADER.used] = used + 1;
    return used;
  }
}
