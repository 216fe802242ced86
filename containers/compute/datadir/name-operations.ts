/**
 * What changes or finds names. A remote file has its name of the boot LSN until it is unlinked or renamed; every
 * other name is one in the backing folder. The kernel keeps changes in a directory apart from lookups there.
 */
import {
  closeSync,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  readlinkSync,
  renameSync,
  rmdirSync,
  unlinkSync,
  constants,
  type Stats,
} from 'node:fs';
import {
  CreateIn,
  ENTRY_OUT_SIZE,
  ERRNO,
  MkdirIn,
  MknodIn,
  OPEN_FLAG,
  OpenOut,
  RENAME_NOREPLACE,
} from '../../../lib/fuse/protocol.ts';
import { PAGE_SIZE } from '../../../lib/protocol/pages.ts';
import type { AttributeReplies } from './attribute-replies.ts';
import { FIRST_REMOTE, FLAG, STATE, TYPE } from './inode-records.ts';
import { DIRECTORY, directoryKind } from './file-names.ts';
import { BODY, REPLY, type Request } from './request.ts';

const S_IFMT = 0o170000;
const S_IFREG = 0o100000;

export class NameOperations {
  readonly #request: Request;
  readonly #replies: AttributeReplies;

  constructor(request: Request, replies: AttributeReplies) {
    this.#request = request;
    this.#replies = replies;
  }

