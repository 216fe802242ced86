/** Entries of several layers as one sequence in the order of a layer file. No two inputs hold the same key at one LSN. */
import { assert } from '../../assert.ts';
import type { Lsn } from '../../postgres/lsn.ts';
import type { Key } from '../key.ts';
import type { Value } from '../value.ts';
import type { LayerCursor } from './cursor.ts';

export interface LayerEntry {
  key: Key;
  lsn: Lsn;
  value: Value;
}

/** Memory: one block of each input. */
export class MergeCursor {
  /** Those that are at an entry; the least first. */
  readonly #order: LayerCursor[] = [];
  #waiting: readonly LayerCursor[];

  constructor(inputs: readonly LayerCursor[]) {
    this.#waiting = inputs;
  }
  get key(): Key {
    return this.#order[0].key;
  }
  get lsn(): Lsn {
    return this.#order[0].lsn;
  }
  /** A view, good until the next call of `next`. */
  get value(): Value {
    return this.#order[0].value;
  }

  /** Goes to the first entry, then to the next; false behind the last. Mostly it need not wait. */
  next(): boolean | Promise<boolean> {
    if (this.#waiting.length > 0) return this.#start();
    const cursor = this.#order.shift();
    if (cursor === undefined) return false;
    const found = cursor.next();
    if (typeof found !== 'boolean') return found.then((is) => this.#place(cursor, is));
    return this.#place(cursor, found);
  }
  async #start(): Promise<boolean> {
    const inputs = this.#waiting;
    this.#waiting = [];
    for (const cursor of inputs) this.#place(cursor, await cursor.next());
    return this.#order.length > 0;
  }
  #place(cursor: LayerCursor, isAtEntry: boolean): boolean {
    if (isAtEntry) {
      let at = 0;
      while (at < this.#order.length && precedes(this.#order[at], cursor)) at++;
      this.#order.splice(at, 0, cursor);
    }
    return this.#order.length > 0;
  }
}

function precedes(a: LayerCursor, b: LayerCursor): boolean {
  if (a.key !== b.key) return a.key < b.key;
  assert(a.lsn !== b.lsn, `layers that are merged hold a key at LSN ${a.lsn} twice`);
  return a.lsn < b.lsn;
}
