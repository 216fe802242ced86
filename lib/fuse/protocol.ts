/**
 * The FUSE kernel protocol (linux/fuse.h, 7.31 and newer): operation codes, flags and message layouts.
 *
 * The kernel writes one request per read(2) of /dev/fuse and takes one reply per write(2):
 *
 *   request   InHeader (40) · the operation's own structure · a name, or data
 *   reply     OutHeader (16) · the operation's own structure, or data; error is a negative errno
 *
 * All integers are in the machine's order, which is little-endian wherever Ebb runs. Only what the data
 * directory's server uses is declared here; every other operation is answered with ENOSYS, which the kernel
 * remembers, so that it asks only once.
 */
import { i32, layout, reserved, u16, u32, type Field } from '../postgres/layout.ts';

/**
 * Eight bytes as a number. Exact below 2^53, which inode numbers, request numbers and offsets of real files
 * are; a larger value (an offset near LLONG_MAX) is rounded and fails where it is used.
 */
export const u53: Field<number> = {
  size: 8,
  read: (d, o) => d.getUint32(o + 4, true) * 0x1_0000_0000 + d.getUint32(o, true),
  write: (d, o, v) => {
    d.setUint32(o, v % 0x1_0000_0000, true);
    d.setUint32(o + 4, Math.floor(v / 0x1_0000_0000), true);
  },
};

export const OPERATION = {
  LOOKUP: 1,
  FORGET: 2,
  GETATTR: 3,
  SETATTR: 4,
  READLINK: 5,
  MKNOD: 8,
  MKDIR: 9,
  UNLINK: 10,
  RMDIR: 11,
  RENAME: 12,
  OPEN: 14,
  READ: 15,
  WRITE: 16,
  STATFS: 17,
  RELEASE: 18,
  FSYNC: 20,
  FLUSH: 25,
  INIT: 26,
  OPENDIR: 27,
  READDIR: 28,
  RELEASEDIR: 29,
  FSYNCDIR: 30,
  CREATE: 35,
  INTERRUPT: 36,
  DESTROY: 38,
  BATCH_FORGET: 42,
  FALLOCATE: 43,
  RENAME2: 45,
} as const;
export type Operation = (typeof OPERATION)[keyof typeof OPERATION];

const operationNames = new Map<number, string>(Object.entries(OPERATION).map(([name, code]) => [code, name]));
/** For messages that a person reads: `READ`, or `operation 52`. */
export const operationName = (code: number): string => operationNames.get(code) ?? `operation ${code}`;

/** InitIn.flags and InitOut.flags. */
export const INIT_FLAG = {
  ASYNC_READ: 1 << 0,
  BIG_WRITES: 1 << 5,
  WRITEBACK_CACHE: 1 << 16,
  NO_OPEN_SUPPORT: 1 << 17,
  PARALLEL_DIROPS: 1 << 18,
  MAX_PAGES: 1 << 22,
  EXPLICIT_INVAL_DATA: 1 << 25,
} as const;

/** OpenOut.openFlags. */
export const OPEN_FLAG = { KEEP_CACHE: 1 << 1 } as const;

/** SetattrIn.valid: which fields are to be set. */
export const SETATTR = {
  MODE: 1 << 0,
  UID: 1 << 1,
  GID: 1 << 2,
  SIZE: 1 << 3,
  ATIME: 1 << 4,
  MTIME: 1 << 5,
  ATIME_NOW: 1 << 7,
  MTIME_NOW: 1 << 8,
} as const;

/** Rename2In.flags (renameat2). */
export const RENAME_NOREPLACE = 1;
/** FallocateIn.mode (fallocate). */
export const FALLOC_KEEP_SIZE = 1;

export const ERRNO = {
  ENOENT: 2,
  EIO: 5,
  EACCES: 13,
  EEXIST: 17,
  ENFILE: 23,
  EINVAL: 22,
  EPERM: 1,
  ENAMETOOLONG: 36,
  ENOSYS: 38,
  ENOTEMPTY: 39,
  EOPNOTSUPP: 95,
} as const;

export const FUSE_ROOT_ID = 1;
/** What the kernel's read buffer must exceed max_write by (FUSE_BUFFER_HEADER_SIZE). */
export const HEADER_ROOM = 4096;

export const InHeader = layout('fuse_in_header', 40, {
  length: u32,
  operation: u32,
  unique: u53,
  nodeId: u53,
  uid: u32,
  gid: u32,
  pid: u32,
  extensionLength: u16,
  padding: reserved(2),
});
export const OutHeader = layout('fuse_out_header', 16, { length: u32, error: i32, unique: u53 });

