/**
 * Where the time of a boot goes. Phases may overlap; each has its begin and its end, in milliseconds since the process
 * began. `load` is what passed until the clock began: Node itself, and the program's code.
 *
 *   process begins ──load──► clock ──elect, mount──► manifest ──► layout ──► postgres ──► stream ──► roles
 */
export type Span = readonly [beginMs: number, endMs: number];

export class PhaseClock {
  readonly #spans: Record<string, Span> = {};
  readonly #now: () => number;

  /** `now`: milliseconds since the process began. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
    this.#spans['load'] = [0, round(now())];
  }

  /** Runs `work` and notes its time under `phase`, also when it fails. */
  async measure<T>(phase: string, work: () => Promise<T>): Promise<T> {
    const begin = this.#now();
    try {
      return await work();
    } finally {
      this.#spans[phase] = [round(begin), round(this.#now())];
    }
  }

  /** Milliseconds by phase, and `total` since the process began. */
  read(): Record<string, number> {
    const lengths = Object.entries(this.#spans).map(([phase, [begin, end]]) => [phase, round(end - begin)]);
    return { ...(Object.fromEntries(lengths) as Record<string, number>), total: round(this.#now()) };
  }
  spans(): Record<string, Span> {
    return { ...this.#spans };
  }
}

const round = (ms: number): number => Math.round(ms * 10) / 10;
