/**
 * Records of files that are no pages of relations, and of relations as files: storage, databases, tablespaces, relation maps,
 * SLRUs.
 *
 * Source: catalog/storage_xlog.h, commands/dbcommands_xlog.h, commands/tablespace.h, utils/relmapper.h, access/clog.h,
 * access/multixact.h, access/commit_ts.h.
 */
import { hex, locator, type Describe } from './reader.ts';

export const storage: Describe = (main, info) =>
  (info & 0xf0) === 0x10
    ? { relation: locator(main, 0), fork: main.u32(12) }
    : { relation: locator(main, 4), blocks: main.u32(0), flags: hex(main.u32(16)) };

export const database: Describe = (main, info) => {
  switch (info & 0xf0) {
    case 0x00:
      return {
        database: main.u32(0),
        tablespace: main.u32(4),
        from: main.u32(8),
        fromTablespace: main.u32(12),
      };
    case 0x10:
      return { database: main.u32(0), tablespace: main.u32(4) };
    default:
      return { database: main.u32(0), tablespaces: main.u32(4) };
  }
};

export const tablespace: Describe = (main, info) =>
  (info & 0xf0) === 0x00 ? { tablespace: main.u32(0), location: main.text(4) } : { tablespace: main.u32(0) };

export const relationMap: Describe = (main) => ({
  database: main.u32(0),
  tablespace: main.u32(4),
  bytes: main.u32(8),
});

export const clog: Describe = (main, info) =>
  (info & 0xf0) === 0x00
    ? { page: String(main.i64(0)) }
    : { page: String(main.i64(0)), oldestXid: main.u32(8), oldestXidDatabase: main.u32(12) };

export const multixact: Describe = (main, info) => {
  switch (info & 0xf0) {
    case 0x20:
      return { multi: main.u32(0), offset: main.u32(4), members: main.u32(8) };
    case 0x30:
      return {
        database: main.u32(0),
        firstMulti: main.u32(4),
        endMulti: main.u32(8),
        firstMember: main.u32(12),
        endMember: main.u32(16),
      };
    default:
      return { page: String(main.i64(0)) };
  }
};

export const commitTs: Describe = (main, info) =>
  (info & 0xf0) === 0x00
    ? { page: String(main.i64(0)) }
    : { page: String(main.i64(0)), oldestXid: main.u32(8) };