const attributes = {
  ino: u53,
  size: u53,
  blocks: u53,
  atime: u53,
  mtime: u53,
  ctime: u53,
  atimeNs: u32,
  mtimeNs: u32,
  ctimeNs: u32,
  mode: u32,
  nlink: u32,
  uid: u32,
  gid: u32,
  rdev: u32,
  blockSize: u32,
  flags: u32,
};
export const Attributes = layout('fuse_attr', 88, attributes);
export const EntryOut = layout('fuse_entry_out (without its attributes)', 40, {
  nodeId: u53,
  generation: u53,
  entryValid: u53,
  attributesValid: u53,
  entryValidNs: u32,
  attributesValidNs: u32,
});
/** EntryOut, then Attributes. */
export const ENTRY_OUT_SIZE = EntryOut.size + Attributes.size;
export const AttrOut = layout('fuse_attr_out (without its attributes)', 16, {
  attributesValid: u53,
  attributesValidNs: u32,
  padding: reserved(4),
});
export const ATTR_OUT_SIZE = AttrOut.size + Attributes.size;

export const ForgetIn = layout('fuse_forget_in', 8, { lookups: u53 });
export const BatchForgetIn = layout('fuse_batch_forget_in', 8, { count: u32, padding: reserved(4) });
export const ForgetOne = layout('fuse_forget_one', 16, { nodeId: u53, lookups: u53 });

export const SetattrIn = layout('fuse_setattr_in', 88, {
  valid: u32,
  padding: reserved(4),
  fh: u53,
  size: u53,
  lockOwner: u53,
  atime: u53,
  mtime: u53,
  ctime: u53,
  atimeNs: u32,
  mtimeNs: u32,
  ctimeNs: u32,
  mode: u32,
  unused4: reserved(4),
  uid: u32,
  gid: u32,
  unused5: reserved(4),
});
/** fuse_mknod_in; the name follows. */
export const MknodIn = layout('fuse_mknod_in', 16, {
  mode: u32,
  rdev: u32,
  umask: u32,
  padding: reserved(4),
});
/** fuse_mkdir_in; the name follows. */
export const MkdirIn = layout('fuse_mkdir_in', 8, { mode: u32, umask: u32 });
/** fuse_rename_in; the old and the new name follow. */
export const RenameIn = layout('fuse_rename_in', 8, { newParent: u53 });
export const Rename2In = layout('fuse_rename2_in', 16, { newParent: u53, flags: u32, padding: reserved(4) });
/** fuse_create_in; the name follows. */
export const CreateIn = layout('fuse_create_in', 16, { flags: u32, mode: u32, umask: u32, openFlags: u32 });
export const OpenOut = layout('fuse_open_out', 16, { fh: u53, openFlags: u32, backingId: u32 });
export const ReadIn = layout('fuse_read_in', 40, {
  fh: u53,
  offset: u53,
  size: u32,
  readFlags: u32,
  lockOwner: u53,
  flags: u32,
  padding: reserved(4),
});
/** fuse_write_in; the data follows. */
export const WriteIn = layout('fuse_write_in', 40, {
  fh: u53,
  offset: u53,
  size: u32,
  writeFlags: u32,
  lockOwner: u53,
  flags: u32,
  padding: reserved(4),
});
export const WriteOut = layout('fuse_write_out', 8, { size: u32, padding: reserved(4) });
export const FallocateIn = layout('fuse_fallocate_in', 32, {
  fh: u53,
  offset: u53,
  length: u53,
  mode: u32,
  padding: reserved(4),
});
/** The first 16 bytes of fuse_init_in, which every version of the protocol has. */
export const InitIn = layout('fuse_init_in', 16, { major: u32, minor: u32, readAheadMax: u32, flags: u32 });
export const InitOut = layout('fuse_init_out', 64, {
  major: u32,
  minor: u32,
  readAheadMax: u32,
  flags: u32,
  backgroundMax: u16,
  congestionThreshold: u16,
  writeMax: u32,
  timeGranularityNs: u32,
  pagesMax: u16,
  mapAlignment: u16,
  flags2: u32,
  stackDepthMax: u32,
  unused: reserved(24),
});
export const StatfsOut = layout('fuse_statfs_out', 80, {
  blocks: u53,
  blocksFree: u53,
  blocksAvailable: u53,
  files: u53,
  filesFree: u53,
  blockSize: u32,
  nameMax: u32,
  fragmentSize: u32,
  padding: reserved(28),
});
