/**
 * What each request of the kernel does. The same code runs in the reader threads, and in the main thread for a
 * request whose pages had to be fetched first.
 *
 * A request is answered from the backing folder at once, or it is deferred: pages must come from the pageserver
 * first (`need` says which), or only the main thread can do it (directory listings). Nothing here waits.
 *
 *   READ      of what is here: pread. Otherwise deferred.
 *   WRITE     of whole units of 4096 bytes makes them local. Of part of an absent unit: deferred, then as above.
 *   SETATTR   to a smaller size makes everything beyond it local, so that it reads as zeros later.
 *   RENAME    of a file with absent parts: deferred until all of it is here. (Postgres never does it.)
 *
 * OPEN is answered with ENOSYS, after which the kernel opens and closes by itself and keeps its page cache.
 * fsync too: the disk is disposable. Times are the kernel's; a change of owner is refused.
 */
import {
  closeSync,
  chmodSync,
  fstatSync,
  ftruncateSync,
  lstatSync,
  mkdirSync,
  openSync,
  readlinkSync,
  readSync,
  renameSync,
  rmdirSync,
  statfsSync,
  unlinkSync,
  writeSync,
  constants,
  type Stats,
} from 'node:fs';
import {
  ATTR_OUT_SIZE,
  Attributes,
  AttrOut,
  BatchForgetIn,
  CreateIn,
  ENTRY_OUT_SIZE,
  EntryOut,
  ERRNO,
  FALLOC_KEEP_SIZE,
  FallocateIn,
  ForgetIn,
  ForgetOne,
  InHeader,
  MkdirIn,
  MknodIn,
  OPEN_FLAG,
  OpenOut,
  OPERATION,
  OutHeader,
  ReadIn,
  Rename2In,
  RENAME_NOREPLACE,
  RenameIn,
  SETATTR,
  SetattrIn,
  StatfsOut,
  WriteIn,
  WriteOut,
} from '../../../lib/fuse/protocol.ts';
import { PAGE_SIZE } from '../../../lib/protocol/pages.ts';
import type { FuseChannel } from './channel.ts';
import { FIRST_REMOTE, FLAG, NAME_MAX, ROOT, STATE, TYPE } from './inodes.ts';
import { UNIT_SIZE } from './presence.ts';
import { DIRECTORY, directoryKind } from './remote-files.ts';
import type { Volume } from './volume.ts';

/** No reply is due. */
export const NO_REPLY = -10_000;
/** The main thread must go on with the request; `need` says what to fetch before. */
export const DEFERRED = -10_001;

/** Blocks of a remote file that must be here before the request can be done. */
export interface Need {
  id: number;
  block: number;
  count: number;
}

/** Seconds for which the kernel may trust names and attributes: nobody changes them but through it. */
const VALID_S = 365 * 86_400;
const S_IFMT = 0o170000;
const S_IFREG = 0o100000;
const BODY = InHeader.size;
const REPLY = OutHeader.size;

export class Operations {
  /** Set when a request is deferred for pages; undefined when it is deferred for the main thread itself. */
  need: Need | undefined;

  readonly #volume: Volume;
  readonly #channel: FuseChannel;
  readonly #in: Uint8Array<ArrayBuffer>;
  readonly #out: Uint8Array<ArrayBuffer>;
  readonly #views;
  #node = 0;

