/**
 * Which record types of Postgres 18 change pages by block references, and where Postgres redoes each.
 *
 * The rest have no block references: what they change besides (SLRUs, relation maps, files) is not the business of redo
 * of pages. The oracle's tests demand that no record of theirs was ever seen with one.
 */
import { RM } from '../wal/facts.ts';

/** Types without block references, in resource managers that have others; by info's high four bits. */
const WITHOUT_BLOCKS = new Map<number, readonly number[]>([
  [RM.HEAP, [0x30]],
  [RM.HEAP2, [0x00, 0x70]],
  [RM.BTREE, [0xd0]],
  [RM.GIST, [0x20, 0x70]],
]);
/** The two full-page images. */
const XLOG_WITH_BLOCKS = new Set([0xa0, 0xb0]);
const MANAGERS_WITH_BLOCKS = new Set<number>([
  RM.HEAP2,
  RM.HEAP,
  RM.BTREE,
  RM.HASH,
  RM.GIN,
  RM.GIST,
  RM.SEQ,
  RM.SPGIST,
  RM.BRIN,
  RM.GENERIC,
]);

/** Whether records of this type have block references. */
export function changesPages18(resourceManager: number, info: number): boolean {
  const type = info & 0xf0;
  if (resourceManager === RM.XLOG) return XLOG_WITH_BLOCKS.has(type);
  if (!MANAGERS_WITH_BLOCKS.has(resourceManager)) return false;
  return !(WITHOUT_BLOCKS.get(resourceManager) ?? []).includes(type);
}

/** Where Postgres redoes each resource manager's records, by RmgrId; below src/backend. */
export const redoSource18: readonly string[] = [
  'access/transam/xlog.c',
  'access/transam/xact.c',
  'catalog/storage.c',
  'access/transam/clog.c',
  'commands/dbcommands.c',
  'commands/tablespace.c',
  'access/transam/multixact.c',
  'utils/cache/relmapper.c',
  'storage/ipc/standby.c',
  'access/heap/heapam_xlog.c',
  'access/heap/heapam_xlog.c',
  'access/nbtree/nbtxlog.c',
  'access/hash/hash_xlog.c',
  'access/gin/ginxlog.c',
  'access/gist/gistxlog.c',
  'commands/sequence.c',
  'access/spgist/spgxlog.c',
  'access/brin/brin_xlog.c',
  'access/transam/commit_ts.c',
  'replication/logical/origin.c',
  'access/transam/generic_xlog.c',
  'replication/logical/message.c',
];
