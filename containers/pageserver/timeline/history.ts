/**
 * Which LSNs of a timeline can be read. Garbage collection drops what no read may ask for any more, so a read elsewhere would
 * find too little and could not tell: it is refused here, before it looks.
 *
 *   LSN ▲   everything            ─┐
 *       ├── horizon                │  read
 *       │     · retained LSN       │  a branch point, a lease
 *       │     · held LSN          ─┘  a read that is running, a compute that is attached
 *       │   the rest                  refused: TimelineError belowWindow
 */
import { formatLsn, type Lsn } from '../../../lib/postgres/lsn.ts';
import type { IndexedHistory } from '../../../lib/storage/layers/timeline-index.ts';
import { TimelineError } from './errors.ts';

export class History {
  #horizonLsn: Lsn;
  #retained: ReadonlySet<Lsn>;
  /** LSN ──► how many hold it. */
  readonly #held = new Map<Lsn, number>();

  constructor(indexed: Pick<IndexedHistory, 'horizonLsn' | 'retainedLsns'>) {
    this.#horizonLsn = indexed.horizonLsn;
    this.#retained = new Set(indexed.retainedLsns);
  }
  /** At and above it everything can be read. */
  get horizonLsn(): Lsn {
    return this.#horizonLsn;
  }
  /** LSNs below the horizon that can be read, ascending. */
  get retainedLsns(): Lsn[] {
    return [...this.#retained].sort((a, b) => a - b);
  }

  canRead(lsn: Lsn): boolean {
    return lsn >= this.#horizonLsn || this.#retained.has(lsn) || this.#held.has(lsn);
  }
  /** Throws TimelineError `belowWindow`. */
  assertReadable(lsn: Lsn): void {
    if (this.canRead(lsn)) return;
    const window = formatLsn(this.#horizonLsn);
    throw new TimelineError(
      'belowWindow',
      `${formatLsn(lsn)} is below the history that is kept, which begins at ${window}`,
    );
  }
  /** What a read at `lsn` needs stays until the returned function is called. Throws TimelineError `belowWindow`. */
  hold(lsn: Lsn): () => void {
    this.assertReadable(lsn);
    this.#held.set(lsn, (this.#held.get(lsn) ?? 0) + 1);
    let holds = true;
    return () => {
      if (!holds) return;
      holds = false;
      const count = this.#held.get(lsn)! - 1;
      if (count === 0) this.#held.delete(lsn);
      else this.#held.set(lsn, count);
    };
  }

  /**
   * From now on nothing below `horizonLsn` is read but at `retained` LSNs and at those held at this moment, which are returned
   * with them: all of these must stay readable until the next call.
   */
  advance(horizonLsn: Lsn, retained: Iterable<Lsn>): Lsn[] {
    const horizon = Math.max(horizonLsn, this.#horizonLsn) as Lsn;
    const points = [...retained, ...this.#held.keys()].filter((each) => each < horizon && this.canRead(each));
    this.#horizonLsn = horizon;
    this.#retained = new Set(points);
    return this.retainedLsns;
  }
}
