/** Why a block could not be brought forward by a record. Nothing of the page may be used then. */
import { formatLsn, type Lsn } from '../lsn.ts';
import { nameBlock, recordTypeName, resourceManagerName } from '../wal/describe.ts';
import type { WalFacts } from '../wal/facts.ts';
import type { BlockReference, WalRecord } from '../wal/record.ts';

/**
 * `unsupported`: a resource manager or record type that redo does not know, or an extension's.
 * `malformed`: the record's own payload contradicts itself.
 * `page`: the record does not apply to the page: not the page that the record was written for.
 * `order`: the page already holds this record's change or a later one.
 * `image`: a full-page image cannot be restored.
 */
export type RedoErrorCode = 'unsupported' | 'malformed' | 'page' | 'order' | 'image';

export class RedoError extends Error {
  override readonly name = 'RedoError';
  readonly code: RedoErrorCode;
  readonly lsn: Lsn;
  /** `Heap/INSERT`. */
  readonly recordType: string;
  /** `1663/5/16384 main block 7`. */
  readonly block: string;

  constructor(
    code: RedoErrorCode,
    record: WalRecord,
    block: BlockReference,
    facts: WalFacts,
    what: string,
    cause?: unknown,
  ) {
    const manager = resourceManagerName(record.resourceManager, facts);
    const recordType = `${manager}/${recordTypeName(record.resourceManager, record.info, facts)}`;
    const name = nameBlock(block);
    super(`redo of ${recordType} at ${formatLsn(record.lsn)} on ${name}: ${what}`, { cause });
    this.code = code;
    this.lsn = record.lsn;
    this.recordType = recordType;
    this.block = name;
  }
}

/** What a resource manager's redo throws about the record itself; `redoBlock` names the record. */
export class MalformedRecord extends Error {
  override readonly name = 'MalformedRecord';
}
/** What a resource manager's redo throws for a type it does not have; `redoBlock` names the record. */
export class UnsupportedRecord extends Error {
  override readonly name = 'UnsupportedRecord';
}
