/**
 * Requests that only the main thread can finish: those whose pages must come from the pageserver first, and
 * directory listings. Each is answered exactly once, with EIO when its pages cannot be had or the mount is closed.
 */
import { ERRNO, InHeader, OPERATION, OpenOut, OutHeader, ReadIn } from '../../../lib/fuse/protocol.ts';
import { PAGES_MAX } from '../../../lib/protocol/pages.ts';
import { WRITE_MAX, type FuseChannel } from './channel.ts';
import { Directories } from './directories.ts';
import { FIRST_REMOTE } from './inode-records.ts';
import { Operations } from './operations.ts';
import type { PageFetcher } from './page-fetcher.ts';
import { DEFERRED, errnoOf, NO_REPLY, type Need } from './request.ts';
import type { Log } from './types.ts';
import type { Volume } from './volume.ts';

export class DeferredRequests {
  readonly #volume: Volume;
  readonly #fetcher: PageFetcher;
  readonly #channel: FuseChannel;
  readonly #log: Log;
  readonly #operations: Operations;
  readonly #directories: Directories;
  /** Requests (their unique numbers) that wait for pages. */
  readonly #waiting = new Set<number>();
  #closed = false;

  /** `channel` is for replies of these requests only. */
  constructor(volume: Volume, fetcher: PageFetcher, channel: FuseChannel, log: Log) {
    this.#volume = volume;
    this.#fetcher = fetcher;
    this.#channel = channel;
    this.#log = log;
    this.#operations = new Operations(volume, channel);
    this.#directories = new Directories(volume);
  }

  /** Answers `request`, at once or when what it needs has come. Throws when a reply cannot be written. */
  async serve(request: Uint8Array<ArrayBuffer>, need: Need | undefined): Promise<void> {
    const { unique, operation, nodeId } = InHeader.decode(request);
    if (need === undefined) return this.#reply(unique, this.#directoryResult(operation, nodeId, request));
    if (this.#closed) return this.#reply(unique, -ERRNO.EIO);
    const startedAt = performance.now();
    const { statistics } = this.#fetcher;
    statistics.misses++;
    this.#waiting.add(unique);
    // Until the reply is sent nothing else may run: another request's would take its place in the output.
    await this.#whenFetched(request, need, (length) => {
      if (!this.#waiting.delete(unique)) return; // closed meanwhile, and answered
      statistics.waitMs += performance.now() - startedAt;
      if (length === undefined) this.#reply(unique, -ERRNO.EIO);
      else if (length !== NO_REPLY) this.#channel.send(length);
    });
  }

  /** Everything that waits, and what still comes, fails. */
  close(): void {
    this.#closed = true;
    this.#fetcher.stop();
    for (const unique of this.#waiting) this.#reply(unique, -ERRNO.EIO);
    this.#waiting.clear();
  }

  /**
   * Fetches until the request can be done, does it, and calls `send` in the same turn with the length of the reply
   * that is then in the output; undefined when the pages cannot be had.
   */
  async #whenFetched(
    request: Uint8Array<ArrayBuffer>,
    first: Need,
    send: (length: number | undefined) => void,
  ): Promise<void> {
    for (let need: Need | undefined = first; ;) {
      try {
        for (let done = 0; done < need.count; done += PAGES_MAX) {
          const count = Math.min(PAGES_MAX, need.count - done);
          await this.#fetcher.ensure({ id: need.id, block: need.block + done, count });
        }
      } catch (error) {
        if (!this.#closed) this.#logFailure(first, error);
        return send(undefined);
      }
      if (this.#closed) return send(undefined);
      this.#channel.input.set(request);
      const length = this.#operations.handle((error) => this.#logFailure(first, error));
      need = this.#operations.need;
      if (length !== DEFERRED || need === undefined) return send(length);
    }
  }
  #logFailure({ id, block, count }: Need, error: unknown): void {
    const path = this.#volume.remote.path(id - FIRST_REMOTE);
    this.#log.error({ path, block, count, err: error }, 'data directory: pages could not be had');
  }

  #directoryResult(operation: number, id: number, request: Uint8Array): number {
    const { output } = this.#channel;
    try {
      switch (operation) {
        case OPERATION.OPENDIR: {
          if (!this.#volume.inodes.isKnown(id)) return -ERRNO.ENOENT;
          const fh = this.#directories.open(id);
          output.set(OpenOut.encode({ fh, openFlags: 0, backingId: 0 }), OutHeader.size);
          return OpenOut.size;
        }
        case OPERATION.READDIR: {
          const { fh, offset, size } = ReadIn.decode(request, InHeader.size);
          const entries = this.#directories.read(fh, offset, Math.min(size, WRITE_MAX));
          output.set(entries, OutHeader.size);
          return entries.length;
        }
        case OPERATION.RELEASEDIR:
          this.#directories.release(ReadIn.over(request, InHeader.size).fh);
          return 0;
        default:
          return -ERRNO.ENOSYS;
      }
    } catch (error) {
      return errnoOf(error);
    }
  }

  #reply(unique: number, result: number): void {
    this.#channel.send(this.#channel.finish(unique, result));
  }
}
