/**
 * Where the time of a boot goes. Phases may overlap; each is measured from its begin to its end. `load` is what passed
 * between the start of the process and that of the clock: Node itself, and the program's code.
 */
export class PhaseClock {
  readonly #ms: Record<string, number> = {};
  readonly #now: () => number;

  /** `now`: milliseconds since the process began. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
    this.#ms['load'] = round(now());
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

  /** Milliseconds by phase, and `total` since the process began. */
  read(): Record<string, number> {
    return { ...this.#ms, total: round(this.#now()) };
  }
}

const round = (ms: number): number => Math.round(ms * 10) / 10;
