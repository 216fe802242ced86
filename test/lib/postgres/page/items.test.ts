/** Items of a page against a model: a list of byte strings. Whatever is done, each item keeps its bytes and none overlap. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { addItem, PAI_IS_HEAP, PAI_OVERWRITE } from '../../../../lib/postgres/page/add-item.ts';
import {
  deleteIndexTuple,
  deleteIndexTupleKeepingPointers,
  deleteIndexTuples,
  repairFragmentation,
  resizeIndexTuple,
  truncateLinePointers,
} from '../../../../lib/postgres/page/compact.ts';
import {
  alignTo8,
  initPage,
  itemCount,
  itemFlags,
  itemId,
  itemLength,
  itemOffset,
  LP_DEAD,
  LP_NORMAL,
  LP_UNUSED,
  PAGE_BYTES,
  PageError,
  pageFlags,
  pageLower,
  pageOver,
  pageSpecial,
  pageUpper,
  PD_HAS_FREE_LINES,
  setItemId,
  type Page,
} from '../../../../lib/postgres/page/page.ts';

const GUARD = 128;
/** A page between guards: nothing may be written outside. */
function newPage(special: number): { page: Page; check: () => void } {
  const arena = new Uint8Array(PAGE_BYTES + 2 * GUARD).fill(0xa5);
  const page = pageOver(arena.subarray(GUARD, GUARD + PAGE_BYTES));
  initPage(page, special);
  const check = () => {
    for (let i = 0; i < GUARD; i++) expect([arena[i], arena[arena.length - 1 - i]]).toEqual([0xa5, 0xa5]);
  };
  return { page, check };
}
const bytesOf = (page: Page, offsetNumber: number): number[] => {
  const item = itemId(page, offsetNumber);
  return [...page.bytes.subarray(itemOffset(item), itemOffset(item) + itemLength(item))];
};

/** Everything that must always hold. */
function checkLayout(page: Page): void {
  expect(pageLower(page)).toBe(24 + 4 * itemCount(page));
  expect(pageLower(page) <= pageUpper(page) && pageUpper(page) <= pageSpecial(page)).toBe(true);
  const ranges = [];
  for (let i = 1; i <= itemCount(page); i++) {
    const item = itemId(page, i);
    if (itemLength(item) > 0) ranges.push([itemOffset(item), itemOffset(item) + alignTo8(itemLength(item))]);
  }
  ranges.sort(([a], [b]) => a - b);
  for (const [i, [start, end]] of ranges.entries()) {
    expect(start >= pageUpper(page) && end <= pageSpecial(page)).toBe(true);
    if (i > 0) expect(ranges[i - 1][1]).toBeLessThanOrEqual(start);
  }
}

const content = fc.uint8Array({ minLength: 1, maxLength: 400 });

type Operation =
  | { kind: 'insert'; at: number; bytes: Uint8Array }
  | { kind: 'delete'; at: number }
  | { kind: 'deleteMany'; every: number; from: number }
  | { kind: 'resize'; at: number; bytes: Uint8Array };
const operation: fc.Arbitrary<Operation> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant('insert' as const), at: fc.nat(1000), bytes: content }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('delete' as const), at: fc.nat(1000) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('deleteMany' as const),
      every: fc.integer({ min: 2, max: 5 }),
      from: fc.nat(4),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant('resize' as const), at: fc.nat(1000), bytes: content }),
  },
);

/** Does `change` to the page and tells whether it fitted. */
function fits(change: () => void): boolean {
  try {
    change();
    return true;
  } catch (error) {
    if (error instanceof PageError && error.message.includes('fit')) return false;
    if (error instanceof PageError && error.message.includes('cannot grow')) return false;
    throw error;
  }
}

function applyToIndexPage(page: Page, model: number[][], step: Operation): void {
  switch (step.kind) {
    case 'insert': {
      const at = step.at % (model.length + 1);
      const added = fits(() => addItem(page, step.bytes, 0, step.bytes.length, at + 1));
      if (added) model.splice(at, 0, [...step.bytes]);
      return;
    }
    case 'delete':
      if (model.length === 0) return;
      deleteIndexTuple(page, (step.at % model.length) + 1);
      model.splice(step.at % model.length, 1);
      return;
    case 'deleteMany': {
      const doomed = [...model.keys()].filter((i) => i % step.every === step.from);
      const list = new DataView(new ArrayBuffer(2 * doomed.length));
      for (const [i, index] of doomed.entries()) list.setUint16(2 * i, index + 1, true);
      deleteIndexTuples(page, list, 0, doomed.length);
      for (const index of doomed.toReversed()) model.splice(index, 1);
      return;
    }
    default: {
      if (model.length === 0) return;
      const at = step.at % model.length;
      const resized = fits(() =>
        page.bytes.set(step.bytes, resizeIndexTuple(page, at + 1, step.bytes.length)),
      );
      if (resized) model[at] = [...step.bytes];
    }
  }
}

