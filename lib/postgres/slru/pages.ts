/**
 * Where SLRUs keep things: page numbers run through a whole SLRU and wrap around with the ids that they hold; 32
 * pages make a segment file.
 *
 * Source: access/transam/{slru,clog,multixact,commit_ts}.c.
 */
import { SLRU_PAGES_PER_SEGMENT } from '../../protocol/pages.ts';

const PAGE_BYTES = 8192;
const ID_MAX = 0xffff_ffff;

export interface SlruPosition {
  segment: number;
  /** Block within the segment. */
  block: number;
}
export const slruPosition = (page: number): SlruPosition => ({
  segment: Math.floor(page / SLRU_PAGES_PER_SEGMENT),
  block: page % SLRU_PAGES_PER_SEGMENT,
});

/** Transaction ids, multixact ids: 32 bits that wrap around; `a` is before `b` within half the circle. */
export const idPrecedes = (a: number, b: number): boolean => ((a - b) | 0) < 0;

/** FirstNormalTransactionId; smaller ones are permanent and come before every normal one. */
export const FIRST_NORMAL_XID = 3;
/** TransactionIdFollowsOrEquals. */
export const xidFollowsOrEquals = (a: number, b: number): boolean =>
  a < FIRST_NORMAL_XID || b < FIRST_NORMAL_XID ? a >= b : ((a - b) | 0) >= 0;

/**
 * An SLRU whose segments are removed below a cutoff page (SimpleLruTruncate). Pages are compared by ids on them,
 * as each PagePrecedes callback does: `firstId` is the smallest id in use, plus one.
 */
interface WrappingSlru {
  idsPerPage: number;
  firstId: number;
}
export const CLOG: WrappingSlru = { idsPerPage: PAGE_BYTES * 4, firstId: 4 };
export const MULTIXACT_OFFSETS: WrappingSlru = { idsPerPage: PAGE_BYTES / 4, firstId: 2 };
export const COMMIT_TS: WrappingSlru = { idsPerPage: Math.floor(PAGE_BYTES / 10), firstId: 4 };

/** All of `page` comes before `other`. */
export function pagePrecedes(slru: WrappingSlru, page: number, other: number): boolean {
  const a = page * slru.idsPerPage + slru.firstId;
  const b = other * slru.idsPerPage + slru.firstId;
  return idPrecedes(a, b) && idPrecedes(a, b + slru.idsPerPage - 1);
}
/** SlruMayDeleteSegment: both ends of the segment come before the cutoff page. */
export function segmentPrecedes(slru: WrappingSlru, segment: number, cutoffPage: number): boolean {
  const first = segment * SLRU_PAGES_PER_SEGMENT;
  return (
    pagePrecedes(slru, first, cutoffPage) &&
    pagePrecedes(slru, first + SLRU_PAGES_PER_SEGMENT - 1, cutoffPage)
  );
}
export const slruPageOf = (slru: WrappingSlru, id: number): number => Math.floor(id / slru.idsPerPage);

/** Members: groups of four flag bytes and four xids; 409 groups a page. */
export const MEMBERS_PER_PAGE = Math.floor(PAGE_BYTES / 20) * 4;
export const memberPage = (member: number): number => Math.floor(member / MEMBERS_PER_PAGE);
const memberSegment = (member: number): number => Math.floor(memberPage(member) / SLRU_PAGES_PER_SEGMENT);

/** PerformMembersTruncation: segments from that of `start` up to but not that of `end`, around the wrap. */
export function memberSegmentTruncated(segment: number, start: number, end: number): boolean {
  const count = memberSegment(ID_MAX) + 1;
  const distance = (from: number, to: number): number => (to - from + count) % count;
  const [first, beyond] = [memberSegment(start), memberSegment(end)];
  return distance(first, segment) < distance(first, beyond);
}
