/**
 * The FUSE server: it mounts, and answers the kernel in three places.
 *
 *   kernel ── request ──► reader 1, reader 2 ── reply ──► kernel          everything that is here
 *                             │ deferred
 *                             ▼
 *                         main thread ── pages ──► pageserver             what must be fetched, and listings
 *                             └── reply ──► kernel
 *
 * A thread takes longer to start than Postgres does. So at first the main thread reads requests itself (through
 * libuv's pool, never blocking), which is slower for each but serves at once; the readers start when the rush of waking is
 * over, and from then on the main thread only finishes what they hand over.
 */
import { spawnSync } from 'node:child_process';
import { closeSync, openSync, read } from 'node:fs';
import { MessageChannel, Worker } from 'node:worker_threads';
import {
  ERRNO,
  InHeader,
  OPERATION,
  operationName,
  OpenOut,
  OutHeader,
  ReadIn,
} from '../../../lib/fuse/protocol.ts';
import { PAGES_MAX } from '../../../lib/protocol/pages.ts';
import { FuseChannel, readFailure, WRITE_MAX } from './channel.ts';
import { Directories } from './directories.ts';
import { FIRST_REMOTE } from './inodes.ts';
import { cleanUpMount, mountFuse, tuneMount, UNMOUNT_BY_FORCE } from './mount.ts';
import { Operations } from './operations.ts';
import { DEFERRED, NO_REPLY, type Need } from './request.ts';
import type { PageFetcher } from './page-fetcher.ts';
import type { FromReader, ReaderData } from './reader-messages.ts';
import { DataDirectoryError, type Log } from './types.ts';
import type { Volume } from './volume.ts';

export interface FuseServerOptions {
  mountPoint: string;
  log: Log;
  readers: number;
  /** The main thread serves alone for so long after `open`. */
  readersAfterMs: number;
  /** The kernel gathers writes and sends them later. What it holds is lost with the server, as the disk is anyway. */
  writeback: boolean;
  /** Files under /sys/class/bdi/…, where we may write them. */
  tuning: Readonly<Record<string, number>>;
}

interface Serving {
  volume: Volume;
  fetcher: PageFetcher;
  directories: Directories;
  /** On the main thread's own requests, and on those that were handed over. */
  direct: Operations;
  deferred: Operations;
}

export class FuseServer {
  /** Rejects when a reader thread dies, or somebody else unmounts. */
  readonly failure: Promise<never>;
  readonly #options: FuseServerOptions;
  readonly #fuse: number;
  readonly #counters = new Int32Array(new SharedArrayBuffer(64 * 4));
  readonly #directChannel: FuseChannel;
  readonly #deferredChannel: FuseChannel;
  /** What ends when the mount is gone. */
  readonly #ends: Promise<void>[] = [];
  /** Requests (their unique numbers) that wait for pages. */
  readonly #waiting = new Set<number>();
  #fail: (error: Error) => void = () => undefined;
  #serving: Serving | undefined;
  #opened: () => void = () => undefined;
  readonly #whenOpen: Promise<void>;
  #readersRun = false;
  #readersTimer: NodeJS.Timeout | undefined;
  #closing: Promise<void> | undefined;

