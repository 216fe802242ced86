/** WAL that makes many layers of few pages, and the comparison of a timeline with what that WAL means. */
import { expect } from 'vitest';
import type { Timeline } from '../../../../containers/pageserver/timeline/timeline.ts';
import { crc32c } from '../../../../lib/postgres/crc32c.ts';
import type { Lsn } from '../../../../lib/postgres/lsn.ts';
import {
  CHECKPOINT_KEY,
  kindRange,
  relationPageKey,
  relationSizeKey,
  slruPageKey,
  type Key,
} from '../../../../lib/storage/key.ts';
import { decodeSize } from '../../../../lib/storage/value.ts';
import type { MemoryStore } from '../../../support/memory-store.ts';
import { START_LSN, SYSTEM_IDENTIFIER } from './support.ts';
import { WalBuilder } from './wal-builder.ts';

const RELATIONS = [16384, 16385, 16386];

/** `count` pages and commits, each page of a few relations overwritten again and again. */
export function someWal(count: number, seed = 1): WalBuilder {
  const wal = new WalBuilder(START_LSN, SYSTEM_IDENTIFIER);
  let state = seed;
  const random = (max: number) => (state = (Math.imul(state, 1103515245) + 12345) >>> 0) % max;
  for (let i = 0; i < count; i++) {
    if (random(3) === 0) wal.commit(700 + i);
    else wal.page(RELATIONS[random(3)], random(12), seed * 1000 + i);
  }
  return wal;
}

/** Everything that the timeline says as of `at` equals what the model says. */
export async function expectSame(timeline: Timeline, model: MemoryStore, at: Lsn): Promise<void> {
  const truth = model.view(at);
  const view = timeline.view(await timeline.waitFor(at));
  for (const kind of ['database', 'relationMap', 'slruSegment', 'relationSize'] as const) {
    const [expected, found] = [truth, view].map((each) => Array.fromAsync(each.scan(kindRange(kind))));
    expect(await found, kind).toEqual(await expected);
  }
  const keys: Key[] = [CHECKPOINT_KEY, slruPageKey('pg_xact', 0, 0)];
  for (const relNumber of RELATIONS) {
    const relation = { spcOid: 1663, dbOid: 5, relNumber, fork: 0 };
    const size = await truth.get(relationSizeKey(relation));
    for (let block = 0; block < (size === null ? 0 : decodeSize(size)); block++)
      keys.push(relationPageKey(relation, block));
  }
  for (const key of keys) {
    const [expected, found] = [await truth.get(key), await view.get(key)];
    expect(found === null ? null : crc32c(found), `key of kind ${key.charCodeAt(0)}`).toBe(
      expected === null ? null : crc32c(expected),
    );
  }
}

/** Resolves when everything is uploaded and compacted. */
export async function idle(timeline: Timeline): Promise<void> {
  while (!timeline.isIdle) await new Promise((resolve) => setTimeout(resolve, 1));
}
