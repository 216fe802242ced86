/** The simulator's only source of chance: sfc32, seeded, so that a seed is a whole story. */
export class Random {
  #a: number;
  #b: number;
  #c: number;
  #d: number;

  constructor(seed: number) {
    this.#a = seed | 0;
    this.#b = Math.floor(seed / 2 ** 32) | 0;
    this.#c = 0x9e3779b9 | 0;
    this.#d = 1;
    for (let i = 0; i < 12; i++) this.next();
  }
  /** Within 0 and 2^32-1. */
  next(): number {
    const t = (this.#a + this.#b + this.#d) | 0;
    this.#d = (this.#d + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = (this.#c << 21) | (this.#c >>> 11);
    this.#c = (this.#c + t) | 0;
    return t >>> 0;
  }
  /** Within 0 and `count`-1. */
  below(count: number): number {
    return Math.floor((this.next() / 2 ** 32) * count);
  }
  /** Within `from` and `to`, both included. */
  within(from: number, to: number): number {
    return from + this.below(to - from + 1);
  }
  /** True once in `times`, on average; never for 0. */
  once(times: number): boolean {
    return times > 0 && this.below(times) === 0;
  }
  pick<T>(values: readonly T[]): T {
    return values[this.below(values.length)];
  }
}
