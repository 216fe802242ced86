/**
 * Every record type of Postgres 18's built-in resource managers, named as pg_waldump names it.
 *
 * Keys are the high four bits of xl_info. Transaction records use only three of them for the type (the fourth is
 * XLOG_XACT_HAS_INFO), so each stands twice; `+INIT` is the init-page bit of Heap, Heap2 and BRIN.
 *
 * Source: the `_identify` functions in backend/access/rmgrdesc/, the XLOG_… constants in include/access/.
 */
interface ResourceManagerTypes {
  readonly name: string;
  readonly types: Readonly<Record<number, string>>;
}

/** In RmgrId order. */
export const recordTypes18: readonly ResourceManagerTypes[] = [
  {
    name: 'XLOG',
    types: {
      0x00: 'CHECKPOINT_SHUTDOWN',
      0x10: 'CHECKPOINT_ONLINE',
      0x20: 'NOOP',
      0x30: 'NEXTOID',
      0x40: 'SWITCH',
      0x50: 'BACKUP_END',
      0x60: 'PARAMETER_CHANGE',
      0x70: 'RESTORE_POINT',
      0x80: 'FPW_CHANGE',
      0x90: 'END_OF_RECOVERY',
      0xa0: 'FPI_FOR_HINT',
      0xb0: 'FPI',
      0xd0: 'OVERWRITE_CONTRECORD',
      0xe0: 'CHECKPOINT_REDO',
    },
  },
  {
    name: 'Transaction',
    types: {
      0x00: 'COMMIT',
      0x10: 'PREPARE',
      0x20: 'ABORT',
      0x30: 'COMMIT_PREPARED',
      0x40: 'ABORT_PREPARED',
      0x50: 'ASSIGNMENT',
      0x60: 'INVALIDATION',
      0x80: 'COMMIT',
      0x90: 'PREPARE',
      0xa0: 'ABORT',
      0xb0: 'COMMIT_PREPARED',
      0xc0: 'ABORT_PREPARED',
      0xd0: 'ASSIGNMENT',
      0xe0: 'INVALIDATION',
    },
  },
  {
    name: 'Storage',
    types: {
      0x10: 'CREATE',
      0x20: 'TRUNCATE',
    },
  },
  {
    name: 'CLOG',
    types: {
      0x00: 'ZEROPAGE',
      0x10: 'TRUNCATE',
    },
  },
  {
    name: 'Database',
    types: {
      0x00: 'CREATE_FILE_COPY',
      0x10: 'CREATE_WAL_LOG',
      0x20: 'DROP',
    },
  },
  {
    name: 'Tablespace',
    types: {
      0x00: 'CREATE',
      0x10: 'DROP',
    },
  },
  {
    name: 'MultiXact',
    types: {
      0x00: 'ZERO_OFF_PAGE',
      0x10: 'ZERO_MEM_PAGE',
      0x20: 'CREATE_ID',
      0x30: 'TRUNCATE_ID',
    },
  },
  {
    name: 'RelMap',
    types: {
      0x00: 'UPDATE',
    },
  },
  {
    name: 'Standby',
    types: {
      0x00: 'LOCK',
      0x10: 'RUNNING_XACTS',
      0x20: 'INVALIDATIONS',
    },
  },
  {
    name: 'Heap2',
    types: {
      0x00: 'REWRITE',
      0x10: 'PRUNE_ON_ACCESS',
      0x20: 'PRUNE_VACUUM_SCAN',
      0x30: 'PRUNE_VACUUM_CLEANUP',
      0x40: 'VISIBLE',
      0x50: 'MULTI_INSERT',
      0x60: 'LOCK_UPDATED',
      0x70: 'NEW_CID',
      0xd0: 'MULTI_INSERT+INIT',
    },
  },
  {
    name: 'Heap',
    types: {
      0x00: 'INSERT',
      0x10: 'DELETE',
      0x20: 'UPDATE',
      0x30: 'TRUNCATE',
      0x40: 'HOT_UPDATE',
      0x50: 'HEAP_CONFIRM',
      0x60: 'LOCK',
      0x70: 'INPLACE',
      0x80: 'INSERT+INIT',
      0xa0: 'UPDATE+INIT',
      0xc0: 'HOT_UPDATE+INIT',
    },
  },
  {
    name: 'Btree',
    types: {
      0x00: 'INSERT_LEAF',
      0x10: 'INSERT_UPPER',
      0x20: 'INSERT_META',
      0x30: 'SPLIT_L',
      0x40: 'SPLIT_R',
      0x50: 'INSERT_POST',
      0x60: 'DEDUP',
      0x70: 'DELETE',
      0x80: 'UNLINK_PAGE',
      0x90: 'UNLINK_PAGE_META',
      0xa0: 'NEWROOT',
      0xb0: 'MARK_PAGE_HALFDEAD',
      0xc0: 'VACUUM',
      0xd0: 'REUSE_PAGE',
      0xe0: 'META_CLEANUP',
    },
  },
  {
    name: 'Hash',
    types: {
      0x00: 'INIT_META_PAGE',
      0x10: 'INIT_BITMAP_PAGE',
      0x20: 'INSERT',
      0x30: 'ADD_OVFL_PAGE',
      0x40: 'SPLIT_ALLOCATE_PAGE',
      0x50: 'SPLIT_PAGE',
      0x60: 'SPLIT_COMPLETE',
      0x70: 'MOVE_PAGE_CONTENTS',
      0x80: 'SQUEEZE_PAGE',
      0x90: 'DELETE',
      0xa0: 'SPLIT_CLEANUP',
      0xb0: 'UPDATE_META_PAGE',
      0xc0: 'VACUUM_ONE_PAGE',
    },
  },
  {
    name: 'Gin',
    types: {
      0x10: 'CREATE_PTREE',
      0x20: 'INSERT',
      0x30: 'SPLIT',
      0x40: 'VACUUM_PAGE',
      0x50: 'DELETE_PAGE',
      0x60: 'UPDATE_META_PAGE',
      0x70: 'INSERT_LISTPAGE',
      0x80: 'DELETE_LISTPAGE',
      0x90: 'VACUUM_DATA_LEAF_PAGE',
    },
  },
  {
    name: 'Gist',
    types: {
      0x00: 'PAGE_UPDATE',
      0x10: 'DELETE',
      0x20: 'PAGE_REUSE',
      0x30: 'PAGE_SPLIT',
      0x60: 'PAGE_DELETE',
      0x70: 'ASSIGN_LSN',
    },
  },
  {
    name: 'Sequence',
    types: {
      0x00: 'LOG',
    },
  },
  {
    name: 'SPGist',
    types: {
      0x10: 'ADD_LEAF',
      0x20: 'MOVE_LEAFS',
      0x30: 'ADD_NODE',
      0x40: 'SPLIT_TUPLE',
      0x50: 'PICKSPLIT',
      0x60: 'VACUUM_LEAF',
      0x70: 'VACUUM_ROOT',
      0x80: 'VACUUM_REDIRECT',
    },
  },
  {
    name: 'BRIN',
    types: {
      0x00: 'CREATE_INDEX',
      0x10: 'INSERT',
      0x20: 'UPDATE',
      0x30: 'SAMEPAGE_UPDATE',
      0x40: 'REVMAP_EXTEND',
      0x50: 'DESUMMARIZE',
      0x90: 'INSERT+INIT',
      0xa0: 'UPDATE+INIT',
    },
  },
  {
    name: 'CommitTs',
    types: {
      0x00: 'ZEROPAGE',
      0x10: 'TRUNCATE',
    },
  },
  {
    name: 'ReplicationOrigin',
    types: {
      0x00: 'SET',
      0x10: 'DROP',
    },
  },
  {
    name: 'Generic',
    types: {
      0x00: 'Generic',
    },
  },
  {
    name: 'LogicalMessage',
    types: {
      0x00: 'MESSAGE',
    },
  },
];
