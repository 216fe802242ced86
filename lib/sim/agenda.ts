/**
 * What will happen when: a binary heap by time; what is due at the same time happens in the order in which it was set
 * down. Times are whole ticks; a tick stands for about a millisecond.
 */
export type Happening = () => void;

const ORDERS = 2 ** 24;

export class Agenda {
  now = 0;
  #order = 0;
  readonly #keys: number[] = [];
  readonly #what: Happening[] = [];

  get length(): number {
    return this.#keys.length;
  }

  at(time: number, what: Happening): void {
    const key = time * ORDERS + this.#order++;
    const keys = this.#keys;
    const all = this.#what;
    let i = keys.length;
    keys.push(key);
    all.push(what);
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (keys[parent] <= key) break;
      keys[i] = keys[parent];
      all[i] = all[parent];
      i = parent;
    }
    keys[i] = key;
    all[i] = what;
  }
  after(ticks: number, what: Happening): void {
    this.at(this.now + ticks, what);
  }

  /** Takes the next one, whose time it then is. */
  next(): Happening | undefined {
    const keys = this.#keys;
    const all = this.#what;
    if (keys.length === 0) return undefined;
    const first = all[0];
    this.now = Math.floor(keys[0] / ORDERS);
    const key = keys.pop()!;
    const what = all.pop()!;
    const length = keys.length;
    if (length === 0) return first;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= length) break;
      if (child + 1 < length && keys[child + 1] < keys[child]) child++;
      if (keys[child] >= key) break;
      keys[i] = keys[child];
      all[i] = all[child];
      i = child;
    }
    keys[i] = key;
    all[i] = what;
    return first;
  }
}