  constructor(volume: Volume, channel: FuseChannel) {
    const { input, output } = channel;
    this.#volume = volume;
    this.#channel = channel;
    this.#in = input;
    this.#out = output;
    this.#views = {
      header: channel.header,
      read: ReadIn.over(input, BODY),
      write: WriteIn.over(input, BODY),
      setattr: SetattrIn.over(input, BODY),
      entry: EntryOut.over(output),
      attributes: Attributes.over(output),
      attrOut: AttrOut.over(output, REPLY),
      writeOut: WriteOut.over(output, REPLY),
    };
  }

  /**
   * Does the request in `input`: the length of the reply that is now in `output`, or NO_REPLY, or DEFERRED.
   * Failures become replies; `onUnexpected` hears of those that Postgres will see as an I/O error.
   */
  handle(onUnexpected: (error: unknown) => void): number {
    const header = this.#views.header;
    this.#node = header.nodeId;
    this.need = undefined;
    let result: number;
    try {
      result = this.#dispatch(header.operation);
    } catch (error) {
      result = errnoOf(error);
      if (result === -ERRNO.EIO) onUnexpected(error);
    }
    if (result === NO_REPLY || result === DEFERRED) return result;
    return this.#channel.finish(header.unique, result);
  }

  #dispatch(operation: number): number {
    switch (operation) {
      case OPERATION.READ:
        return this.#read();
      case OPERATION.WRITE:
        return this.#write();
      case OPERATION.LOOKUP:
        return this.#lookup(this.#nameAt(BODY));
      case OPERATION.GETATTR:
        return this.#attrOut(this.#known());
      case OPERATION.SETATTR:
        return this.#setattr(this.#known());
      case OPERATION.FORGET:
        this.#volume.inodes.forget(this.#node, ForgetIn.over(this.#in, BODY).lookups);
        return NO_REPLY;
      case OPERATION.BATCH_FORGET:
        return this.#batchForget();
      case OPERATION.CREATE:
        return this.#create();
      case OPERATION.MKNOD:
        return this.#mknod();
      case OPERATION.MKDIR:
        return this.#mkdir();
      case OPERATION.UNLINK:
        return this.#unlink(this.#known(), this.#nameAt(BODY));
      case OPERATION.RMDIR:
        return this.#rmdir();
      case OPERATION.RENAME:
        return this.#rename(RenameIn.over(this.#in, BODY).newParent, 0, BODY + RenameIn.size);
      case OPERATION.RENAME2: {
        const { newParent, flags } = Rename2In.decode(this.#in, BODY);
        return this.#rename(newParent, flags, BODY + Rename2In.size);
      }
      case OPERATION.FALLOCATE:
        return this.#fallocate();
      case OPERATION.READLINK:
        return this.#readlink();
      case OPERATION.STATFS:
        return this.#statfs();
      case OPERATION.RELEASE:
      case OPERATION.DESTROY:
        return 0;
      case OPERATION.OPENDIR:
      case OPERATION.READDIR:
      case OPERATION.RELEASEDIR:
        return DEFERRED;
      default:
        return -ERRNO.ENOSYS; // OPEN, FLUSH, FSYNC, INTERRUPT, extended attributes …: the kernel asks once
    }
  }

  // --- data -----------------------------------------------------------------------------------------------

  #read(): number {
    const { offset, size } = this.#views.read;
    const id = this.#known();
    const volume = this.#volume;
    if (volume.isRemote(id)) {
      volume.recordTouch(id, offset, size);
      if (!volume.isPresent(id, offset, offset + size)) return this.#deferFor(id, offset, offset + size);
    }
    const descriptor = volume.pin(id);
    try {
      return readSync(descriptor, this.#out, REPLY, Math.min(size, this.#out.length - REPLY), offset);
    } finally {
      volume.inodes.unpin(id);
    }
  }

  #deferFor(id: number, offset: number, end: number): number {
    const block = Math.floor(offset / PAGE_SIZE);
    this.need = { id, block, count: Math.ceil(end / PAGE_SIZE) - block };
    return DEFERRED;
  }

  #write(): number {
    const { offset, size } = this.#views.write;
    const id = this.#known();
    const volume = this.#volume;
    const end = offset + size;
    const data = this.#in.subarray(BODY + WriteIn.size, BODY + WriteIn.size + size);
    const descriptor = volume.pin(id);
    try {
      if (!volume.isRemote(id) || volume.isPresent(id, offset, end))
        return this.#wrote(descriptor, data, offset);
      // Units that are written in part must be here first: at most the first and the last.
      const [headUnit, tailUnit] = [Math.floor(offset / UNIT_SIZE), Math.ceil(end / UNIT_SIZE)];
      if (offset % UNIT_SIZE !== 0 && !volume.isPresent(id, offset, (headUnit + 1) * UNIT_SIZE))
        return this.#deferFor(id, offset, offset + 1);
      if (end % UNIT_SIZE !== 0 && !volume.isPresent(id, (tailUnit - 1) * UNIT_SIZE, end))
        return this.#deferFor(id, end - 1, end);
      return volume.inodes.withLock(id, () => {
        const length = this.#wrote(descriptor, data, offset);
        const written = this.#views.writeOut.size;
        const to = written === size ? tailUnit : Math.floor((offset + written) / UNIT_SIZE);
        volume.setPresent(id, headUnit, to);
        return length;
      });
    } finally {
      volume.inodes.unpin(id);
    }
  }
  #wrote(descriptor: number, data: Uint8Array, offset: number): number {
    this.#views.writeOut.size = writeSync(descriptor, data, 0, data.length, offset);
    this.#views.writeOut.padding = undefined;
    return WriteOut.size;
  }

  /** Sets the size of a file; DEFERRED when the unit at the new end is cut and not here. */
  #truncate(id: number, size: number): number {
    const volume = this.#volume;
    if (volume.isRemote(id) && size % UNIT_SIZE !== 0 && !volume.isPresent(id, size, size + 1))
      return this.#deferFor(id, size, size + 1);
    const descriptor = volume.pin(id);
    try {
      volume.inodes.withLock(id, () => {
        ftruncateSync(descriptor, size);
        if (volume.isRemote(id)) volume.setPresent(id, Math.ceil(size / UNIT_SIZE), Number.MAX_SAFE_INTEGER);
      });
    } finally {
      volume.inodes.unpin(id);
    }
    return 0;
  }

  /** posix_fallocate: the file grows, sparsely. Punching holes is refused; Postgres does not. */
  #fallocate(): number {
    const { offset, length, mode } = FallocateIn.decode(this.#in, BODY);
    if ((mode & ~FALLOC_KEEP_SIZE) !== 0) return -ERRNO.EOPNOTSUPP;
    if ((mode & FALLOC_KEEP_SIZE) !== 0) return 0;
    const id = this.#known();
    const descriptor = this.#volume.pin(id);
    try {
      this.#volume.inodes.withLock(id, () => {
        if (fstatSync(descriptor).size < offset + length) ftruncateSync(descriptor, offset + length);
      });
    } finally {
      this.#volume.inodes.unpin(id);
    }
    return 0;
  }

  // --- names ----------------------------------------------------------------------------------------------

  #lookup(name: string): number {
    const parent = this.#known();
    const remote = this.#findRemote(parent, name);
    if (remote !== 0) {
      this.#volume.inodes.lookUpRemote(remote, parent, name);
      return this.#entryOut(REPLY, remote);
    }
    const stats = lstatSync(this.#volume.childPath(parent, name), { throwIfNoEntry: false });
    if (stats === undefined) return this.#negativeEntry();
    return this.#localEntry(parent, name, stats);
  }

  /** The remote file that has this name now; 0 where there is none. */
  #findRemote(parent: number, name: string): number {
    const { inodes, remote } = this.#volume;
    const index = remote.find(inodes.directoryKind(parent), inodes.directoryOid(parent), name);
    if (index < 0) return 0;
    const id = FIRST_REMOTE + index;
    return inodes.hasFlag(id, FLAG.NAME_GONE) ? 0 : id;
  }

  #localEntry(parent: number, name: string, stats: Stats): number {
    const type = stats.isDirectory()
      ? TYPE.DIRECTORY
      : stats.isSymbolicLink()
        ? TYPE.SYMBOLIC_LINK
        : TYPE.FILE;
    const directory = type === TYPE.DIRECTORY ? directoryKind(this.#pathBelowRoot(parent, name)) : undefined;
    const id = this.#volume.inodes.lookUpLocal(parent, name, type, directory);
    return id === 0 ? -ERRNO.ENFILE : this.#entryOut(REPLY, id, stats);
  }
  #pathBelowRoot(parent: number, name: string): string {
    return this.#volume.childPath(parent, name).slice(this.#volume.shared.root.length + 1);
  }

  #create(): number {
    const created = this.#makeFile(
      CreateIn.over(this.#in, BODY).mode,
      this.#nameAt(BODY + CreateIn.size),
      true,
    );
    if (created < 0) return created;
    const open = OpenOut.over(this.#out, REPLY + ENTRY_OUT_SIZE);
    open.fh = 0;
    open.openFlags = OPEN_FLAG.KEEP_CACHE;
    open.backingId = 0;
    return created + OpenOut.size;
  }
  #mknod(): number {
    const { mode } = MknodIn.over(this.#in, BODY);
    if ((mode & S_IFMT) !== S_IFREG) return -ERRNO.EPERM;
    return this.#makeFile(mode, this.#nameAt(BODY + MknodIn.size), false);
  }
  #makeFile(mode: number, name: string, keepOpen: boolean): number {
    const parent = this.#known();
    if (this.#findRemote(parent, name) !== 0) return -ERRNO.EEXIST;
    const path = this.#volume.childPath(parent, name);
    const flags = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL;
    const descriptor = openSync(path, flags, mode & 0o777);
    const { inodes } = this.#volume;
    let id = 0;
    try {
      const stats = fstatSync(descriptor);
      id = inodes.lookUpLocal(parent, name, TYPE.FILE);
      if (id === 0) return -ERRNO.ENFILE;
      if (keepOpen) inodes.withLock(id, () => inodes.setDescriptor(id, descriptor));
      return this.#entryOut(REPLY, id, stats);
    } finally {
      if (id === 0 || !keepOpen) closeSync(descriptor);
    }
  }

  #mkdir(): number {
    const parent = this.#known();
    const name = this.#nameAt(BODY + MkdirIn.size);
    const path = this.#volume.childPath(parent, name);
    mkdirSync(path, { mode: MkdirIn.over(this.#in, BODY).mode & 0o777 });
    return this.#localEntry(parent, name, lstatSync(path));
  }

  #unlink(parent: number, name: string): number {
    const { inodes } = this.#volume;
    const remote = this.#findRemote(parent, name);
    const id = remote !== 0 ? remote : inodes.findLocal(parent, name);
    if (id === 0) {
      unlinkSync(this.#volume.childPath(parent, name));
      return 0;
    }
    inodes.withLock(id, () => {
      // Whoever has it open goes on with the descriptor.
      if (!this.#volume.isUntouched(id)) {
        if (inodes.type(id) === TYPE.FILE && !inodes.isForgotten(id)) this.#volume.openLocked(id);
        unlinkSync(this.#volume.backingPath(id));
      }
      inodes.setState(id, STATE.UNLINKED);
      if (remote !== 0) inodes.setFlag(id, FLAG.NAME_GONE);
    });
    inodes.unname(id);
    return 0;
  }

  #rmdir(): number {
    const parent = this.#known();
    const name = this.#nameAt(BODY);
    const { inodes } = this.#volume;
    const id = inodes.findLocal(parent, name);
    if (id !== 0 && this.#holdsRemote(id)) return -ERRNO.ENOTEMPTY;
    rmdirSync(this.#volume.childPath(parent, name));
    if (id !== 0) inodes.unname(id);
    return 0;
  }
  /** Whether remote files still have their names in the directory. Those with a backing file rmdir(2) sees itself. */
  #holdsRemote(id: number): boolean {
    const { inodes, remote } = this.#volume;
    const [kind, oid] = [inodes.directoryKind(id), inodes.directoryOid(id)];
    if (kind === DIRECTORY.OTHER) return false;
    for (let index = 0; index < remote.count; index++)
      if (
        remote.kind(index) === kind &&
        remote.oid(index) === oid &&
        !inodes.hasFlag(FIRST_REMOTE + index, FLAG.NAME_GONE)
      )
        return true;
    return false;
  }

  #rename(newParent: number, flags: number, namesAt: number): number {
    const parent = this.#known();
    const name = this.#nameAt(namesAt);
    const newName = this.#nameAt(namesAt + name.length + 1);
    const { inodes, remote } = this.#volume;
    if ((flags & ~RENAME_NOREPLACE) !== 0 || !inodes.isKnown(newParent)) return -ERRNO.EINVAL;
    if (parent === newParent && name === newName) return 0;
    const source = this.#findRemote(parent, name);
    const id = source !== 0 ? source : inodes.findLocal(parent, name);
    if (id !== 0 && inodes.type(id) === TYPE.DIRECTORY) return -ERRNO.EPERM; // remote files have fixed places
    if (source !== 0) {
      const blocks = remote.blocks(source - FIRST_REMOTE);
      if (!this.#volume.isPresent(source, 0, blocks * PAGE_SIZE))
        return this.#deferFor(source, 0, blocks * PAGE_SIZE);
      inodes.withLock(source, () => this.#volume.openLocked(source)); // an untouched empty file gets its backing
    }
    const target = this.#volume.childPath(newParent, newName);
    const occupied =
      this.#findRemote(newParent, newName) !== 0 ||
      lstatSync(target, { throwIfNoEntry: false }) !== undefined;
    if (occupied) {
      if ((flags & RENAME_NOREPLACE) !== 0) return -ERRNO.EEXIST;
      // What is replaced loses its name first: the kernel shows nobody the moment in between.
      this.#unlink(newParent, newName);
    }
    renameSync(this.#volume.childPath(parent, name), target);
    if (id !== 0) {
      if (source !== 0) inodes.setFlag(source, FLAG.NAME_GONE);
      inodes.rename(id, newParent, newName);
    }
    return 0;
  }

  #readlink(): number {
    const target = readlinkSync(this.#volume.backingPath(this.#known()), 'buffer');
    this.#out.set(target, REPLY);
    return target.length;
  }

  #batchForget(): number {
    const { count } = BatchForgetIn.over(this.#in, BODY);
    const one = ForgetOne.over(this.#in);
    for (let i = 0; i < count; i++) {
      one.at(BODY + BatchForgetIn.size + i * ForgetOne.size);
      this.#volume.inodes.forget(one.nodeId, one.lookups);
    }
    return NO_REPLY;
  }

  // --- attributes -----------------------------------------------------------------------------------------

  #setattr(id: number): number {
    const { valid, size, mode, uid, gid } = this.#views.setattr;
    const { shared, inodes } = this.#volume;
    if ((valid & SETATTR.UID) !== 0 && uid !== shared.uid) return -ERRNO.EPERM;
    if ((valid & SETATTR.GID) !== 0 && gid !== shared.gid) return -ERRNO.EPERM;
    if ((valid & SETATTR.SIZE) !== 0) {
      const result = this.#truncate(id, size);
      if (result !== 0) return result;
    }
    if ((valid & SETATTR.MODE) !== 0) {
      if (this.#volume.isUntouched(id)) inodes.withLock(id, () => this.#volume.openLocked(id));
      if (inodes.state(id) === STATE.LIVE) chmodSync(this.#volume.backingPath(id), mode & 0o777);
    }
    return this.#attrOut(id);
  }

  #attrOut(id: number): number {
    const head = this.#views.attrOut;
    head.attributesValid = VALID_S;
    head.attributesValidNs = 0;
    head.padding = undefined;
    this.#putAttributes(REPLY + AttrOut.size, id);
    return ATTR_OUT_SIZE;
  }

  #entryOut(at: number, id: number, stats?: Stats): number {
    const entry = this.#views.entry.at(at);
    entry.nodeId = id;
    entry.generation = this.#volume.inodes.generation(id);
    entry.entryValid = VALID_S;
    entry.attributesValid = VALID_S;
    entry.entryValidNs = 0;
    entry.attributesValidNs = 0;
    this.#putAttributes(at + EntryOut.size, id, stats);
    return ENTRY_OUT_SIZE;
  }
  /** The kernel remembers that there is no such name. */
  #negativeEntry(): number {
    this.#out.fill(0, REPLY, REPLY + ENTRY_OUT_SIZE);
    this.#views.entry.at(REPLY).entryValid = VALID_S;
    return ENTRY_OUT_SIZE;
  }

  #putAttributes(at: number, id: number, known?: Stats): void {
    const { shared, inodes, remote } = this.#volume;
    const stats = known ?? this.#stats(id);
    const attributes = this.#views.attributes.at(at);
    const size = stats?.size ?? remote.size(id - FIRST_REMOTE);
    attributes.ino = id;
    attributes.size = size;
    attributes.blocks = Math.ceil(size / 512);
    attributes.atime = time(stats?.atimeMs, shared.bootTime);
    attributes.mtime = time(stats?.mtimeMs, shared.bootTime);
    attributes.ctime = time(stats?.ctimeMs, shared.bootTime);
    attributes.atimeNs = nanoseconds(stats?.atimeMs);
    attributes.mtimeNs = nanoseconds(stats?.mtimeMs);
    attributes.ctimeNs = nanoseconds(stats?.ctimeMs);
    attributes.mode = stats?.mode ?? S_IFREG | 0o600;
    attributes.nlink = inodes.state(id) === STATE.UNLINKED ? 0 : (stats?.nlink ?? 1);
    attributes.uid = shared.uid;
    attributes.gid = shared.gid;
    attributes.rdev = 0;
    attributes.blockSize = UNIT_SIZE;
    attributes.flags = 0;
  }

  /** Of the backing file; undefined for a remote file that has none yet. */
  #stats(id: number): Stats | undefined {
    const { inodes } = this.#volume;
    if (this.#volume.isUntouched(id)) return undefined;
    if (inodes.type(id) !== TYPE.FILE || id === ROOT) return lstatSync(this.#volume.backingPath(id));
    const descriptor = this.#volume.pin(id);
    try {
      return fstatSync(descriptor);
    } finally {
      inodes.unpin(id);
    }
  }

  #statfs(): number {
    const { bsize, blocks, bfree, bavail, files, ffree } = statfsSync(this.#volume.shared.root);
    this.#out.set(
      StatfsOut.encode({
        blocks,
        blocksFree: bfree,
        blocksAvailable: bavail,
        files,
        filesFree: ffree,
        blockSize: bsize,
        nameMax: NAME_MAX,
        fragmentSize: bsize,
      }),
      REPLY,
    );
    return StatfsOut.size;
  }

  // --- the request's parts --------------------------------------------------------------------------------

  /** The inode that the request is about. Throws Errno for one that was never given out. */
  #known(): number {
    if (!this.#volume.inodes.isKnown(this.#node)) throw new Errno(ERRNO.ENOENT);
    return this.#node;
  }

  /** The zero-terminated name at `at`. Postgres's are ASCII. */
  #nameAt(at: number): string {
    let name = '';
    for (let i = at; this.#in[i] !== 0; i++) {
      if (this.#in[i] >= 0x80) throw new Errno(ERRNO.EINVAL);
      name += String.fromCharCode(this.#in[i]);
    }
    if (name.length > NAME_MAX) throw new Errno(ERRNO.ENAMETOOLONG);
    return name;
  }
}

/** A failure that the kernel is told as it is. */
class Errno extends Error {
  override readonly name = 'Errno';
  readonly errno: number;
  constructor(errno: number) {
    super(`errno ${errno}`);
    this.errno = -errno;
  }
}

/** The negative errno that a system call's error, or an Errno, stands for; EIO for any other error. */
function errnoOf(error: unknown): number {
  const errno = (error as { errno?: unknown }).errno;
  return typeof errno === 'number' && errno < 0 && errno > -4096 ? errno : -ERRNO.EIO;
}

const time = (ms: number | undefined, otherwise: number): number =>
  ms === undefined ? otherwise : Math.floor(ms / 1000);
const nanoseconds = (ms: number | undefined): number =>
  ms === undefined ? 0 : Math.floor((ms % 1000) * 1_000_000);
