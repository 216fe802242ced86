/** Chances of a soak: the same from the same seed. */
export class Random {
  #state: number;
  constructor(seed: number) {
    this.#state = seed >>> 0;
  }
  /** 0 to `max` - 1. */
  below(max: number): number {
    this.#state = (Math.imul(this.#state, 1664525) + 1013904223) >>> 0;
    return Math.floor((this.#state / 2 ** 32) * max);
  }
  /** From 0 to 1. */
  fraction(): number {
    return this.below(1_000_000) / 1_000_000;
  }
  chance(probability: number): boolean {
    return this.fraction() < probability;
  }
  pick<T>(of: readonly T[]): T {
    return of[this.below(of.length)];
  }
}