test('index pages: every item keeps its bytes, whatever is added, removed and resized', () => {
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 120 }), fc.constantFrom(0, 8, 16), (steps, special) => {
      const { page, check } = newPage(special);
      page.bytes.fill(0x5a, pageSpecial(page));
      const model: number[][] = [];
      for (const step of steps) {
        applyToIndexPage(page, model, step);
        checkLayout(page);
      }
      expect(itemCount(page)).toBe(model.length);
      for (const [i, bytes] of model.entries()) expect(bytesOf(page, i + 1)).toEqual(bytes);
      expect(page.bytes.subarray(pageSpecial(page)).every((byte) => byte === 0x5a)).toBe(true);
      check();
    }),
    { numRuns: 60 },
  );
});

test('heap pages: pruning keeps what is left where line pointers say, and frees the rest', () => {
  const tuples = fc.array(content, { minLength: 1, maxLength: 60 });
  fc.assert(
    fc.property(tuples, fc.array(fc.nat(2), { maxLength: 60 }), (contents, fates) => {
      const { page, check } = newPage(0);
      const model: (number[] | undefined)[] = [];
      for (const bytes of contents) {
        const flags = PAI_OVERWRITE | PAI_IS_HEAP;
        if (!fits(() => addItem(page, bytes, 0, bytes.length, model.length + 1, flags))) break;
        model.push([...bytes]);
      }
      for (const [i, fate] of fates.entries()) {
        if (i >= model.length || fate === 0) continue;
        setItemId(page, i + 1, 0, fate === 1 ? LP_UNUSED : LP_DEAD, 0);
        model[i] = undefined;
      }
      repairFragmentation(page);
      checkLayout(page);
      let used = 0;
      for (const [i, bytes] of model.entries()) {
        if (bytes === undefined) continue;
        used += alignTo8(bytes.length);
        expect(itemFlags(itemId(page, i + 1))).toBe(LP_NORMAL);
        expect(bytesOf(page, i + 1)).toEqual(bytes);
      }
      expect(pageUpper(page)).toBe(PAGE_BYTES - used);
      const isUnused = (i: number) => itemFlags(itemId(page, i)) === LP_UNUSED;
      const count = itemCount(page);
      if (count > 0) expect(isUnused(count)).toBe(false);
      const unused = Array.from({ length: count }, (_, i) => i + 1).some(isUnused);
      expect((pageFlags(page) & PD_HAS_FREE_LINES) !== 0).toBe(unused);

      const before = itemCount(page);
      truncateLinePointers(page);
      expect(itemCount(page)).toBe(before); // nothing was left to be cut
      check();
    }),
    { numRuns: 60 },
  );
});

test('an item removed with its line pointer kept leaves the others their numbers', () => {
  const { page } = newPage(8);
  for (let i = 1; i <= 5; i++) addItem(page, new Uint8Array(i * 20).fill(i), 0, i * 20, i);
  deleteIndexTupleKeepingPointers(page, 3);
  checkLayout(page);
  expect(itemFlags(itemId(page, 3))).toBe(LP_UNUSED);
  for (const i of [1, 2, 4, 5]) expect(bytesOf(page, i)).toEqual(Array(i * 20).fill(i));
  deleteIndexTupleKeepingPointers(page, 5);
  expect(itemCount(page)).toBe(4);
  // Its place is taken again.
  addItem(page, Uint8Array.of(9), 0, 1, 3, PAI_OVERWRITE);
  expect(bytesOf(page, 3)).toEqual([9]);
});

test.each([
  ['an item that does not exist', (page: Page) => deleteIndexTuple(page, 4)],
  ['an item in use', (page: Page) => addItem(page, Uint8Array.of(1), 0, 1, 2, PAI_OVERWRITE)],
  ['an item behind the next', (page: Page) => addItem(page, Uint8Array.of(1), 0, 1, 5)],
  ['an item that is too large', (page: Page) => addItem(page, new Uint8Array(9000), 0, 9000, 1)],
  [
    'items out of order',
    (page: Page) => deleteIndexTuples(page, new DataView(Uint16Array.of(3, 2, 1).buffer), 0, 3),
  ],
  [
    'a page that contradicts itself',
    (page: Page) => (page.data.setUint16(14, 9000, true), deleteIndexTuple(page, 1)),
  ],
  [
    'an item outside of the page',
    (page: Page) => (setItemId(page, 1, 8190, 1, 50), deleteIndexTuple(page, 1)),
  ],
])('refuses %s', (_, change) => {
  const { page, check } = newPage(16);
  for (let i = 1; i <= 3; i++) addItem(page, new Uint8Array(30), 0, 30, i);
  expect(() => change(page)).toThrow(PageError);
  check();
});
