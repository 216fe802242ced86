import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { lsn, type Lsn } from '../../../../lib/postgres/lsn.ts';
import { ALL_KEYS, type Key, type KeyRange } from '../../../../lib/storage/key.ts';
import { newestLsn, type LayerDescriptor } from '../../../../lib/storage/layers/descriptor.ts';
import { keyAfter, keyBefore, LayerMap } from '../../../../lib/storage/layers/layer-map.ts';
import { arbitraryKey, page, size } from './support.ts';

interface Fake {
  descriptor: LayerDescriptor;
}

/** What a search must find, from the definition alone. */
function naive(layers: readonly Fake[], key: Key, at: Lsn) {
  const over = layers.filter(({ descriptor }) => descriptor.keys.first <= key && key <= descriptor.keys.last);
  const image = over
    .filter(({ descriptor }) => descriptor.kind === 'image' && descriptor.lsn <= at)
    .sort((a, b) => newestLsn(b.descriptor) - newestLsn(a.descriptor))[0];
  const floor = image === undefined ? -1 : newestLsn(image.descriptor);
  const deltas = over
    .filter(({ descriptor: d }) => d.kind === 'delta' && d.startLsn < at && d.endLsn > floor)
    .sort((a, b) => newestLsn(b.descriptor) - newestLsn(a.descriptor));
  return { image: image ?? null, deltas };
}

/** Keys from `cuts`, so that ranges adjoin and overlap. */
const arbitraryRange: fc.Arbitrary<KeyRange> = fc.oneof(
  { weight: 1, arbitrary: fc.constant(ALL_KEYS) },
  {
    weight: 4,
    arbitrary: fc.tuple(arbitraryKey, arbitraryKey, fc.boolean()).map(([a, b, before]) => {
      const [first, last] = a < b ? [a, b] : [b, a];
      return { first, last: before && first < last ? keyBefore(last) : last };
    }),
  },
);
/** Layers of a history: the deltas over any key lie at distinct LSNs, because each takes a band of its own. */
const arbitraryLayers: fc.Arbitrary<Fake[]> = fc
  .array(
    fc.record({ keys: arbitraryRange, kind: fc.constantFrom('delta', 'image', 'both'), gap: fc.nat(3) }),
    {
      maxLength: 25,
    },
  )
  .map((steps) => {
    const layers: Fake[] = [];
    let at = 100;
    for (const [index, { keys, kind, gap }] of steps.entries()) {
      const startLsn = lsn(at);
      at += 10 + gap;
      if (kind !== 'image')
        layers.push({ descriptor: { kind: 'delta', keys, startLsn, endLsn: lsn(at), generation: index } });
      if (kind !== 'delta')
        layers.push({ descriptor: { kind: 'image', keys, lsn: lsn(at - (gap % 2)), generation: index } });
    }
    return layers;
  });
const arbitraryLsn = fc.integer({ min: 90, max: 500 }).map((value) => lsn(value));

test('a search finds what the definition says', () => {
  fc.assert(
    fc.property(arbitraryLayers, fc.array(fc.tuple(arbitraryKey, arbitraryLsn)), (layers, lookups) => {
      const map = new LayerMap<Fake>();
      map.replace({ insert: layers });
      for (const [key, at] of lookups) expect(map.search(key, at)).toEqual(naive(layers, key, at));
    }),
  );
});

test('a search of a range answers for each of its keys, without a gap', () => {
  fc.assert(
    fc.property(arbitraryLayers, arbitraryRange, arbitraryLsn, (layers, range, at) => {
      const map = new LayerMap<Fake>();
      map.replace({ insert: layers });
      const parts = map.searchRange(range, at);
      expect(parts[0].keys.first).toBe(range.first);
      expect(parts[parts.length - 1].keys.last).toBe(range.last);
      for (const [i, { keys, layers: found }] of parts.entries()) {
        if (i > 0) expect(keyAfter(parts[i - 1].keys.last)).toBe(keys.first);
        for (const key of [keys.first, keys.last]) expect(found).toEqual(naive(layers, key, at));
      }
    }),
  );
});

test('changes take effect as one', () => {
  fc.assert(
    fc.property(
      arbitraryLayers,
      fc.array(fc.boolean()),
      arbitraryKey,
      arbitraryLsn,
      (layers, out, key, at) => {
        const map = new LayerMap<Fake>();
        map.replace({ insert: layers });
        map.search(key, at);
        const removed = layers.filter((_, i) => out[i]);
        const kept = layers.filter((_, i) => !out[i]);
        map.replace({ remove: removed });
        expect(map.search(key, at)).toEqual(naive(kept, key, at));
        map.replace({ insert: removed });
        expect(map.search(key, at)).toEqual(naive(layers, key, at));
      },
    ),
  );
});

describe('the map refuses what would make two truths', () => {
  const delta: Fake = {
    descriptor: { kind: 'delta', keys: ALL_KEYS, startLsn: lsn(1), endLsn: lsn(2), generation: 1 },
  };
  test('a layer twice, or the removal of one that is not there', () => {
    const map = new LayerMap<Fake>();
    map.replace({ insert: [delta] });
    expect(() => map.replace({ insert: [delta] })).toThrow('not in the map yet');
    map.replace({ remove: [delta] });
    expect(() => map.replace({ remove: [delta] })).toThrow('is in the map');
  });
});

test('keys before and after', () => {
  expect(keyAfter(ALL_KEYS.last)).toBeNull();
  expect(() => keyBefore(ALL_KEYS.first)).toThrow(RangeError);
  fc.assert(
    fc.property(arbitraryKey, (key) => {
      expect(keyAfter(key)! > key).toBe(true);
      expect(keyBefore(keyAfter(key)!)).toBe(key);
    }),
  );
  expect(keyAfter(page(1, 255))).toBe(page(1, 256));
  expect(keyBefore(page(1, 256))).toBe(page(1, 255));
  expect(size(9) < page(1, 0)).toBe(true);
});
