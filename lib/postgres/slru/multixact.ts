/**
 * pg_multixact: `offsets` says for each multixact where its members begin, `members` holds them: per group of
 * four a flag byte for each, then the four xids.
 *
 * Source: access/transam/multixact.c.
 */
import { MEMBERS_PER_PAGE } from './pages.ts';

/** `entry`: multixact id modulo 2048. */
export function setMultiOffset(page: Uint8Array, entry: number, offset: number): void {
  new DataView(page.buffer, page.byteOffset, page.byteLength).setUint32(entry * 4, offset, true);
}
/** `index`: member number modulo 1636. `status`: MultiXactStatus, 0 to 5. */
export function setMember(page: Uint8Array, index: number, xid: number, status: number): void {
  const inPage = index % MEMBERS_PER_PAGE;
  const group = (inPage >>> 2) * 20;
  page[group + (inPage & 3)] = status;
  const data = new DataView(page.buffer, page.byteOffset, page.byteLength);
  data.setUint32(group + 4 + (inPage & 3) * 4, xid, true);
}
