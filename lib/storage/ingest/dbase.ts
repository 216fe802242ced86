/**
 * Databases: directories that come and go, and their relation maps.
 *
 * Source: commands/dbcommands_xlog.h, dbase_redo (commands/dbcommands.c), utils/relmapper.h.
 */
import { assert } from '../../assert.ts';
import type { Lsn } from '../../postgres/lsn.ts';
import { databaseKey, pageKeyOfSize, parseKey, relationMapKey, relationSizeKey, type Key } from '../key.ts';
import { ReconstructError } from '../reconstruct.ts';
import { readRequired } from '../state/timeline-state.ts';
import { ABSENT, imageValue, unreadableValue, type Emit, type Value } from '../value.ts';
import type { StorageView } from '../view.ts';
import { IngestError, mainData, unknownRecord, type IngestContext } from './context.ts';

interface Database {
  spcOid: number;
  dbOid: number;
}

/**
 * CREATE DATABASE … STRATEGY file_copy: the new database's pages are those of another as they were before the
 * record. They are read and written whole, which WAL does for the other strategy: a reference to the old
 * database's history instead would have to hold that history for as long as the new database lives.
 */
export interface DatabaseCopy {
  /** Pages are read as of here, and their images written at `writeLsn`. */
  readLsn: Lsn;
  writeLsn: Lsn;
  /** Size keys of a fork and its copy. */
  files: { from: Key; to: Key; blocks: number }[];
  relationMap: { from: Key; to: Key };
}

const XLOG_DBASE_CREATE_FILE_COPY = 0x00;
const XLOG_DBASE_CREATE_WAL_LOG = 0x10;
const XLOG_DBASE_DROP = 0x20;
const XLOG_RELMAP_UPDATE = 0x00;

const EMPTY = imageValue(new Uint8Array(0));

export function ingestDbase(context: IngestContext): DatabaseCopy | null {
  const { record, state } = context;
  const main = mainData(record);
  switch (record.info & 0xf0) {
    case XLOG_DBASE_CREATE_FILE_COPY: {
      const to = { dbOid: main.u32(), spcOid: main.u32() };
      const from = { dbOid: main.u32(), spcOid: main.u32() };
      for (const left of state.files.ofDatabase(to.spcOid, to.dbOid)) state.files.drop(left);
      createDatabase(context, to);
      return copyFiles(context, from, to);
    }
    case XLOG_DBASE_CREATE_WAL_LOG:
      createDatabase(context, { dbOid: main.u32(), spcOid: main.u32() });
      return null;
    case XLOG_DBASE_DROP: {
      const dbOid = main.u32();
      for (let count = main.u32(); count > 0; count--) removeDatabase(context, { spcOid: main.u32(), dbOid });
      return null;
    }
    default:
      throw unknownRecord(record);
  }
}

export function ingestRelmap({ record, state, emit }: IngestContext): void {
  if ((record.info & 0xf0) !== XLOG_RELMAP_UPDATE) throw unknownRecord(record);
  const main = mainData(record);
  const [dbOid, spcOid, length] = [main.u32(), main.u32(), main.u32()];
  const key = relationMapKey(spcOid, dbOid);
  state.relationMaps.add(key);
  emit(key, imageValue(main.take(length)));
}

function createDatabase({ state, emit }: IngestContext, { spcOid, dbOid }: Database): void {
  const key = databaseKey(spcOid, dbOid);
  if (state.databases.has(key)) return;
  state.databases.add(key);
  emit(key, EMPTY);
}

function removeDatabase({ state, emit }: IngestContext, { spcOid, dbOid }: Database): void {
  const remove = (from: Set<Key>, key: Key): void => {
    if (from.delete(key)) emit(key, ABSENT);
  };
  remove(state.databases, databaseKey(spcOid, dbOid));
  remove(state.relationMaps, relationMapKey(spcOid, dbOid));
  for (const file of state.files.ofDatabase(spcOid, dbOid)) state.files.drop(file);
}

/** Gives the new database the files of the old one; their pages are for `copyDatabase`. */
function copyFiles({ record, state }: IngestContext, from: Database, to: Database): DatabaseCopy {
  if (!state.relationMaps.has(relationMapKey(from.spcOid, from.dbOid))) {
    throw new IngestError('malformed', record, `no database ${from.spcOid}/${from.dbOid} to copy`);
  }
  const files = [...state.files.ofDatabase(from.spcOid, from.dbOid)].map((source) => {
    const target = state.files.file(moveSizeKey(source.sizeKey, to));
    state.files.resize(target, source.blocks);
    return { from: source.sizeKey, to: target.sizeKey, blocks: source.blocks };
  });
  const relationMap = {
    from: relationMapKey(from.spcOid, from.dbOid),
    to: relationMapKey(to.spcOid, to.dbOid),
  };
  state.relationMaps.add(relationMap.to);
  return { readLsn: record.lsn, writeLsn: record.endLsn, files, relationMap };
}

function moveSizeKey(sizeKey: Key, to: Database): Key {
  const parts = parseKey(sizeKey);
  assert(parts.kind === 'relationSize', 'a file of a database is a relation fork');
  return relationSizeKey({ ...parts, ...to });
}

/**
 * Carries out a `DatabaseCopy`: emits every page of the new database and its relation map, at `copy.writeLsn`. The copy
 * of a page that redo cannot rebuild (its resource manager is not known) is a value that says so: that must
 * not keep the rest of the WAL from being ingested.
 */
export async function copyDatabase(copy: DatabaseCopy, source: StorageView, emit: Emit): Promise<void> {
  for (const { from, to, blocks } of copy.files) {
    for (let block = 0; block < blocks; block++) {
      emit(pageKeyOfSize(to, block), await copyPage(source, pageKeyOfSize(from, block)));
    }
  }
  emit(copy.relationMap.to, imageValue(await readRequired(source, copy.relationMap.from)));
}

async function copyPage(source: StorageView, from: Key): Promise<Value> {
  try {
    return imageValue(await readRequired(source, from));
  } catch (error) {
    if (error instanceof ReconstructError && error.code === 'redo') {
      return unreadableValue(`copied from a page that cannot be rebuilt: ${error.message}`);
    }
    throw error;
  }
}
