/** Entries of several layers as one sequence in the order of a layer file. No two inputs hold the same key at one LSN. */
import { assert } from '../../assert.ts';
import type { Lsn } from '../../postgres/lsn.ts';
import type { Key } from '../key.ts';
import type { Value } from '../value.ts';

export interface LayerEntry {
  key: Key;
  lsn: Lsn;
  value: Value;
}

export async function* mergeEntries(
  inputs: readonly AsyncIterable<LayerEntry>[],
): AsyncGenerator<LayerEntry> {
  const iterators = inputs.map((input) => input[Symbol.asyncIterator]());
  try {
    const heads: (LayerEntry | null)[] = [];
    for (const iterator of iterators) heads.push(await nextOf(iterator));
    for (;;) {
      let least = -1;
      for (let at = 0; at < heads.length; at++) {
        const head = heads[at];
        if (head !== null && (least < 0 || precedes(head, heads[least]!))) least = at;
      }
      if (least < 0) return;
      const entry = heads[least]!;
      heads[least] = await nextOf(iterators[least]);
      yield entry;
    }
  } finally {
    for (const iterator of iterators) await iterator.return?.();
  }
}

function precedes(a: LayerEntry, b: LayerEntry): boolean {
  if (a.key !== b.key) return a.key < b.key;
  assert(a.lsn !== b.lsn, `layers that are merged hold a key at LSN ${a.lsn} twice`);
  return a.lsn < b.lsn;
}

async function nextOf(iterator: AsyncIterator<LayerEntry>): Promise<LayerEntry | null> {
  const next = await iterator.next();
  return next.done === true ? null : next.value;
}
