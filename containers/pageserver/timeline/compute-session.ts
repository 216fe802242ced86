/**
 * One compute that is attached to a timeline. Whatever it reads it reads as of the LSN that it was started at, for as long as it
 * runs, perhaps for weeks: so its last LSN is held, and garbage collection keeps what reads there need.
 */
import type { Lsn } from '../../../lib/postgres/lsn.ts';
import { PROGRESS_BYTES } from '../../../lib/protocol/pages.ts';
import type { History } from './history.ts';

export interface Progress {
  ingestedLsn: Lsn;
  remoteConsistentLsn: Lsn;
}

export class ComputeSession {
  readonly #history: History;
  readonly #onClose: () => void;
  readonly #tell: (progress: Progress) => void;
  #toldLsn = 0;
  #lsn: Lsn | null = null;
  #release: (() => void) | null = null;
  #isClosed = false;

  constructor(history: History, options: { tell: (progress: Progress) => void; onClose: () => void }) {
    this.#history = history;
    this.#tell = options.tell;
    this.#onClose = options.onClose;
  }
  /** Tells the compute, where that is worth a message. */
  progressed(progress: Progress): void {
    if (progress.ingestedLsn - this.#toldLsn < PROGRESS_BYTES) return;
    this.#toldLsn = progress.ingestedLsn;
    this.#tell(progress);
  }
  /** Where it reads; null before its first request. */
  get lsn(): Lsn | null {
    return this.#lsn;
  }
  /** It reads here now. Throws TimelineError `belowWindow`. */
  readsAt(lsn: Lsn): void {
    if (this.#isClosed || lsn === this.#lsn) return;
    const release = this.#history.hold(lsn);
    this.#release?.();
    this.#release = release;
    this.#lsn = lsn;
  }
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#release?.();
    this.#onClose();
  }
}
