/**
 * What changes or gives the bytes of files. The presence bits and the backing file change together here, under the
 * inode's lock, and bits are set only after the bytes are in place (presence.ts).
 */
import { fstatSync, ftruncateSync, readSync, writeSync } from 'node:fs';
import {
  ERRNO,
  FALLOC_KEEP_SIZE,
  FallocateIn,
  ReadIn,
  WriteIn,
  WriteOut,
} from '../../../lib/fuse/protocol.ts';
import { UNIT_SIZE } from './presence.ts';
import { BODY, REPLY, type Request } from './request.ts';

export class FileOperations {
  readonly #request: Request;
  readonly #readIn;
  readonly #writeIn;
  readonly #writeOut;

  constructor(request: Request) {
    this.#request = request;
    this.#readIn = ReadIn.over(request.input, BODY);
    this.#writeIn = WriteIn.over(request.input, BODY);
    this.#writeOut = WriteOut.over(request.output, REPLY);
  }

  /** READ: the bytes that are here; otherwise deferred. */
  read(): number {
    const { offset, size } = this.#readIn;
    const { volume, output } = this.#request;
    const id = this.#request.id();
    if (volume.isRemote(id)) {
      volume.recordTouch(id, offset, size);
      if (!volume.isPresent(id, offset, offset + size))
        return this.#request.deferFor(id, offset, offset + size);
    }
    const descriptor = volume.pin(id);
    try {
      return readSync(descriptor, output, REPLY, Math.min(size, output.length - REPLY), offset);
    } finally {
      volume.inodes.descriptors.unpin(id);
    }
  }

  /** WRITE: whole units become local; of part of an absent unit the rest must be here first. */
  write(): number {
    const { offset, size } = this.#writeIn;
    const id = this.#request.id();
    const volume = this.#request.volume;
    const end = offset + size;
    const data = this.#request.input.subarray(BODY + WriteIn.size, BODY + WriteIn.size + size);
    const descriptor = volume.pin(id);
    try {
      if (!volume.isRemote(id) || volume.isPresent(id, offset, end))
        return this.#wrote(descriptor, data, offset);
      // Units that are written in part must be here first: at most the first and the last.
      const [headUnit, tailUnit] = [Math.floor(offset / UNIT_SIZE), Math.ceil(end / UNIT_SIZE)];
      if (offset % UNIT_SIZE !== 0 && !volume.isPresent(id, offset, (headUnit + 1) * UNIT_SIZE))
        return this.#request.deferFor(id, offset, offset + 1);
      if (end % UNIT_SIZE !== 0 && !volume.isPresent(id, (tailUnit - 1) * UNIT_SIZE, end))
        return this.#request.deferFor(id, end - 1, end);
      return volume.inodes.withLock(id, () => {
        const length = this.#wrote(descriptor, data, offset);
        const written = this.#writeOut.size;
        const to = written === size ? tailUnit : Math.floor((offset + written) / UNIT_SIZE);
        volume.setPresent(id, headUnit, to);
        return length;
      });
    } finally {
      volume.inodes.descriptors.unpin(id);
    }
  }
  #wrote(descriptor: number, data: Uint8Array, offset: number): number {
    this.#writeOut.size = writeSync(descriptor, data, 0, data.length, offset);
    this.#writeOut.padding = undefined;
    return WriteOut.size;
  }

  /** Sets the size of a file: 0, or DEFERRED when the unit at the new end is cut and not here. */
  truncate(id: number, size: number): number {
    const volume = this.#request.volume;
    if (volume.isRemote(id) && size % UNIT_SIZE !== 0 && !volume.isPresent(id, size, size + 1))
      return this.#request.deferFor(id, size, size + 1);
    const descriptor = volume.pin(id);
    try {
      volume.inodes.withLock(id, () => {
        ftruncateSync(descriptor, size);
        if (volume.isRemote(id)) volume.setPresent(id, Math.ceil(size / UNIT_SIZE), Number.MAX_SAFE_INTEGER);
      });
    } finally {
      volume.inodes.descriptors.unpin(id);
    }
    return 0;
  }

  /** posix_fallocate: the file grows, sparsely. Punching holes is refused; Postgres does not. */
  fallocate(): number {
    const { offset, length, mode } = FallocateIn.decode(this.#request.input, BODY);
    if ((mode & ~FALLOC_KEEP_SIZE) !== 0) return -ERRNO.EOPNOTSUPP;
    if ((mode & FALLOC_KEEP_SIZE) !== 0) return 0;
    const id = this.#request.id();
    const descriptor = this.#request.volume.pin(id);
    try {
      this.#request.volume.inodes.withLock(id, () => {
        if (fstatSync(descriptor).size < offset + length) ftruncateSync(descriptor, offset + length);
      });
    } finally {
      this.#request.volume.inodes.descriptors.unpin(id);
    }
    return 0;
  }
}
