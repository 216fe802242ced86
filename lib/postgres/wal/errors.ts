/** What can be wrong with WAL. Nothing of a log behind such an error can be trusted. */
import { formatLsn, type Lsn } from '../lsn.ts';

/**
 * `endOfLog`: a record length of zero, which is what an unwritten part of a segment holds.
 * `pageHeader`: magic, flags or sizes. `pageAddress`: a page of another place, such as a recycled segment's.
 * `timeline`, `systemIdentifier`: WAL of another cluster or history.
 * `contrecord`: a page does not continue the record before it as it must.
 * `recordHeader`: length or resource manager. `previous`: xl_prev does not name the record before.
 * `crc`: the record's checksum. `blocks`: block references that contradict themselves or the length.
 */
export type WalErrorCode =
  | 'endOfLog'
  | 'pageHeader'
  | 'pageAddress'
  | 'timeline'
  | 'systemIdentifier'
  | 'contrecord'
  | 'recordHeader'
  | 'previous'
  | 'crc'
  | 'blocks';

export class WalError extends Error {
  override readonly name = 'WalError';
  readonly code: WalErrorCode;
  /** The record or page that is wrong. */
  readonly lsn: Lsn;

  constructor(code: WalErrorCode, lsn: Lsn, what: string) {
    super(`WAL at ${formatLsn(lsn)}: ${what}`);
    this.code = code;
    this.lsn = lsn;
  }
}
