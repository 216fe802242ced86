/**
 * Closing the gaps that removed items leave, and removing items.
 *
 * Where a tuple ends up is part of what must be equal to Postgres's own page: items are laid from pd_special
 * downwards in line pointer order, whatever order they had.
 *
 * Source: storage/page/bufpage.c.
 */
import {
  alignTo8,
  checkPagePointers,
  clearPageFlag,
  copyBytes,
  existingItem,
  HEAP_TUPLES_MAX,
  INDEX_TUPLES_MAX,
  itemCount,
  itemFlags,
  itemId,
  itemLength,
  itemOffset,
  LP_UNUSED,
  moveItem,
  PAGE_BYTES,
  PAGE_HEADER_BYTES,
  PageError,
  pageLower,
  pageSpecial,
  pageUpper,
  PD_HAS_FREE_LINES,
  setItemId,
  setPageFlag,
  setPageLower,
  setPageUpper,
  storedItem,
  type Page,
} from './page.ts';

const scratch = new Uint8Array(PAGE_BYTES);
/** As many as could stand between the page header and its end. */
const LINE_POINTERS_MAX = (PAGE_BYTES - PAGE_HEADER_BYTES) / 4;

/** Checks as bufpage.c does before it moves items about. Throws PageError. */
function checkForMoving(page: Page): void {
  checkPagePointers(page);
  if (pageSpecial(page) % 8 !== 0) throw new PageError(`pd_special ${pageSpecial(page)} is not aligned`);
}

/** The items with storage of the page at hand: line pointer, offset, aligned length. */
const numbers = new Uint16Array(LINE_POINTERS_MAX);
const offsets = new Uint16Array(LINE_POINTERS_MAX);
const lengths = new Uint16Array(LINE_POINTERS_MAX);
/** Whether they lie one below the other in line pointer order, so that they can be moved in place. */
let inOrder = true;

/** Fills the arrays above and checks that all can be moved; how many items there are. */
function gatherItems(page: Page): number {
  const count = itemCount(page);
  const upper = pageUpper(page);
  const special = pageSpecial(page);
  let [stored, total, last] = [0, 0, special];
  inOrder = true;
  for (let i = 1; i <= count; i++) {
    const item = itemId(page, i);
    const length = itemLength(item);
    if (length === 0) continue;
    const offset = itemOffset(item);
    const aligned = alignTo8(length);
    if (offset < upper || offset + length > special) {
      throw new PageError(
        `item ${i}: offset ${offset}, length ${length} is outside of ${upper} to ${special}`,
      );
    }
    if (offset + aligned > last) inOrder = false;
    last = offset;
    total += aligned;
    numbers[stored] = i;
    offsets[stored] = offset;
    lengths[stored++] = aligned;
  }
  if (total > special - pageLower(page)) {
    throw new PageError(`items of ${total} bytes: ${special - pageLower(page)} available`);
  }
  return stored;
}

/**
 * Lays all items with storage from pd_special downwards, in line pointer order. Neighbours that stay neighbours
 * move together. (compactify_tuples)
 */
function compactItems(page: Page): void {
  const stored = gatherItems(page);
  let upper = pageSpecial(page);
  let i = 0;
  while (i < stored && offsets[i] + lengths[i] === upper) upper -= lengths[i++]; // in its place already
  if (i < stored) {
    if (!inOrder) scratch.set(page.bytes);
    /** The range that is still to be moved to `upper`. */
    let end = offsets[i] + lengths[i];
    let start = end;
    for (; i < stored; i++) {
      if (start !== offsets[i] + lengths[i]) {
        moveBytes(page, start, end, upper);
        end = offsets[i] + lengths[i];
      }
      upper -= lengths[i];
      start = offsets[i];
      moveItem(page, numbers[i], upper);
    }
    moveBytes(page, start, end, upper);
  }
  setPageUpper(page, upper);
}

function moveBytes(page: Page, start: number, end: number, to: number): void {
  if (inOrder) page.bytes.copyWithin(to, start, end);
  else copyBytes(scratch, start, page.bytes, to, end - start);
}

/**
 * Heap pages: makes the space of removed tuples one free range and drops unused line pointers from the end of the array.
 * (PageRepairFragmentation)
 */
export function repairFragmentation(page: Page): void {
  checkForMoving(page);
  const count = itemCount(page);
  if (count > HEAP_TUPLES_MAX)
    throw new PageError(`${count} items: a heap page has ${HEAP_TUPLES_MAX} at most`);
  let unused = 0;
  let lastUsed = 0;
  for (let i = 1; i <= count; i++) {
    if (itemFlags(itemId(page, i)) === LP_UNUSED) {
      setItemId(page, i, 0, LP_UNUSED, 0);
      unused++;
    } else {
      lastUsed = i;
    }
  }
  compactItems(page);
  setPageLower(page, pageLower(page) - 4 * (count - lastUsed));
  unused -= count - lastUsed;
  if (unused > 0) setPageFlag(page, PD_HAS_FREE_LINES);
  else clearPageFlag(page, PD_HAS_FREE_LINES);
}