  private constructor(options: FuseServerOptions, fuse: number) {
    this.#options = options;
    this.#fuse = fuse;
    this.#directChannel = new FuseChannel(fuse, options.writeback);
    this.#deferredChannel = new FuseChannel(fuse, options.writeback);
    this.#whenOpen = new Promise((resolve) => (this.#opened = resolve));
    this.failure = new Promise((_resolve, reject) => (this.#fail = reject));
    this.failure.catch(() => undefined); // whoever cares listens
  }

  /** Mounts. Throws DataDirectoryError `mount`. */
  static async start(options: FuseServerOptions): Promise<FuseServer> {
    let fuse: number;
    try {
      fuse = openSync('/dev/fuse', 'r+');
    } catch (cause) {
      throw new DataDirectoryError('mount', `cannot open /dev/fuse: ${(cause as Error).message}`, cause);
    }
    try {
      await mountFuse(fuse, options.mountPoint);
    } catch (error) {
      closeSync(fuse);
      throw error;
    }
    const server = new FuseServer(options, fuse);
    process.once('exit', server.#onExit);
    server.#ends.push(server.#readDirectly());
    return server;
  }

  /** Starts answering. Until then every request but INIT waits. */
  open(volume: Volume, fetcher: PageFetcher): void {
    const directories = new Directories(volume);
    const direct = new Operations(volume, this.#directChannel);
    const deferred = new Operations(volume, this.#deferredChannel);
    this.#serving = { volume, fetcher, directories, direct, deferred };
    this.#opened();
    this.#readersTimer = setTimeout(() => this.startReaders(), this.#options.readersAfterMs);
  }

  /** Starts the reader threads, unless they run. */
  startReaders(): void {
    if (this.#readersRun || this.#serving === undefined || this.#closing !== undefined) return;
    this.#readersRun = true;
    for (let reader = 0; reader < this.#options.readers; reader++)
      this.#ends.push(this.#runReader(this.#serving.volume));
  }

  /** How often each operation was asked for. */
  operations(): Record<string, number> {
    const counts: Record<string, number> = {};
    for (let operation = 0; operation < this.#counters.length; operation++) {
      const count = Atomics.load(this.#counters, operation);
      if (count > 0) counts[operationName(operation)] = count;
    }
    return counts;
  }

  /**
   * Fails what waits, unmounts, and ends the reader threads. By force, which spares the kernel writing back what
   * nobody will read: the backing folder is not whole afterwards. Idempotent.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }
  async #close(): Promise<void> {
    clearTimeout(this.#readersTimer);
    this.#serving?.fetcher.stop();
    for (const unique of this.#waiting) this.#replyDeferred(unique, -ERRNO.EIO);
    this.#waiting.clear();
    await cleanUpMount(this.#options.mountPoint);
    this.#opened();
    await Promise.all(this.#ends);
    this.#serving?.volume.inodes.closeAllDescriptors();
    closeSync(this.#fuse);
    process.off('exit', this.#onExit);
  }
  /** A thread that waits in read(2) on a mount would keep the process from exiting. */
  readonly #onExit = (): void => {
    const [program, ...args] = UNMOUNT_BY_FORCE;
    spawnSync(program, [...args, this.#options.mountPoint], { stdio: 'ignore' });
  };

  /** The main thread's own reading, until the readers have taken over. */
  async #readDirectly(): Promise<void> {
    const channel = this.#directChannel;
    while (!this.#readersRun && (await this.#receiveDirectly(channel))) {
      if (channel.isInit()) {
        channel.send(channel.initReply());
        tuneMount(this.#options.mountPoint, this.#options.tuning); // the reply resets what was set before
        continue;
      }
      if (this.#serving === undefined) await this.#whenOpen;
      const { header } = channel;
      Atomics.add(this.#counters, Math.min(header.operation, this.#counters.length - 1), 1);
      const direct = this.#serving?.direct;
      const length = direct?.handle((error) => this.#unexpected(header.operation, (error as Error).message));
      if (length === DEFERRED) this.#serveDeferred(channel.input.slice(0, header.length), direct?.need);
      else if (length !== NO_REPLY) channel.send(length ?? channel.finish(header.unique, -ERRNO.EIO));
    }
  }
  #receiveDirectly(channel: FuseChannel): Promise<boolean> {
    return new Promise((resolve, reject) => {
      const again = (): void =>
        read(this.#fuse, channel.input, 0, channel.input.length, null, (error) => {
          if (error === null) return resolve(true);
          try {
            if (readFailure(error) === 'gone') return resolve(false);
          } catch (cause) {
            return reject(cause);
          }
          again();
        });
      again();
    });
  }

  #runReader(volume: Volume): Promise<void> {
    const { port1, port2 } = new MessageChannel();
    const workerData: ReaderData = {
      fuse: this.#fuse,
      writeback: this.#options.writeback,
      counters: this.#counters.buffer,
      port: port2,
      volume: volume.shared,
    };
    const worker = new Worker(readerUrl(), {
      workerData,
      transferList: [port2],
      trackUnmanagedFds: false, // descriptors are the process's, not a thread's
    });
    port1.on('message', (message: FromReader) => this.#receive(message));
    return new Promise((resolve) => {
      worker.once('error', (cause: Error) =>
        this.#fail(new DataDirectoryError('server', `a FUSE reader died: ${cause.message}`, cause)),
      );
      worker.once('exit', () => resolve());
    });
  }

  #receive(message: FromReader): void {
    switch (message.kind) {
      case 'deferred':
        this.#serveDeferred(message.request, message.need);
        return;
      case 'unexpected':
        this.#unexpected(message.operation, message.message);
        return;
      case 'gone':
        if (this.#closing === undefined)
          this.#fail(new DataDirectoryError('server', `${this.#options.mountPoint} was unmounted`));
        return;
    }
  }
  #unexpected(operation: number, reason: string): void {
    this.#options.log.error(
      { operation: operationName(operation), reason },
      'data directory: a request failed',
    );
  }

  #serveDeferred(request: Uint8Array<ArrayBuffer>, need: Need | undefined): void {
    if (need !== undefined) return void this.#serveMiss(request, need);
    const { unique, operation, nodeId } = InHeader.decode(request);
    this.#replyDeferred(unique, this.#serveDirectory(operation, nodeId, request));
  }

  async #serveMiss(request: Uint8Array<ArrayBuffer>, first: Need): Promise<void> {
    const serving = this.#serving;
    const { unique } = InHeader.over(request);
    if (serving === undefined || this.#closing !== undefined) return this.#replyDeferred(unique, -ERRNO.EIO);
    const { fetcher, deferred } = serving;
    const channel = this.#deferredChannel;
    const startedAt = performance.now();
    fetcher.statistics.misses++;
    this.#waiting.add(unique);
    let need: Need | undefined = first;
    let length = NO_REPLY;
    try {
      while (need !== undefined) {
        await ensureAll(fetcher, need);
        if (!this.#waiting.has(unique)) return; // closed meanwhile, and answered
        channel.input.set(request);
        length = deferred.handle((error) => this.#logFailure(first, error));
        need = length === DEFERRED ? deferred.need : undefined;
      }
    } catch (error) {
      if (!this.#waiting.has(unique)) return;
      this.#logFailure(first, error);
      length = channel.finish(unique, -ERRNO.EIO);
    }
    this.#waiting.delete(unique);
    fetcher.statistics.waitMs += performance.now() - startedAt;
    if (length !== NO_REPLY) channel.send(length);
  }
  #logFailure({ id, block, count }: Need, error: unknown): void {
    const path = this.#serving?.volume.remote.path(id - FIRST_REMOTE);
    this.#options.log.error({ path, block, count, err: error }, 'data directory: pages could not be had');
  }

  #serveDirectory(operation: number, id: number, request: Uint8Array): number {
    const directories = this.#serving?.directories;
    const { output } = this.#deferredChannel;
    if (directories === undefined) return -ERRNO.EIO;
    try {
      switch (operation) {
        case OPERATION.OPENDIR:
          output.set(
            OpenOut.encode({ fh: directories.open(id), openFlags: 0, backingId: 0 }),
            OutHeader.size,
          );
          return OpenOut.size;
        case OPERATION.READDIR: {
          const { fh, offset, size } = ReadIn.decode(request, InHeader.size);
          const entries = directories.read(fh, offset, Math.min(size, WRITE_MAX));
          output.set(entries, OutHeader.size);
          return entries.length;
        }
        case OPERATION.RELEASEDIR:
          directories.release(ReadIn.over(request, InHeader.size).fh);
          return 0;
        default:
          return -ERRNO.ENOSYS;
      }
    } catch (error) {
      return (error as NodeJS.ErrnoException).errno ?? -ERRNO.EIO;
    }
  }

  #replyDeferred(unique: number, result: number): void {
    this.#deferredChannel.send(this.#deferredChannel.finish(unique, result));
  }
}

async function ensureAll(fetcher: PageFetcher, { id, block, count }: Need): Promise<void> {
  for (let done = 0; done < count; done += PAGES_MAX)
    await fetcher.ensure({ id, block: block + done, count: Math.min(PAGES_MAX, count - done) });
}

/** Run from the sources, or from a bundle that has the reader beside it. */
const readerUrl = (): URL =>
  new URL(import.meta.url.endsWith('.ts') ? 'reader.ts' : 'fuse-reader.js', import.meta.url);
