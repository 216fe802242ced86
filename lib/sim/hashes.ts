/** A set of hashes from 1 on: one table of numbers, so that tens of millions take eight to twenty bytes each. */
const CAPACITY_FIRST = 1 << 16;
const FILL_MAX = 0.7;
const FREE = 0;

export class Hashes {
  #table = new Float64Array(CAPACITY_FIRST);
  #size = 0;

  get size(): number {
    return this.#size;
  }
  has(hash: number): boolean {
    return this.#table[this.#placeOf(this.#table, hash)] === hash;
  }
  add(hash: number): void {
    if (this.#size >= this.#table.length * FILL_MAX) this.#grow();
    const place = this.#placeOf(this.#table, hash);
    if (this.#table[place] === hash) return;
    this.#table[place] = hash;
    this.#size++;
  }
  /** Where it is, or would be. */
  #placeOf(table: Float64Array, hash: number): number {
    let place = hash % table.length;
    while (table[place] !== FREE && table[place] !== hash) place = place + 1 === table.length ? 0 : place + 1;
    return place;
  }
  #grow(): void {
    const table = new Float64Array(this.#table.length * 2);
    for (const hash of this.#table) if (hash !== FREE) table[this.#placeOf(table, hash)] = hash;
    this.#table = table;
  }
}