/** Heap pages: drops unused line pointers from the end of the array, but for the first. (PageTruncateLinePointerArray) */
export function truncateLinePointers(page: Page): void {
  const count = itemCount(page);
  const isUnused = (i: number) => itemFlags(itemId(page, i)) === LP_UNUSED;
  let keep = count;
  while (keep > 1 && isUnused(keep)) keep--;
  let hint = false;
  for (let i = keep; i >= 1 && !hint; i--) hint = isUnused(i);
  setPageLower(page, pageLower(page) - 4 * (count - keep));
  if (hint) setPageFlag(page, PD_HAS_FREE_LINES);
  else clearPageFlag(page, PD_HAS_FREE_LINES);
}

/** Moves the bytes between pd_upper and the item at `offset` by `by` (up if positive), with all that pointed there. */
function shiftItems(page: Page, offset: number, by: number): void {
  const upper = pageUpper(page);
  if (upper + by < pageLower(page)) throw new PageError(`items cannot move by ${by}: upper ${upper}`);
  if (offset > upper) page.bytes.copyWithin(upper + by, upper, offset);
  setPageUpper(page, upper + by);
  const count = itemCount(page);
  for (let i = 1; i <= count; i++) {
    const item = itemId(page, i);
    if (itemLength(item) !== 0 && itemOffset(item) <= offset) moveItem(page, i, itemOffset(item) + by);
  }
}

function movableItem(page: Page, offsetNumber: number): number {
  checkForMoving(page);
  const item = storedItem(page, offsetNumber);
  const offset = itemOffset(item);
  if (offset < pageUpper(page) || offset % 8 !== 0) {
    throw new PageError(`item ${offsetNumber}: offset ${offset} with upper ${pageUpper(page)}`);
  }
  return item;
}

/** Removes an item and its line pointer; those behind it move up by one. (PageIndexTupleDelete) */
export function deleteIndexTuple(page: Page, offsetNumber: number): void {
  const item = movableItem(page, offsetNumber);
  const lower = pageLower(page);
  const at = PAGE_HEADER_BYTES + (offsetNumber - 1) * 4;
  page.bytes.copyWithin(at, at + 4, lower);
  setPageLower(page, lower - 4);
  shiftItems(page, itemOffset(item), alignTo8(itemLength(item)));
}

/** Removes an item, leaving its line pointer unused unless it is the last. (PageIndexTupleDeleteNoCompact) */
export function deleteIndexTupleKeepingPointers(page: Page, offsetNumber: number): void {
  const item = movableItem(page, offsetNumber);
  if (offsetNumber < itemCount(page)) setItemId(page, offsetNumber, 0, LP_UNUSED, 0);
  else setPageLower(page, pageLower(page) - 4);
  shiftItems(page, itemOffset(item), alignTo8(itemLength(item)));
}

/**
 * Removes the items whose offset numbers stand in `data` as `count` u16 from `start` on, in rising order.
 * (PageIndexMultiDelete)
 */
export function deleteIndexTuples(page: Page, data: DataView, start: number, count: number): void {
  if (count <= 2) {
    for (let i = count - 1; i >= 0; i--) deleteIndexTuple(page, data.getUint16(start + 2 * i, true));
    return;
  }
  checkForMoving(page);
  const items = itemCount(page);
  if (items > INDEX_TUPLES_MAX)
    throw new PageError(`${items} items: an index page has ${INDEX_TUPLES_MAX} at most`);
  let next = 0;
  let kept = 0;
  for (let i = 1; i <= items; i++) {
    const item = movableItem(page, i);
    if (next < count && data.getUint16(start + 2 * next, true) === i) {
      next++;
      continue;
    }
    kept++;
    if (kept !== i) setItemId(page, kept, itemOffset(item), itemFlags(item), itemLength(item));
  }
  if (next !== count) throw new PageError(`${count - next} of ${count} items to be deleted do not exist`);
  setPageLower(page, PAGE_HEADER_BYTES + 4 * kept);
  compactItems(page);
}

/**
 * Gives an item `length` bytes in its place, moving what lies before it, and returns the offset to which the new
 * bytes are to be written. The line pointer keeps its flags. (PageIndexTupleOverwrite)
 */
export function resizeIndexTuple(page: Page, offsetNumber: number, length: number): number {
  const item = movableItem(page, offsetNumber);
  const by = alignTo8(itemLength(item)) - alignTo8(length);
  if (-by > pageUpper(page) - pageLower(page)) {
    throw new PageError(
      `item ${offsetNumber} cannot grow by ${-by}: lower ${pageLower(page)}, upper ${pageUpper(page)}`,
    );
  }
  if (by !== 0) shiftItems(page, itemOffset(item), by);
  const moved = itemOffset(item) + by;
  setItemId(page, offsetNumber, moved, itemFlags(existingItem(page, offsetNumber)), length);
  return moved;
}
