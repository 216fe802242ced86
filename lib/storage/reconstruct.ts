/**
 * From versions to content: an older image, if one is needed, and the values since, oldest first.
 *
 * A chain that does not begin where it must, or a record that redo refuses, is an error that names the key:
 * a wrong page is never returned.
 */
import { alignUp, formatLsn, type Lsn } from '../postgres/lsn.ts';
import { redoBlock, RedoError } from '../postgres/redo/redo.ts';
import { decodeRecord, newWalRecord } from '../postgres/wal/decode-record.ts';
import { MalformedMessage } from '../protocol/bytes.ts';
import { PAGE_SIZE } from '../protocol/pages.ts';
import { formatKey, type Key } from './key.ts';
import { applyOperation, decodeOperation } from './page-operation.ts';
import { plainContent, startsChain, VALUE_TAG, type Version } from './value.ts';

export type ReconstructErrorCode =
  /** Neither a base nor a value that starts a chain. */
  | 'noBase'
  /** A value that no version of Ebb wrote. */
  | 'malformed'
  /** Redo refused: an unknown resource manager, or a page that the record does not fit. `cause` says which. */
  | 'redo';

export class ReconstructError extends Error {
  override readonly name = 'ReconstructError';
  readonly code: ReconstructErrorCode;
  constructor(code: ReconstructErrorCode, key: Key, message: string, cause?: unknown) {
    super(`${formatKey(key)}: ${message}`, cause === undefined ? {} : { cause });
    this.code = code;
  }
}

/**
 * The content of `key` after `versions` (ascending LSN). `base`, if not null, is the content before the first of
 * them and is left untouched; it is not needed when the first version starts a chain. Null: absent. What is
 * returned is the caller's unless it is `base` itself (no versions) or a view of an image's value.
 *
 * Throws ReconstructError.
 */
export function reconstruct(
  key: Key,
  base: Uint8Array | null,
  versions: readonly Version[],
): Uint8Array | null {
  let content = base;
  /** Whether `content` is this call's own to change. */
  let own = false;
  for (const version of versions) {
    const { value } = version;
    const plain = plainContent(value);
    if (plain !== undefined) {
      content = plain;
      own = false;
      continue;
    }
    if (value[0] === VALUE_TAG.unreadable) {
      throw new ReconstructError('redo', key, new TextDecoder().decode(value.subarray(1)));
    }
    if (startsChain(value)) {
      content = new Uint8Array(PAGE_SIZE);
    } else if (content === null) {
      throw new ReconstructError('noBase', key, `at ${formatLsn(version.lsn)} there is nothing to change`);
    } else if (!own) {
      content = content.slice();
    }
    own = true;
    change(key, version, content);
  }
  return content;
}

/**
 * The same for a page, in place: `page` holds the base, if there is one, and then the content after `versions`. False: the page
 * is absent. When it throws (ReconstructError), `page` holds neither.
 */
export function replayPage(
  key: Key,
  page: Uint8Array,
  hasBase: boolean,
  versions: readonly Version[],
): boolean {
  let isThere = hasBase;
  for (const version of versions) {
    const { value } = version;
    const plain = plainContent(value);
    if (plain !== undefined) {
      isThere = plain !== null;
      if (plain === null) continue;
      if (plain.length !== page.length)
        throw new ReconstructError('malformed', key, `an image of ${plain.length} bytes is no page`);
      page.set(plain);
      continue;
    }
    if (value[0] === VALUE_TAG.unreadable)
      throw new ReconstructError('redo', key, new TextDecoder().decode(value.subarray(1)));
    if (startsChain(value)) page.fill(0);
    else if (!isThere)
      throw new ReconstructError('noBase', key, `at ${formatLsn(version.lsn)} there is nothing to change`);
    isThere = true;
    change(key, version, page);
  }
  return isThere;
}

/** Records are decoded into this one; no reconstruction outlives its call. */
const scratch = newWalRecord();

function change(key: Key, { lsn, value }: Version, content: Uint8Array): void {
  const tag = value[0];
  try {
    if (tag === VALUE_TAG.operation || tag === VALUE_TAG.operationFromZero) {
      applyOperation(decodeOperation(value.subarray(1)), content);
      return;
    }
    if (tag !== VALUE_TAG.record && tag !== VALUE_TAG.recordFromZero) {
      throw new MalformedMessage(`value of tag ${tag}`);
    }
    decodeRecord(value, recordStart(lsn, value.length - 2), lsn, scratch, 2);
    if (value[1] >= scratch.blockCount) {
      throw new MalformedMessage(`block ${value[1]} of a record with ${scratch.blockCount}`);
    }
    redoBlock(scratch, value[1], content);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    const code = error instanceof RedoError ? 'redo' : 'malformed';
    throw new ReconstructError(code, key, `at ${formatLsn(lsn)}: ${message}`, error);
  }
}

/** Where a record that ends at `end` began, had no page boundary been in between: for messages only. */
const recordStart = (end: Lsn, length: number): Lsn => Math.max(0, end - alignUp(length, 8)) as Lsn;

export type Reconstruct = typeof reconstruct;
