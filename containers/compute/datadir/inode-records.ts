/**
 * Records of inodes in memory that the threads share: their layout, and reading, writing and locking one.
 *
 * 128 bytes each: state, parent, number of lookups, the backing file's descriptor and the name.
 */
import { lock, unlock } from './shared-lock.ts';

export const ROOT = 1;
export const FIRST_REMOTE = 2;

export const WORDS = 32;
export const NAME_AT = 16 * 4;
/** Longest name: Postgres's own are far shorter. */
export const NAME_MAX = WORDS * 4 - NAME_AT;

export const FIELD = {
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

/** Words of the table: its lock, the first free record, records ever used, descriptors open. Buckets follow. */
export const HEADER = { lock: 0, free: 1, used: 2, descriptors: 3 } as const;
export const HEADER_WORDS = 16;
export const BUCKETS = 1 << 16;

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

export class InodeRecords {
  readonly words: Int32Array<SharedArrayBuffer>;
  readonly table: Int32Array<SharedArrayBuffer>;

  constructor(buffers: InodeBuffers) {
    this.words = new Int32Array(buffers.records);
    this.table = new Int32Array(buffers.table);
  }
  get(id: number, field: number): number {
    return Atomics.load(this.words, id * WORDS + field);
  }
  set(id: number, field: number, value: number): void {
    Atomics.store(this.words, id * WORDS + field, value);
  }

  /** Runs `action` with the inode's own lock. */
  withLock<T>(id: number, action: () => T): T {
    const at = id * WORDS + FIELD.lock;
    lock(this.words, at);
    try {
      return action();
    } finally {
      unlock(this.words, at);
    }
  }
}