  lookup(name: string): number {
    const parent = this.#request.id();
    const remote = this.#findRemote(parent, name);
    if (remote !== 0) {
      this.#request.volume.inodes.lookUpRemote(remote, parent, name);
      return this.#replies.entry(remote);
    }
    const stats = lstatSync(this.#request.volume.childPath(parent, name), { throwIfNoEntry: false });
    if (stats === undefined) return this.#replies.noEntry();
    return this.#localEntry(parent, name, stats);
  }

  /** The remote file that has this name now; 0 where there is none. */
  #findRemote(parent: number, name: string): number {
    const { inodes, remote } = this.#request.volume;
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
    const id = this.#request.volume.inodes.lookUpLocal(parent, name, type, directory);
    return id === 0 ? -ERRNO.ENFILE : this.#replies.entry(id, stats);
  }
  #pathBelowRoot(parent: number, name: string): string {
    return this.#request.volume.childPath(parent, name).slice(this.#request.volume.shared.root.length + 1);
  }

  create(): number {
    const created = this.#makeFile(
      CreateIn.over(this.#request.input, BODY).mode,
      this.#request.nameAt(BODY + CreateIn.size),
      true,
    );
    if (created < 0) return created;
    const open = OpenOut.over(this.#request.output, REPLY + ENTRY_OUT_SIZE);
    open.fh = 0;
    open.openFlags = OPEN_FLAG.KEEP_CACHE;
    open.backingId = 0;
    return created + OpenOut.size;
  }
  mknod(): number {
    const { mode } = MknodIn.over(this.#request.input, BODY);
    if ((mode & S_IFMT) !== S_IFREG) return -ERRNO.EPERM;
    return this.#makeFile(mode, this.#request.nameAt(BODY + MknodIn.size), false);
  }
  #makeFile(mode: number, name: string, keepOpen: boolean): number {
    const parent = this.#request.id();
    if (this.#findRemote(parent, name) !== 0) return -ERRNO.EEXIST;
    const path = this.#request.volume.childPath(parent, name);
    const flags = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL;
    const descriptor = openSync(path, flags, mode & 0o777);
    const { inodes } = this.#request.volume;
    let id = 0;
    try {
      const stats = fstatSync(descriptor);
      id = inodes.lookUpLocal(parent, name, TYPE.FILE);
      if (id === 0) return -ERRNO.ENFILE;
      if (keepOpen) inodes.withLock(id, () => inodes.descriptors.set(id, descriptor));
      return this.#replies.entry(id, stats);
    } finally {
      if (id === 0 || !keepOpen) closeSync(descriptor);
    }
  }

  mkdir(): number {
    const parent = this.#request.id();
    const name = this.#request.nameAt(BODY + MkdirIn.size);
    const path = this.#request.volume.childPath(parent, name);
    mkdirSync(path, { mode: MkdirIn.over(this.#request.input, BODY).mode & 0o777 });
    return this.#localEntry(parent, name, lstatSync(path));
  }

  unlink(parent: number, name: string): number {
    const { inodes } = this.#request.volume;
    const remote = this.#findRemote(parent, name);
    const id = remote !== 0 ? remote : inodes.findLocal(parent, name);
    if (id === 0) {
      unlinkSync(this.#request.volume.childPath(parent, name));
      return 0;
    }
    inodes.withLock(id, () => {
      // Whoever has it open goes on with the descriptor.
      if (!this.#request.volume.isUntouched(id)) {
        if (inodes.type(id) === TYPE.FILE && !inodes.isForgotten(id)) this.#request.volume.openLocked(id);
        unlinkSync(this.#request.volume.backingPath(id));
      }
      inodes.setState(id, STATE.UNLINKED);
      if (remote !== 0) inodes.setFlag(id, FLAG.NAME_GONE);
    });
    inodes.unname(id);
    return 0;
  }

  rmdir(): number {
    const parent = this.#request.id();
    const name = this.#request.nameAt(BODY);
    const { inodes } = this.#request.volume;
    const id = inodes.findLocal(parent, name);
    if (id !== 0 && this.#holdsRemote(id)) return -ERRNO.ENOTEMPTY;
    rmdirSync(this.#request.volume.childPath(parent, name));
    if (id !== 0) inodes.unname(id);
    return 0;
  }
  /** Whether remote files still have their names in the directory. Those with a backing file rmdir(2) sees itself. */
  #holdsRemote(id: number): boolean {
    const { inodes, remote } = this.#request.volume;
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

  rename(newParent: number, flags: number, namesAt: number): number {
    const parent = this.#request.id();
    const name = this.#request.nameAt(namesAt);
    const newName = this.#request.nameAt(namesAt + name.length + 1);
    const { inodes, remote } = this.#request.volume;
    if ((flags & ~RENAME_NOREPLACE) !== 0 || !inodes.isKnown(newParent)) return -ERRNO.EINVAL;
    if (parent === newParent && name === newName) return 0;
    const source = this.#findRemote(parent, name);
    const id = source !== 0 ? source : inodes.findLocal(parent, name);
    if (id !== 0 && inodes.type(id) === TYPE.DIRECTORY) return -ERRNO.EPERM; // remote files have fixed places
    if (source !== 0) {
      const blocks = remote.blocks(source - FIRST_REMOTE);
      if (!this.#request.volume.isPresent(source, 0, blocks * PAGE_SIZE))
        return this.#request.deferFor(source, 0, blocks * PAGE_SIZE);
    }
    // Open, so that nobody looks for it by name meanwhile; an untouched empty file gets its backing file by it.
    if (id !== 0) inodes.withLock(id, () => this.#request.volume.openLocked(id));
    const target = this.#request.volume.childPath(newParent, newName);
    const occupied =
      this.#findRemote(newParent, newName) !== 0 ||
      lstatSync(target, { throwIfNoEntry: false }) !== undefined;
    if (occupied) {
      if ((flags & RENAME_NOREPLACE) !== 0) return -ERRNO.EEXIST;
      // What is replaced loses its name first: the kernel shows nobody the moment in between.
      this.unlink(newParent, newName);
    }
    renameSync(this.#request.volume.childPath(parent, name), target);
    if (id !== 0) {
      if (source !== 0) inodes.setFlag(source, FLAG.NAME_GONE);
      inodes.rename(id, newParent, newName);
    }
    return 0;
  }

  readlink(): number {
    const target = readlinkSync(this.#request.volume.backingPath(this.#request.id()), 'buffer');
    this.#request.output.set(target, REPLY);
    return target.length;
  }
}
