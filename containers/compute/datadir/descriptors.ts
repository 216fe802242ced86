/**
 * Descriptors of backing files, one for each inode, shared by everyone who has the file open.
 *
 * A descriptor is pinned while a system call uses it, so that another thread does not close it (the number could mean
 * another file a moment later). Pinning counts first and looks then; closing takes the descriptor away first and
 * looks at the count then: one of the two always sees the other.
 */
import { closeSync } from 'node:fs';
import {
  FIELD,
  FIRST_REMOTE,
  HEADER,
  InodeRecords,
  STATE,
  WORDS,
  type InodeBuffers,
} from './inode-records.ts';
import { unlock } from './shared-lock.ts';

export class Descriptors {
  readonly #records: InodeRecords;
  readonly #descriptorsMax: number;

  constructor(buffers: InodeBuffers, records: InodeRecords) {
    this.#records = records;
    this.#descriptorsMax = buffers.descriptorsMax;
  }

  /**
   * The descriptor of the backing file, pinned until `unpin`; `open` makes it when there is none. What `open`
   * throws passes through.
   */
  pin(id: number, open: (id: number) => number): number {
    const at = id * WORDS;
    Atomics.add(this.#records.words, at + FIELD.pins, 1);
    const descriptor = Atomics.load(this.#records.words, at + FIELD.descriptor) - 1;
    if (descriptor >= 0) return descriptor;
    try {
      return this.#records.withLock(id, () => this.openLocked(id, open));
    } catch (error) {
      this.unpin(id);
      throw error;
    }
  }
  unpin(id: number): void {
    Atomics.sub(this.#records.words, id * WORDS + FIELD.pins, 1);
  }

  /** The descriptor or a new one, for a caller that holds the inode's lock. */
  openLocked(id: number, open: (id: number) => number): number {
    const kept = this.#records.get(id, FIELD.descriptor) - 1;
    if (kept >= 0) return kept;
    const descriptor = open(id);
    this.set(id, descriptor);
    return descriptor;
  }
  set(id: number, descriptor: number): void {
    this.#records.set(id, FIELD.descriptor, descriptor + 1);
    if (Atomics.add(this.#records.table, HEADER.descriptors, 1) + 1 >= this.#descriptorsMax)
      this.#closeSome(id);
  }

  /** Closes the descriptor unless it is in use. The caller holds the inode's lock. */
  close(id: number): boolean {
    const at = id * WORDS;
    const kept = Atomics.exchange(this.#records.words, at + FIELD.descriptor, 0);
    if (kept === 0) return false;
    if (Atomics.load(this.#records.words, at + FIELD.pins) > 0) {
      Atomics.store(this.#records.words, at + FIELD.descriptor, kept);
      return false;
    }
    Atomics.sub(this.#records.table, HEADER.descriptors, 1);
    closeSync(kept - 1);
    return true;
  }

  closeAll(): void {
    for (let id = FIRST_REMOTE, end = this.#records.table[HEADER.used]; id < end; id++)
      if (this.#records.get(id, FIELD.descriptor) !== 0) this.#records.withLock(id, () => this.close(id));
  }

  /** Makes room: closes a quarter of the descriptors, of files that can be opened again by name. */
  #closeSome(except: number): void {
    let left = Math.ceil(this.#descriptorsMax / 4);
    const used = this.#records.table[HEADER.used];
    const start = except; // so that not always the same files are hit
    for (let step = 1; step < used && left > 0; step++) {
      const id = FIRST_REMOTE + ((start - FIRST_REMOTE + step) % (used - FIRST_REMOTE));
      if (id === except || this.#records.get(id, FIELD.descriptor) === 0) continue;
      const at = id * WORDS + FIELD.lock;
      if (Atomics.compareExchange(this.#records.words, at, 0, 1) !== 0) continue; // held by somebody: not worth waiting
      try {
        const needed =
          this.#records.get(id, FIELD.state) === STATE.UNLINKED && this.#records.get(id, FIELD.lookups) > 0;
        if (!needed && this.close(id)) left--;
      } finally {
        unlock(this.#records.words, at);
      }
    }
  }
}
