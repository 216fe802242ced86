/** Requests that wait for an LSN to be ingested, each with its deadline. */
import { formatLsn, type Lsn } from '../../../lib/postgres/lsn.ts';
import { TimelineError } from './errors.ts';

interface Waiter {
  lsn: Lsn;
  resolve: () => void;
  reject: (error: TimelineError) => void;
  timer: NodeJS.Timeout;
}

export class LsnWaiters {
  #waiters: Waiter[] = [];
  #lowest = Infinity;

  get count(): number {
    return this.#waiters.length;
  }
  /** Resolves once `reached` was called with `lsn` or more. Throws TimelineError `behind` after `timeoutMs`. */
  wait(lsn: Lsn, timeoutMs: number, position: () => Lsn): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#remove((each) => each === waiter);
        const waited = `${formatLsn(lsn)} was not ingested within ${timeoutMs} ms`;
        reject(new TimelineError('behind', `${waited}: the timeline is at ${formatLsn(position())}`));
      }, timeoutMs);
      const waiter: Waiter = { lsn, resolve, reject, timer };
      this.#waiters.push(waiter);
      this.#lowest = Math.min(this.#lowest, lsn);
    });
  }
  /** Everything up to `lsn` can be read. */
  reached(lsn: Lsn): void {
    if (lsn < this.#lowest) return;
    for (const waiter of this.#remove((each) => each.lsn <= lsn)) waiter.resolve();
  }
  fail(error: TimelineError): void {
    for (const waiter of this.#remove(() => true)) waiter.reject(error);
  }
  #remove(which: (waiter: Waiter) => boolean): Waiter[] {
    const removed = this.#waiters.filter(which);
    this.#waiters = this.#waiters.filter((each) => !removed.includes(each));
    this.#lowest = Math.min(...this.#waiters.map((each) => each.lsn)); // Infinity for none
    for (const { timer } of removed) clearTimeout(timer);
    return removed;
  }
}
