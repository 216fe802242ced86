/**
 * What a mount is made of, seen from one thread: the remote files, what of them is here, the inodes, and the
 * backing folder. The threads share the memory below; each makes its own Volume over it.
 */
import { closeSync, ftruncateSync, openSync, unlinkSync, writeSync, constants } from 'node:fs';
import { assert } from '../../../lib/assert.ts';
import { PAGE_SIZE, PAGES_MAX } from '../../../lib/protocol/pages.ts';
import { FIRST_REMOTE, FLAG, ROOT, STATE, type InodeBuffers } from './inode-records.ts';
import { Inodes } from './inodes.ts';
import { Presence, UNIT_SIZE, UNITS_PER_BLOCK } from './presence.ts';
import { RemoteFiles, type RemoteFileBuffers } from './remote-files.ts';

/** Everything a reader thread needs to know, as it is sent to it. */
export interface VolumeShared {
  /** The backing folder: `…/pages`. */
  root: string;
  uid: number;
  gid: number;
  /** Time of every remote file, seconds since 1970. */
  bootTime: number;
  remote: RemoteFileBuffers;
  inodes: InodeBuffers;
  /** [0] entries taken, [1] 1 while recording, then triples (id, block, count). */
  touched: SharedArrayBuffer;
}

/** In the root, for a moment: a file that lost its name before it had a backing file. */
export const UNLINKED_PREFIX = '.unlinked-';

const TOUCHED_HEADER = 2;
export const newTouched = (): SharedArrayBuffer => {
  const buffer = new SharedArrayBuffer((TOUCHED_HEADER + 3 * PAGES_MAX) * 4);
  new Int32Array(buffer)[1] = 1;
  return buffer;
};

export class Volume {
  readonly shared: VolumeShared;
  readonly remote: RemoteFiles;
  readonly presence: Presence;
  readonly inodes: Inodes;
  readonly #touched: Int32Array<SharedArrayBuffer>;

  constructor(shared: VolumeShared) {
    this.shared = shared;
    this.remote = new RemoteFiles(shared.remote);
    this.presence = new Presence(new Int32Array(shared.remote.presence));
    this.inodes = new Inodes(shared.inodes);
    this.#touched = new Int32Array(shared.touched);
  }

  /** Path of an inode in the backing folder, as its name is now. */
  backingPath(id: number): string {
    if (id === ROOT) return this.shared.root;
    if (this.inodes.isRemote(id) && !this.inodes.hasFlag(id, FLAG.NAME_GONE))
      return `${this.shared.root}/${this.remote.path(id - FIRST_REMOTE)}`;
    return this.childPath(this.inodes.parent(id), this.inodes.name(id));
  }
  childPath(parent: number, name: string): string {
    return `${this.backingPath(parent)}/${name}`;
  }

  /** Whether the inode's bytes may still be the pageserver's. */
  isRemote(id: number): boolean {
    return this.inodes.isRemote(id);
  }
  /** Whether there is no backing file yet. */
  isUntouched(id: number): boolean {
    return this.inodes.isRemote(id) && !this.inodes.hasFlag(id, FLAG.MATERIALISED);
  }

  /** The backing file's descriptor, made and opened if need be, pinned until `inodes.descriptors.unpin(id)`. */
  pin(id: number): number {
    return this.inodes.descriptors.pin(id, this.#open);
  }
  /** The same for a caller that holds the inode's lock; not pinned. */
  openLocked(id: number): number {
    return this.inodes.descriptors.openLocked(id, this.#open);
  }
  readonly #open = (id: number): number => {
    if (!this.isUntouched(id)) return openSync(this.backingPath(id), constants.O_RDWR);
    const orphan = this.inodes.state(id) === STATE.UNLINKED;
    const path = orphan ? `${this.shared.root}/${UNLINKED_PREFIX}${id}` : this.backingPath(id);
    const descriptor = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL, 0o600);
    try {
      ftruncateSync(descriptor, this.remote.size(id - FIRST_REMOTE));
      if (orphan) unlinkSync(path);
    } catch (error) {
      closeSync(descriptor);
      throw error;
    }
    this.inodes.setFlag(id, FLAG.MATERIALISED);
    return descriptor;
  };

