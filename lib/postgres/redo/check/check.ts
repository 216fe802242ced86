/**
 * The oracle of redo: every record on every block it touches, against the image that Postgres put beside it.
 *
 * With `wal_consistency_checking = all` each record carries an image of each touched block as it is *after* the change.
 * Redo runs on the page as the records before left it; then both are masked as Postgres masks them, and compared.
 * A block of which nothing is known yet takes the image as its first state: such blocks are counted, not compared.
 *
 * Source: checkXLogConsistency in access/transam/xlogrecovery.c.
 */
import { formatLsn, type Lsn } from '../../lsn.ts';
import { restoreImage } from '../../page/image.ts';
import type { PageMask } from '../../page/mask.ts';
import {
  isNewPage,
  PAGE_BYTES,
  PageError,
  pageLsn,
  pageOver,
  setPageLsn,
  type Page,
} from '../../page/page.ts';
import { nameBlock, recordTypeName, resourceManagerName } from '../../wal/describe.ts';
import { RM_MIN_CUSTOM_ID, type WalFacts } from '../../wal/facts.ts';
import type { BlockReference, WalRecord } from '../../wal/record.ts';
import { MalformedRecord } from '../errors.ts';
import { EXTENSION_RECORD, redoBlock, RedoError, resourceManagers, startsAnew } from '../redo.ts';
import type { PageStore } from './page-store.ts';
import { applyStorageChanges } from './storage-changes.ts';

/** One record type's line in the report. */
export interface CheckCount {
  resourceManager: string;
  type: string;
  records: number;
  /** Block references. */
  blocks: number;
  /** Blocks whose redo was compared with Postgres's image. */
  compared: number;
  mismatches: number;
  /** Blocks that redo refused. */
  errors: number;
}

export interface CheckFailure {
  kind: 'mismatch' | 'error';
  lsn: Lsn;
  recordType: string;
  block: string;
  /** First differing byte of the masked pages; -1 where redo refused. */
  offset: number;
  message: string;
}

export interface RedoCheckOptions {
  facts: WalFacts;
  pages: PageStore;
  /** Whether `pages` may hold pages that are newer than a record: those of a data directory. */
  mayBeAhead?: boolean;
  /** Called for every mismatch and every refusal. */
  onFailure?: (failure: CheckFailure, record: WalRecord) => void;
  /** Called before each comparison with Postgres's page and ours, neither masked yet. Neither may be changed. */
  onCompare?: (record: WalRecord, block: BlockReference, expected: Page, found: Page) => void;
}

const VISIBILITYMAP_FORK = 2;

export class RedoCheck {
  readonly #facts: WalFacts;
  readonly #pages: PageStore;
  readonly #mayBeAhead: boolean;
  readonly #onFailure: (failure: CheckFailure, record: WalRecord) => void;
  readonly #onCompare: RedoCheckOptions['onCompare'];
  readonly #counts: (CheckCount | undefined)[] = [];
  readonly #found = comparedPage();
  readonly #expected = comparedPage();
  /** Blocks met without a base: taken over from their image, or left out for want of one. */
  adopted = 0;
  unknown = 0;
  /** Blocks whose base already holds the record: a data directory is as new as its last checkpoint, or newer. */
  ahead = 0;
  records = 0;
  mismatches = 0;
  errors = 0;

  constructor(options: RedoCheckOptions) {
    this.#facts = options.facts;
    this.#pages = options.pages;
    this.#mayBeAhead = options.mayBeAhead ?? false;
    this.#onFailure = options.onFailure ?? (() => undefined);
    this.#onCompare = options.onCompare;
  }

  /** Replays one record. Never throws for what is wrong with the record or a page: that is counted and reported. */
  check(record: WalRecord): void {
    this.records++;
    const count = this.#countOf(record);
    count.records++;
    const refusal = this.#refusalOf(record);
    if (refusal !== undefined) {
      this.#refuse(record, count, refusal);
      return;
    }
    for (let i = 0; i < record.blockCount; i++) {
      count.blocks++;
      this.#checkBlock(record, i, count);
    }
    this.#changeStorage(record, count);
  }

