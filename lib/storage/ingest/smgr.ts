/**
 * Files that are made, cut and removed: SMGR records, and the relation lists of commits and aborts.
 *
 * The main fork of an unlogged relation is not in WAL; a start after a crash makes it a copy of the init fork.
 * Every start of a compute is such a start, so whatever happens to an init fork happens to the main fork too.
 * The free space map is a hint that Postgres checks before use; it is dropped where it would have to be edited.
 *
 * Source: catalog/storage_xlog.h, smgr_redo (catalog/storage.c).
 */
import { mapBlockOf, mapBlocksOf } from '../../postgres/page/visibility-map.ts';
import { FORK, type Relation } from '../key.ts';
import { encodeOperation } from '../page-operation.ts';
import type { TimelineState } from '../state/timeline-state.ts';
import { emitPage } from '../value.ts';
import { knownFork, mainData, unknownRecord, type IngestContext } from './context.ts';

const XLOG_SMGR_CREATE = 0x10;
const XLOG_SMGR_TRUNCATE = 0x20;
const SMGR_TRUNCATE_HEAP = 1;
const SMGR_TRUNCATE_VM = 2;
const SMGR_TRUNCATE_FSM = 4;

export function ingestSmgr(context: IngestContext): void {
  const { record, state } = context;
  const main = mainData(record);
  switch (record.info & 0xf0) {
    case XLOG_SMGR_CREATE: {
      const relation = { spcOid: main.u32(), dbOid: main.u32(), relNumber: main.u32() };
      const fork = knownFork(record, main.u32());
      state.files.create(state.files.fork({ ...relation, fork }));
      if (fork === FORK.init) state.files.create(state.files.fork({ ...relation, fork: FORK.main }));
      return;
    }
    case XLOG_SMGR_TRUNCATE: {
      const blocks = main.u32();
      const relation = { spcOid: main.u32(), dbOid: main.u32(), relNumber: main.u32() };
      truncateRelation(context, relation, blocks, main.u32());
      return;
    }
    default:
      throw unknownRecord(record);
  }
}

function truncateRelation(context: IngestContext, of: Relation, blocks: number, flags: number): void {
  const { state, emit } = context;
  const file = (fork: number) => state.files.fork({ ...of, fork });
  const main = file(FORK.main);
  state.files.create(main);
  if (flags & SMGR_TRUNCATE_HEAP) state.files.truncate(main, blocks);
  if (flags & SMGR_TRUNCATE_FSM) state.files.drop(file(FORK.fsm));
  if (flags & SMGR_TRUNCATE_VM) {
    const map = file(FORK.vm);
    const [lastBlock, mapBlocks] = [mapBlockOf(blocks), mapBlocksOf(blocks)];
    if (mapBlocks > lastBlock && lastBlock < map.blocks) {
      const operation = { kind: 'visibilityTruncate', heapBlocks: blocks } as const;
      emitPage(emit, map.pagePrefix, lastBlock, encodeOperation(operation, false));
    }
    state.files.truncate(map, mapBlocks);
  }
}

/** DropRelationFiles: every fork. */
export function dropRelation(state: TimelineState, of: Relation): void {
  for (const fork of Object.values(FORK)) state.files.drop(state.files.fork({ ...of, fork }));
}
