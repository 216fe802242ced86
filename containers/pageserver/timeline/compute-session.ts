/**
 * One compute that is attached to a timeline. Whatever it reads it reads as of the LSN that it was started at, for as long as it
 * runs, perhaps for weeks: so its last LSN is held, and garbage collection keeps what reads there need.
 */
import type { Lsn } from '../../../lib/postgres/lsn.ts';
import type { History } from './history.ts';

export class ComputeSession {
  readonly #history: History;
  readonly #onClose: () => void;
  #lsn: Lsn | null = null;
  #release: (() => void) | null = null;
  #isClosed = false;

  constructor(history: History, onClose: () => void) {
    this.#history = history;
    this.#onClose = onClose;
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
