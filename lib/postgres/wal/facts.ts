/**
 * What of the WAL format differs between major versions of Postgres; one value of this per major, in
 * `lib/postgres/v18/` and its future siblings. Everything that 14 to 18 share is written directly in the decoder.
 */
export interface WalFacts {
  readonly major: number;
  /** XLOG_PAGE_MAGIC: first two bytes of every WAL page. */
  readonly pageMagic: number;
  /** Names of the built-in resource managers as Postgres prints them; the index is the RmgrId. */
  readonly resourceManagers: readonly string[];
  /**
   * Per built-in resource manager: record type names (rm_identify) by the high four bits of xl_info.
   * A name with `+INIT` stands under info | XLOG_HEAP_INIT_PAGE.
   */
  readonly recordTypes: readonly Readonly<Record<number, string>>[];
  /** Whether records of this type of a built-in resource manager have block references: all of them do, or none. */
  changesPages(resourceManager: number, info: number): boolean;
}

/** RmgrIds from here on are custom: loaded by an extension. */
export const RM_MIN_CUSTOM_ID = 128;

/** RmgrIds of the built-in resource managers, the same since Postgres 15 (access/rmgrlist.h). */
export const RM = {
  XLOG: 0,
  XACT: 1,
  SMGR: 2,
  CLOG: 3,
  DBASE: 4,
  TBLSPC: 5,
  MULTIXACT: 6,
  RELMAP: 7,
  STANDBY: 8,
  HEAP2: 9,
  HEAP: 10,
  BTREE: 11,
  HASH: 12,
  GIN: 13,
  GIST: 14,
  SEQ: 15,
  SPGIST: 16,
  BRIN: 17,
  COMMIT_TS: 18,
  REPLORIGIN: 19,
  GENERIC: 20,
  LOGICALMSG: 21,
} as const;