  #changeStorage(record: WalRecord, count: CheckCount): void {
    try {
      applyStorageChanges(record, this.#pages);
    } catch (error) {
      if (!(error instanceof MalformedRecord)) throw error;
      count.errors++;
      this.errors++;
      this.#fail('error', record, 'storage', -1, error.message);
    }
  }

  /** A line per record type of every built-in resource manager, those never seen with 0 records; then what is none of them. */
  report(): CheckCount[] {
    const lines: CheckCount[] = [];
    const isKnown = (key: number) => this.#facts.recordTypes[key >>> 8]?.[key & 0xff] !== undefined;
    for (const [id, types] of this.#facts.recordTypes.entries()) {
      const seen = new Set<string>();
      for (const info of Object.keys(types).map(Number)) {
        const type = types[info];
        if (seen.has(type)) continue;
        seen.add(type);
        const same = Object.keys(types)
          .map(Number)
          .filter((other) => types[other] === type);
        lines.push(
          same.map((other) => this.#counts[(id << 8) | other]).reduce(sum, this.#emptyCount(id, info)),
        );
      }
    }
    for (const [key, count] of this.#counts.entries()) {
      if (count !== undefined && !isKnown(key)) lines.push(count);
    }
    return lines;
  }

  /** Why the record as a whole cannot be replayed, whatever its blocks; undefined where it can be. */
  #refusalOf(record: WalRecord): string | undefined {
    const { resourceManager, info, blockCount } = record;
    if (resourceManager >= RM_MIN_CUSTOM_ID) return EXTENSION_RECORD;
    if (this.#facts.recordTypes[resourceManager]?.[info & 0xf0] === undefined) return 'no such record type';
    if (blockCount > 0 === this.#facts.changesPages(resourceManager, info)) return undefined;
    return blockCount > 0 ? 'block references, of which this type has none' : 'no block references';
  }

  /** What follows on its blocks is judged from their images. */
  #refuse(record: WalRecord, count: CheckCount, message: string): void {
    count.errors++;
    this.errors++;
    for (let i = 0; i < record.blockCount; i++) this.#adopt(record, record.blocks[i]);
    count.blocks += record.blockCount;
    const [first] = record.blocks;
    this.#fail('error', record, record.blockCount > 0 ? nameBlock(first) : 'no block', -1, message);
  }

  #emptyCount(resourceManager: number, info: number): CheckCount {
    return {
      resourceManager: resourceManagerName(resourceManager, this.#facts),
      type: recordTypeName(resourceManager, info, this.#facts),
      records: 0,
      blocks: 0,
      compared: 0,
      mismatches: 0,
      errors: 0,
    };
  }

  #countOf(record: WalRecord): CheckCount {
    const key = (record.resourceManager << 8) | (record.info & 0xf0);
    return (this.#counts[key] ??= this.#emptyCount(record.resourceManager, record.info));
  }

  #checkBlock(record: WalRecord, index: number, count: CheckCount): void {
    const block = record.blocks[index];
    const known = this.#pages.get(block);
    if (known === undefined && !startsAnew(block) && block.fork !== VISIBILITYMAP_FORK) {
      this.#adopt(record, block);
      return;
    }
    const page = known ?? new Uint8Array(PAGE_BYTES);
    if (
      this.#mayBeAhead &&
      known !== undefined &&
      !startsAnew(block) &&
      pageLsn(pageOver(known)) >= record.endLsn
    ) {
      this.ahead++;
      return;
    }
    try {
      redoBlock(record, index, page, this.#facts);
    } catch (error) {
      if (!(error instanceof RedoError)) throw error;
      count.errors++;
      this.errors++;
      this.#fail('error', record, nameBlock(block), -1, error.message);
      this.#adopt(record, block);
      return;
    }
    this.#pages.put(block, page);
    if (block.hasImage && !block.applyImage) this.#compare(record, block, page, count);
  }

  /** The image as the block's first state, where there is one. */
  #adopt(record: WalRecord, block: BlockReference): void {
    const page = pageOver(new Uint8Array(PAGE_BYTES));
    if (!block.hasImage || imageProblem(record, block, page.bytes) !== undefined) {
      this.unknown++;
      this.#pages.forget(block);
      return;
    }
    if (!isNewPage(page)) setPageLsn(page, record.endLsn);
    this.#pages.put(block, page.bytes);
    this.adopted++;
  }

  #compare(record: WalRecord, block: BlockReference, page: Uint8Array, count: CheckCount): void {
    const masks = resourceManagers[record.resourceManager]?.masks;
    if (masks === undefined) return;
    this.#found.bytes.set(page);
    const problem = imageProblem(record, block, this.#expected.bytes);
    if (problem !== undefined) {
      count.errors++;
      this.errors++;
      this.#fail('error', record, nameBlock(block), -1, problem);
      return;
    }
    count.compared++;
    this.#onCompare?.(record, block, this.#expected, this.#found);
    const offset = firstDifference(this.#expected, this.#found, masks, block.block);
    if (offset < 0) return;
    count.mismatches++;
    this.mismatches++;
    const hex = ({ bytes }: Page) => hex16(bytes, offset);
    const message = `byte ${offset}: ${hex(this.#found)} replayed, ${hex(this.#expected)} in Postgres's image`;
    this.#fail('mismatch', record, nameBlock(block), offset, message);
    // What follows is judged from Postgres's page, so that one fault is reported once.
    restoreImage(record, block, page);
    setPageLsn(pageOver(page), record.endLsn);
    this.#pages.put(block, page);
  }

  #fail(kind: CheckFailure['kind'], record: WalRecord, block: string, offset: number, message: string): void {
    const manager = resourceManagerName(record.resourceManager, this.#facts);
    const type = recordTypeName(record.resourceManager, record.info, this.#facts);
    const recordType = `${manager}/${type}`;
    this.#onFailure({ kind, lsn: record.lsn, recordType, block, offset, message }, record);
  }
}

/** Restores the block's image to `page`; what is wrong with it, or undefined. */
function imageProblem(record: WalRecord, block: BlockReference, page: Uint8Array): string | undefined {
  try {
    restoreImage(record, block, page);
    return undefined;
  } catch (error) {
    if (error instanceof PageError) return error.message;
    throw error;
  }
}

/** A page that is also seen as words, which compare four times faster. */
interface ComparedPage extends Page {
  readonly words: Int32Array;
}
function comparedPage(): ComparedPage {
  const bytes = new Uint8Array(PAGE_BYTES);
  return { ...pageOver(bytes), words: new Int32Array(bytes.buffer) };
}

/** Masks both pages and finds the first byte in which they differ; -1: none. Unmaskable pages differ at 0. */
function firstDifference(
  expected: ComparedPage,
  found: ComparedPage,
  masks: readonly PageMask[],
  blockNumber: number,
): number {
  try {
    for (const mask of masks) {
      mask.apply(expected, blockNumber);
      mask.apply(found, blockNumber);
    }
  } catch {
    return 0;
  }
  const [a, b] = [expected.words, found.words];
  let word = 0;
  while (word < a.length && a[word] === b[word]) word++;
  if (word === a.length) return -1;
  let offset = 4 * word;
  while (expected.bytes[offset] === found.bytes[offset]) offset++;
  return offset;
}

const hex16 = (bytes: Uint8Array, offset: number): string =>
  Array.from(bytes.subarray(offset, offset + 16), (byte) => byte.toString(16).padStart(2, '0')).join('');

function sum(total: CheckCount, more: CheckCount | undefined): CheckCount {
  if (more === undefined) return total;
  return {
    ...total,
    records: total.records + more.records,
    blocks: total.blocks + more.blocks,
    compared: total.compared + more.compared,
    mismatches: total.mismatches + more.mismatches,
    errors: total.errors + more.errors,
  };
}

/** `0/3000148 Heap/INSERT on 1663/5/16384 main block 7: byte 24: … replayed, … in Postgres's image`. */
export const formatFailure = (failure: CheckFailure): string =>
  `${formatLsn(failure.lsn)} ${failure.recordType} on ${failure.block}: ${failure.message}`;
