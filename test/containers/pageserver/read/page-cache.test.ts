/**
 * The page cache against a model that keeps every version: whatever the cache answers is the content at that LSN, of that
 * key, of that timeline; and it never holds more than it has room for.
 */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { PageCache } from '../../../../containers/pageserver/read/page-cache.ts';
import { lsn, type Lsn } from '../../../../lib/postgres/lsn.ts';
import { PAGE_SIZE } from '../../../../lib/protocol/pages.ts';
import { relationPageKey, relationSizeKey, type Key } from '../../../../lib/storage/key.ts';

const RELATION = { spcOid: 1663, dbOid: 5, relNumber: 16384, fork: 0 };
const page = (block: number): Key => relationPageKey(RELATION, block);
const SLOTS = 4;
/** Room for four pages, and for a few of the others. */
const BYTES = Math.ceil((SLOTS * PAGE_SIZE * 16) / 15) + 16;

/** Every version of every key; contents follow from where they belong. */
class Model {
  readonly #versions = new Map<string, Lsn[]>();
  write(timeline: number, key: Key, at: Lsn): void {
    const id = `${timeline}/${key}`;
    this.#versions.set(id, [...(this.#versions.get(id) ?? [lsn(1)]), at]);
  }
  newest(timeline: number, key: Key, at: Lsn): Lsn {
    return (this.#versions.get(`${timeline}/${key}`) ?? [lsn(1)]).findLast((each) => each <= at)!;
  }
  content(timeline: number, key: Key, at: Lsn): Uint8Array {
    const bytes = new Uint8Array(key === SIZE ? 4 : PAGE_SIZE);
    new DataView(bytes.buffer).setUint32(
      0,
      timeline * 1e6 + key.charCodeAt(17) * 1e4 + this.newest(timeline, key, at),
      true,
    );
    bytes[bytes.length - 1] ^= 0x5a;
    return bytes;
  }
}
const SIZE = relationSizeKey(RELATION);
const KEYS = [...Array.from({ length: 5 }, (_, block) => page(block)), SIZE];

/** As the reader uses it; the answer and whether the cache alone gave it. */
function read(cache: PageCache, model: Model, timeline: number, key: Key, at: Lsn): Uint8Array {
  const cached = cache.get(timeline, key, at);
  if (cached !== undefined && cached.lsn >= at) return cached.content!.slice();
  const sinceLsn = model.newest(timeline, key, at);
  const content = model.content(timeline, key, at);
  if (cached === undefined) cache.set(timeline, key, { sinceLsn, lsn: at, content });
  else if (sinceLsn <= cached.lsn) cache.extend(cached, at);
  else if (key === SIZE) cache.set(timeline, key, { sinceLsn, lsn: at, content });
  else {
    const slot = cache.take(timeline, key);
    slot.content.set(content);
    [slot.sinceLsn, slot.lsn] = [sinceLsn, at];
  }
  return (cache.peek(timeline, key)?.lsn === at ? cache.peek(timeline, key)!.content! : content).slice();
}

type Step =
  | { kind: 'write'; timeline: number; key: number }
  | { kind: 'drop'; timeline: number; key: number }
  | { kind: 'read'; timeline: number; key: number; back: number }
  | { kind: 'dropTimeline'; timeline: number };
const timeline = fc.integer({ min: 0, max: 1 });
const key = fc.integer({ min: 0, max: KEYS.length - 1 });
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('write' as const), timeline, key }) },
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant('read' as const),
      timeline,
      key,
      back: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 20 })),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('drop' as const), timeline, key }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('dropTimeline' as const), timeline }) },
);

/** Runs steps on a cache; every answer is compared, and the number of pages. */
function follow(steps: readonly Step[], make: () => PageCache): void {
  const [cache, model] = [make(), new Model()];
  let head = 10;
  for (const each of steps) {
    if (each.kind === 'dropTimeline') cache.dropTimeline(each.timeline);
    else if (each.kind === 'drop') cache.drop(each.timeline, KEYS[each.key]);
    else if (each.kind === 'write') model.write(each.timeline, KEYS[each.key], lsn(++head));
    else {
      const at = lsn(Math.max(1, head - each.back));
      const found = read(cache, model, each.timeline, KEYS[each.key], at);
      expect(Buffer.from(found).equals(model.content(each.timeline, KEYS[each.key], at))).toBe(true);
    }
    const held = [0, 1].flatMap((of) => KEYS.slice(0, -1).filter((one) => cache.peek(of, one) !== undefined));
    expect(held.length).toBeLessThanOrEqual(SLOTS);
  }
}
const check = (make: () => PageCache, endOnFailure = false) =>
  fc.assert(
    fc.property(fc.array(step, { minLength: 100, maxLength: 200, size: 'max' }), (steps) =>
      follow(steps, make),
    ),
    { numRuns: 100, endOnFailure },
  );

test('answers are the contents at that LSN, whatever was evicted, dropped or brought further', () => {
  expect(new PageCache(BYTES).pagesMax).toBe(SLOTS);
  check(() => new PageCache(BYTES));
});

test('the check finds a cache that mixes timelines up, one that extends too far, and one that takes older for newer', () => {
  class Mixed extends PageCache {
    override get(_: number, of: Key, at: Lsn) {
      for (const each of [0, 1]) if (this.peek(each, of) !== undefined) return super.get(each, of, at);
      return undefined;
    }
  }
  class Extended extends PageCache {
    override extend(cached: { lsn: Lsn }, to: Lsn): void {
      cached.lsn = lsn(to + 10);
    }
  }
  class Old extends PageCache {
    override get(of: number, one: Key, at: Lsn) {
      const cached = this.peek(of, one);
      return cached !== undefined && cached.sinceLsn > at ? { ...cached, lsn: at } : super.get(of, one, at);
    }
  }
  for (const Planted of [Mixed, Extended, Old]) expect(() => check(() => new Planted(BYTES), true)).toThrow();
});

test('a scan that passes once does not push out what is used', () => {
  const cache = new PageCache(BYTES * 4);
  const content = new Uint8Array(PAGE_SIZE);
  const put = (block: number) => cache.set(0, page(block), { sinceLsn: lsn(1), lsn: lsn(1), content });
  const hot = [0, 1, 2];
  for (const block of hot) put(block);
  for (let block = 100; block < 200; block++) {
    for (const each of hot) expect(cache.get(0, page(each), lsn(1)), `after ${block}`).toBeDefined();
    put(block);
  }
});

test('a read between the version and the newest look-up is a hit, one before the version is none', () => {
  const cache = new PageCache(BYTES);
  cache.set(0, page(1), { sinceLsn: lsn(50), lsn: lsn(100), content: new Uint8Array(PAGE_SIZE) });
  expect(cache.get(0, page(1), lsn(50))).toMatchObject({ lsn: 100 });
  expect(cache.get(0, page(1), lsn(70))).toMatchObject({ lsn: 100 });
  expect(cache.get(0, page(1), lsn(49))).toBeUndefined();
  expect(cache.get(0, page(1), lsn(200))).toMatchObject({ lsn: 100 });
  expect([cache.hits, cache.misses]).toEqual([3, 1]);
});
