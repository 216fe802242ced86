/**
 * SLRUs: pages that records make and truncate, and the single entries that commits and multixacts write on them.
 *
 * A page that is written to but was never made counts as zeros (as SlruReadPage does in recovery).
 *
 * Source: clog_redo, multixact_redo (RecordNewMultiXact), commit_ts_redo; access/multixact.h.
 */
import {
  CLOG,
  COMMIT_TS,
  idPrecedes,
  memberPage,
  MEMBERS_PER_PAGE,
  memberSegmentTruncated,
  MULTIXACT_OFFSETS,
  pagePrecedes,
  segmentPrecedes,
  slruPageOf,
  slruPosition,
} from '../../postgres/slru/pages.ts';
import type { SlruKind } from '../../protocol/pages.ts';
import { encodeOperation, type PageOperation } from '../page-operation.ts';
import { advanceMulti } from '../state/counters.ts';
import { emitPage } from '../value.ts';
import { IngestError, mainData, unknownRecord, type IngestContext } from './context.ts';

const ZEROPAGE = 0x00;
const TRUNCATE = 0x10;
const XLOG_MULTIXACT_ZERO_OFF_PAGE = 0x00;
const XLOG_MULTIXACT_ZERO_MEM_PAGE = 0x10;
const XLOG_MULTIXACT_CREATE_ID = 0x20;
const XLOG_MULTIXACT_TRUNCATE_ID = 0x30;

const PAGE_MAX = Math.floor(0xffff_ffff / COMMIT_TS.idsPerPage);

/** Applies `operation` to a page, which comes into being if need be. */
export function writeSlruPage(
  context: IngestContext,
  slru: SlruKind,
  page: number,
  operation: PageOperation,
): void {
  const { state, emit } = context;
  const { segment, block } = slruPosition(page);
  const file = state.files.segment(slru, segment);
  const isNew = state.files.extendOver(file, block, emit);
  emitPage(emit, file.pagePrefix, block, encodeOperation(operation, isNew || operation.kind === 'zero'));
}

/** Whether a page is there. */
export function slruPageExists({ state }: IngestContext, slru: SlruKind, page: number): boolean {
  const { segment, block } = slruPosition(page);
  return block < state.files.segment(slru, segment).blocks;
}

/** Ids grouped by the page that they are on, in the order of their first appearance. */
export function* idsByPage(idsPerPage: number, ids: readonly number[]): Iterable<[number, number[]]> {
  const pages = new Map<number, number[]>();
  for (const id of ids) {
    const page = Math.floor(id / idsPerPage);
    const indexes = pages.get(page);
    if (indexes === undefined) pages.set(page, [id % idsPerPage]);
    else indexes.push(id % idsPerPage);
  }
  yield* pages;
}

/** An int64 page number. */
function readPage(context: IngestContext, main: ReturnType<typeof mainData>): number {
  const page = main.u53();
  if (page > PAGE_MAX) {
    throw new IngestError('malformed', context.record, `SLRU page ${page}: at most ${PAGE_MAX} can be`);
  }
  return page;
}

function truncateSlru(
  { state }: IngestContext,
  slru: SlruKind,
  of: typeof CLOG,
  cutoffPage: number,
  latestPage: number,
): void {
  if (pagePrecedes(of, latestPage, cutoffPage)) return; // "apparent wraparound": SimpleLruTruncate refuses too
  for (const { file, segment } of state.files.segments(slru)) {
    if (segmentPrecedes(of, segment, cutoffPage)) state.files.drop(file);
  }
}

export function ingestClog(context: IngestContext): void {
  const { record, state } = context;
  const main = mainData(record);
  switch (record.info & 0xf0) {
    case ZEROPAGE:
      writeSlruPage(context, 'pg_xact', readPage(context, main), { kind: 'zero' });
      return;
    case TRUNCATE: {
      const cutoffPage = readPage(context, main);
      const [oldestXid, oldestXidDb] = [main.u32(), main.u32()];
      const latestPage = slruPageOf(CLOG, state.checkPoint.nextXid % 0x1_0000_0000);
      truncateSlru(context, 'pg_xact', CLOG, cutoffPage, latestPage);
      // Recovery keeps this horizon apart (oldestClogXid); a start from our counters takes it from oldestXid, and
      // asking for the status of an older transaction must not read a file that is gone.
      if (idPrecedes(state.checkPoint.oldestXid, oldestXid)) {
        state.checkPoint.oldestXid = oldestXid;
        state.checkPoint.oldestXidDb = oldestXidDb;
        state.countersChanged();
      }
      return;
    }
    default:
      throw unknownRecord(record);
  }
}

