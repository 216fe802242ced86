/**
 * pg_xact: two bits per transaction.
 *
 * Source: access/transam/clog.c.
 */
export const XID_STATUS = { inProgress: 0, committed: 1, aborted: 2, subCommitted: 3 } as const;
export type XidStatus = (typeof XID_STATUS)[keyof typeof XID_STATUS];

/** Sets the status of the transaction with `index` on its page (xid modulo 32768). */
export function setXidStatus(page: Uint8Array, index: number, status: number): void {
  const shift = (index & 3) * 2;
  const byte = index >>> 2;
  page[byte] = (page[byte] & ~(3 << shift)) | (status << shift);
}
export const xidStatus = (page: Uint8Array, index: number): XidStatus =>
  ((page[index >>> 2] >>> ((index & 3) * 2)) & 3) as XidStatus;
