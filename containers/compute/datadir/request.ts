/**
 * The request that stands in a channel's input, as the operations see it: which inode, which names, which volume; and
 * the two ways in which it can end without a reply at once.
 */
import { ERRNO, InHeader, OutHeader } from '../../../lib/fuse/protocol.ts';
import { PAGE_SIZE } from '../../../lib/protocol/pages.ts';
import type { FuseChannel } from './channel.ts';
import { NAME_MAX } from './inode-records.ts';
import type { Volume } from './volume.ts';

/** No reply is due. */
export const NO_REPLY = -10_000;
/** The main thread must go on with the request; `need` says what to fetch before. */
export const DEFERRED = -10_001;

/** Where a request's own structure begins in the input, and a reply's in the output. */
export const BODY = InHeader.size;
export const REPLY = OutHeader.size;

/** Blocks of a remote file that must be here before the request can be done. */
export interface Need {
  id: number;
  block: number;
  count: number;
}

export class Request {
  readonly volume: Volume;
  readonly header: FuseChannel['header'];
  readonly input: Uint8Array<ArrayBuffer>;
  readonly output: Uint8Array<ArrayBuffer>;
  /** Set with DEFERRED for pages; undefined when only the main thread itself is needed. */
  need: Need | undefined;

  constructor(volume: Volume, { header, input, output }: FuseChannel) {
    this.volume = volume;
    this.header = header;
    this.input = input;
    this.output = output;
  }

  /** The inode that it is about. Throws Errno for one that was never given out. */
  id(): number {
    const id = this.header.nodeId;
    if (!this.volume.inodes.isKnown(id)) throw new Errno(ERRNO.ENOENT);
    return id;
  }

  /** The zero-terminated name at `at`. Postgres's are ASCII and short; throws Errno for others. */
  nameAt(at: number): string {
    let name = '';
    for (let i = at; this.input[i] !== 0; i++) {
      if (this.input[i] >= 0x80) throw new Errno(ERRNO.EINVAL);
      name += String.fromCharCode(this.input[i]);
    }
    if (name.length > NAME_MAX) throw new Errno(ERRNO.ENAMETOOLONG);
    return name;
  }

  /** Bytes [offset, end) of a remote file must be here first. */
  deferFor(id: number, offset: number, end: number): typeof DEFERRED {
    const block = Math.floor(offset / PAGE_SIZE);
    this.need = { id, block, count: Math.ceil(end / PAGE_SIZE) - block };
    return DEFERRED;
  }
}

/** A failure that the kernel is told as it is. */
export class Errno extends Error {
  override readonly name = 'Errno';
  /** Negative, as Node's own errors have it. */
  readonly errno: number;
  constructor(errno: number) {
    super(`errno ${errno}`);
    this.errno = -errno;
  }
}

/** The negative errno that a system call's error, or an Errno, stands for; EIO for any other error. */
export function errnoOf(error: unknown): number {
  const errno = (error as { errno?: unknown }).errno;
  return typeof errno === 'number' && errno < 0 && errno > -4096 ? errno : -ERRNO.EIO;
}