export function ingestCommitTs(context: IngestContext): void {
  const { record, state } = context;
  const main = mainData(record);
  switch (record.info & 0xf0) {
    case ZEROPAGE:
      writeSlruPage(context, 'pg_commit_ts', readPage(context, main), { kind: 'zero' });
      return;
    case TRUNCATE: {
      const cutoffPage = readPage(context, main);
      const oldestXid = main.u32();
      truncateSlru(context, 'pg_commit_ts', COMMIT_TS, cutoffPage, cutoffPage);
      const { oldestCommitTsXid } = state.checkPoint;
      if (oldestCommitTsXid !== 0 && idPrecedes(oldestCommitTsXid, oldestXid)) {
        state.checkPoint.oldestCommitTsXid = oldestXid;
        state.countersChanged();
      }
      return;
    }
    default:
      throw unknownRecord(record);
  }
}

export function ingestMultixact(context: IngestContext): void {
  const { record, state } = context;
  const main = mainData(record);
  switch (record.info & 0xf0) {
    case XLOG_MULTIXACT_ZERO_OFF_PAGE: {
      const page = readPage(context, main);
      const alreadyMade = page === state.preInitializedOffsetsPage;
      state.preInitializedOffsetsPage = -1;
      if (!alreadyMade) writeSlruPage(context, 'pg_multixact/offsets', page, { kind: 'zero' });
      return;
    }
    case XLOG_MULTIXACT_ZERO_MEM_PAGE:
      writeSlruPage(context, 'pg_multixact/members', readPage(context, main), { kind: 'zero' });
      return;
    case XLOG_MULTIXACT_CREATE_ID: {
      const [multi, offset, count] = [main.u32(), main.u32(), main.u32()];
      const members: Member[] = [];
      for (let i = 0; i < count; i++) members.push({ xid: main.u32(), status: main.u32() });
      createMultixact(context, multi, offset, members);
      return;
    }
    case XLOG_MULTIXACT_TRUNCATE_ID: {
      const oldestMultiDb = main.u32();
      main.u32(); // startTruncOff: for completeness' sake only
      const endOffset = main.u32();
      const [startMember, endMember] = [main.u32(), main.u32()];
      state.checkPoint.oldestMulti = endOffset;
      state.checkPoint.oldestMultiDb = oldestMultiDb;
      state.countersChanged();
      for (const { file, segment } of state.files.segments('pg_multixact/members')) {
        if (memberSegmentTruncated(segment, startMember, endMember)) state.files.drop(file);
      }
      const cutoff = slruPageOf(MULTIXACT_OFFSETS, endOffset === 1 ? 0xffff_ffff : endOffset - 1);
      const latest = slruPageOf(MULTIXACT_OFFSETS, state.checkPoint.nextMulti);
      truncateSlru(context, 'pg_multixact/offsets', MULTIXACT_OFFSETS, cutoff, latest);
      return;
    }
    default:
      throw unknownRecord(record);
  }
}

interface Member {
  xid: number;
  status: number;
}

function createMultixact(
  context: IngestContext,
  multi: number,
  offset: number,
  members: readonly Member[],
): void {
  const { state } = context;
  writeOffsets(context, multi, offset, (offset + members.length) >>> 0 || 1);
  for (let first = 0; first < members.length;) {
    const member = (offset + first) >>> 0;
    const index = member % MEMBERS_PER_PAGE;
    // A page ends after 1636 members, or where the 32 bits do.
    const room = Math.min(MEMBERS_PER_PAGE - index, 0x1_0000_0000 - member);
    const onPage = members.slice(first, first + room);
    writeSlruPage(context, 'pg_multixact/members', memberPage(member), {
      kind: 'multixactMembers',
      first: index,
      members: onPage,
    });
    first += onPage.length;
  }
  advanceMulti(state.checkPoint, multi + 1, offset + members.length);
  state.countersChanged();
  for (const { xid } of members) state.advancePastXid(xid);
}

/** This multixact's offset, and the next one's, which says where this one's members end. */
function writeOffsets(context: IngestContext, multi: number, offset: number, nextOffset: number): void {
  const slru = 'pg_multixact/offsets';
  const perPage = MULTIXACT_OFFSETS.idsPerPage;
  const next = (multi + 1) >>> 0 || 1;
  const [page, nextPage] = [Math.floor(multi / perPage), Math.floor(next / perPage)];
  const own = { entry: multi % perPage, offset };
  const following = { entry: next % perPage, offset: nextOffset };
  if (page === nextPage) {
    writeSlruPage(context, slru, page, { kind: 'multixactOffsets', entries: [own, following] });
    return;
  }
  writeSlruPage(context, slru, page, { kind: 'multixactOffsets', entries: [own] });
  if (!slruPageExists(context, slru, nextPage)) context.state.preInitializedOffsetsPage = nextPage;
  writeSlruPage(context, slru, nextPage, { kind: 'multixactOffsets', entries: [following] });
}
