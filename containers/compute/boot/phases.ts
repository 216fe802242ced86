/** Where the time of a boot goes. Phases may overlap; each is measured from its begin to its end. */
export class PhaseClock {
  readonly #begin: number;
  readonly #ms: Record<string, number> = {};
  readonly #now: () => number;

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
    this.#begin = now();
  }

  /** Runs `work` and notes its time under `phase`, also when it fails. */
  async measure<T>(phase: string, work: () => Promise<T>): Promise<T> {
    const begin = this.#now();
    try {
      return await work();
    } finally {
      this.#ms[phase] = round(this.#now() - begin);
    }
  }

  /** Milliseconds by phase, and `total` since this clock was made. */
  read(): Record<string, number> {
    return { ...this.#ms, total: round(this.#now() - this.#begin) };
  }
}

const round = (ms: number): number => Math.round(ms * 10) / 10;