  /** Whether bytes [offset, end) of a file are here; what lies beyond its size at the boot LSN always is. */
  isPresent(id: number, offset: number, end: number): boolean {
    const index = id - FIRST_REMOTE;
    const remoteEnd = Math.min(end, this.remote.size(index));
    if (offset >= remoteEnd) return true;
    return this.presence.has(
      this.remote.presenceStart(index),
      Math.floor(offset / UNIT_SIZE),
      Math.ceil(remoteEnd / UNIT_SIZE),
    );
  }

  /** Units [from, to) become local. The caller holds the inode's lock and has the bytes in place. */
  setPresent(id: number, from: number, to: number): void {
    const index = id - FIRST_REMOTE;
    const end = Math.min(to, this.remote.blocks(index) * UNITS_PER_BLOCK);
    if (from < end) this.presence.set(this.remote.presenceStart(index), from, end);
  }

  absentRuns(id: number, from: number, to: number): [block: number, count: number][] {
    const index = id - FIRST_REMOTE;
    return this.presence.absentRuns(
      this.remote.presenceStart(index),
      from,
      Math.min(to, this.remote.blocks(index)),
    );
  }

  /**
   * Puts fetched pages into the backing file, from `block` on, except for what was written, truncated or put
   * there meanwhile. `bytes` holds whole pages.
   */
  store(id: number, block: number, bytes: Uint8Array): void {
    const inodes = this.inodes;
    inodes.withLock(id, () => {
      if (inodes.state(id) === STATE.UNLINKED && inodes.isForgotten(id)) return;
      const start = this.remote.presenceStart(id - FIRST_REMOTE);
      const first = block * UNITS_PER_BLOCK;
      const units = (bytes.length / PAGE_SIZE) * UNITS_PER_BLOCK;
      for (let from = 0; from < units;) {
        const absent = !this.presence.has(start, first + from, first + from + 1);
        let to = from + 1;
        while (to < units && absent === !this.presence.has(start, first + to, first + to + 1)) to++;
        if (absent) {
          const part = bytes.subarray(from * UNIT_SIZE, to * UNIT_SIZE);
          writeAll(this.openLocked(id), part, (first + from) * UNIT_SIZE);
          this.presence.set(start, first + from, first + to);
        }
        from = to;
      }
    });
  }

  /** Records a read of a remote file for `takeTouched`. */
  recordTouch(id: number, offset: number, size: number): void {
    const words = this.#touched;
    if (Atomics.load(words, 1) === 0) return;
    const block = Math.floor(offset / PAGE_SIZE);
    const end = Math.min(Math.ceil((offset + size) / PAGE_SIZE), this.remote.blocks(id - FIRST_REMOTE));
    if (block >= end) return;
    const entry = Atomics.add(words, 0, 1);
    if (entry >= PAGES_MAX) {
      Atomics.store(words, 1, 0);
      return;
    }
    const at = TOUCHED_HEADER + entry * 3;
    Atomics.store(words, at, id);
    Atomics.store(words, at + 1, block);
    Atomics.store(words, at + 2, end - block);
  }
  /** Ends the recording: what was read, in order. */
  takeTouched(): { id: number; block: number; count: number }[] {
    const words = this.#touched;
    Atomics.store(words, 1, 0);
    const entries = [];
    for (let entry = 0; entry < Math.min(Atomics.load(words, 0), PAGES_MAX); entry++) {
      const at = TOUCHED_HEADER + entry * 3;
      const [id, block, count] = [words[at], words[at + 1], words[at + 2]];
      if (id !== 0) entries.push({ id, block, count });
    }
    return entries;
  }
}

export function writeAll(descriptor: number, bytes: Uint8Array, position: number): void {
  for (let done = 0; done < bytes.length;) {
    const count = writeSync(descriptor, bytes, done, bytes.length - done, position + done);
    assert(count > 0, `write of ${bytes.length - done} bytes wrote none`);
    done += count;
  }
}
