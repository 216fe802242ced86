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
import { chmodSync } from 'node:fs';
import {
  BatchForgetIn,
  ERRNO,
  ForgetIn,
  ForgetOne,
  OPERATION,
  Rename2In,
  RenameIn,
  SETATTR,
  SetattrIn,
} from '../../../lib/fuse/protocol.ts';
import { AttributeReplies } from './attribute-replies.ts';
import type { FuseChannel } from './channel.ts';
import { FileOperations } from './file-operations.ts';
import { STATE } from './inode-records.ts';
import { NameOperations } from './name-operations.ts';
import { BODY, DEFERRED, errnoOf, NO_REPLY, Request, type Need } from './request.ts';
import type { Volume } from './volume.ts';

export class Operations {
  readonly #channel: FuseChannel;
  readonly #request: Request;
  readonly #replies: AttributeReplies;
  readonly #files: FileOperations;
  readonly #names: NameOperations;
  readonly #setattrIn;

  /** On the requests in the channel's input. */
  constructor(volume: Volume, channel: FuseChannel) {
    this.#channel = channel;
    this.#request = new Request(volume, channel);
    this.#replies = new AttributeReplies(this.#request);
    this.#files = new FileOperations(this.#request);
    this.#names = new NameOperations(this.#request, this.#replies);
    this.#setattrIn = SetattrIn.over(channel.input, BODY);
  }

  /** Of a request that is deferred: the pages, or undefined when it is for the main thread itself. */
  get need(): Need | undefined {
    return this.#request.need;
  }

  /**
   * Does the request in the input: the length of the reply that is now in the output, or NO_REPLY, or DEFERRED.
   * Failures become replies; `onUnexpected` hears of those that Postgres will see as an I/O error.
   */
  handle(onUnexpected: (error: unknown) => void): number {
    const { header } = this.#channel;
    this.#request.need = undefined;
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
    const request = this.#request;
    switch (operation) {
      case OPERATION.READ:
        return this.#files.read();
      case OPERATION.WRITE:
        return this.#files.write();
      case OPERATION.LOOKUP:
        return this.#names.lookup(request.nameAt(BODY));
      case OPERATION.GETATTR:
        return this.#replies.attributes(request.id());
      case OPERATION.SETATTR:
        return this.#setattr(request.id());
      case OPERATION.FORGET:
        request.volume.inodes.forget(request.header.nodeId, ForgetIn.over(request.input, BODY).lookups);
        return NO_REPLY;
      case OPERATION.BATCH_FORGET:
        return this.#batchForget();
      case OPERATION.CREATE:
        return this.#names.create();
      case OPERATION.MKNOD:
        return this.#names.mknod();
      case OPERATION.MKDIR:
        return this.#names.mkdir();
      case OPERATION.UNLINK:
        return this.#names.unlink(request.id(), request.nameAt(BODY));
      case OPERATION.RMDIR:
        return this.#names.rmdir();
      case OPERATION.RENAME:
        return this.#names.rename(RenameIn.over(request.input, BODY).newParent, 0, BODY + RenameIn.size);
      case OPERATION.RENAME2: {
        const { newParent, flags } = Rename2In.decode(request.input, BODY);
        return this.#names.rename(newParent, flags, BODY + Rename2In.size);
      }
      case OPERATION.FALLOCATE:
        return this.#files.fallocate();
      case OPERATION.READLINK:
        return this.#names.readlink();
      case OPERATION.STATFS:
        return this.#replies.statfs();
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

  #setattr(id: number): number {
    const { valid, size, mode, uid, gid } = this.#setattrIn;
    const { shared, inodes } = this.#request.volume;
    if ((valid & SETATTR.UID) !== 0 && uid !== shared.uid) return -ERRNO.EPERM;
    if ((valid & SETATTR.GID) !== 0 && gid !== shared.gid) return -ERRNO.EPERM;
    if ((valid & SETATTR.SIZE) !== 0) {
      const result = this.#files.truncate(id, size);
      if (result !== 0) return result;
    }
    if ((valid & SETATTR.MODE) !== 0) {
      if (this.#request.volume.isUntouched(id))
        inodes.withLock(id, () => this.#request.volume.openLocked(id));
      if (inodes.state(id) === STATE.LIVE) chmodSync(this.#request.volume.backingPath(id), mode & 0o777);
    }
    return this.#replies.attributes(id);
  }

  #batchForget(): number {
    const request = this.#request;
    const { count } = BatchForgetIn.over(request.input, BODY);
    const one = ForgetOne.over(request.input);
    for (let i = 0; i < count; i++) {
      one.at(BODY + BatchForgetIn.size + i * ForgetOne.size);
      request.volume.inodes.forget(one.nodeId, one.lookups);
    }
    return NO_REPLY;
  }
}
