/**
 * The main thread's side of the FUSE server: it mounts, starts the reader threads, and finishes the requests that
 * they hand over: those whose pages must be fetched, and directory listings.
 *
 *   kernel ── request ──► reader 1, reader 2 ── reply ──► kernel          everything that is here
 *                             │ deferred
 *                             ▼
 *                         main thread ── pages ──► pageserver
 *                             └── reply ──► kernel
 */
import { closeSync, openSync, writeSync } from 'node:fs';
import { MessageChannel, Worker, type MessagePort } from 'node:worker_threads';
import {
  ERRNO,
  HEADER_ROOM,
  InHeader,
  OPERATION,
  operationName,
  OpenOut,
  OutHeader,
  ReadIn,
} from '../../../lib/fuse/protocol.ts';
import { PAGES_MAX } from '../../../lib/protocol/pages.ts';
import { Directories } from './directories.ts';
import { FIRST_REMOTE } from './inodes.ts';
import { mountFuse, tuneMount, unmount } from './mount.ts';
import { DEFERRED, finishReply, NO_REPLY, Operations, type Need } from './operations.ts';
import type { PageFetcher } from './page-fetcher.ts';
import { CONTROL, PHASE, WRITE_MAX, type FromReader, type ReaderData } from './reader-messages.ts';
import { DataDirectoryError, type Log } from './types.ts';
import type { Volume } from './volume.ts';

export interface FuseServerOptions {
  mountPoint: string;
  log: Log;
  readers: number;
  /** The kernel gathers writes and sends them later. What it holds is lost with the server, as the disk is anyway. */
  writeback: boolean;
  /** Files under /sys/class/bdi/…, where we may write them. */
  tuning: Readonly<Record<string, number>>;
}

export class FuseServer {
  /** Rejects when a reader thread dies. */
  readonly failure: Promise<never>;
  readonly #options: FuseServerOptions;
  readonly #fuse: number;
  readonly #control = new Int32Array(new SharedArrayBuffer(CONTROL.words * 4));
  readonly #ports: MessagePort[] = [];
  readonly #exits: Promise<void>[] = [];
  readonly #input = new Uint8Array(WRITE_MAX + HEADER_ROOM);
  readonly #output = new Uint8Array(WRITE_MAX + HEADER_ROOM);
  /** Requests (their unique numbers) that wait for pages. */
  readonly #waiting = new Set<number>();
  #fail: (error: Error) => void = () => undefined;
  #serving:
    | { volume: Volume; fetcher: PageFetcher; operations: Operations; directories: Directories }
    | undefined;
  #closing: Promise<void> | undefined;

  private constructor(options: FuseServerOptions, fuse: number) {
    this.#options = options;
    this.#fuse = fuse;
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
    const server = new FuseServer(options, fuse);
    for (let reader = 0; reader < options.readers; reader++) server.#startReader();
    try {
      await mountFuse(fuse, options.mountPoint);
    } catch (error) {
      await server.#end();
      throw error;
    }
    server.#enter(PHASE.MOUNTED);
    tuneMount(options.mountPoint, options.tuning);
    return server;
  }

  /** Starts answering. Until then every request but INIT waits. */
  open(volume: Volume, fetcher: PageFetcher): void {
    const operations = new Operations(volume, this.#input, this.#output);
    this.#serving = { volume, fetcher, operations, directories: new Directories(volume) };
    for (const port of this.#ports) port.postMessage(volume.shared);
    this.#enter(PHASE.OPEN);
  }

  /** How often each operation was asked for. */
  operations(): Record<string, number> {
    const counts: Record<string, number> = {};
    for (let operation = 0; operation < 64; operation++) {
      const count = Atomics.load(this.#control, CONTROL.operations + operation);
      if (count > 0) counts[operationName(operation)] = count;
    }
    return counts;
  }

  /** Fails what waits, unmounts, and ends the reader threads. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= (async () => {
      this.#serving?.fetcher.stop();
      for (const unique of this.#waiting) this.#reply(finishReply(this.#output, unique, -ERRNO.EIO));
      this.#waiting.clear();
      await unmount(this.#options.mountPoint);
      await this.#end();
    })();
    return this.#closing;
  }

  async #end(): Promise<void> {
    this.#enter(PHASE.CLOSED);
    await Promise.all(this.#exits);
    this.#serving?.volume.inodes.closeAllDescriptors();
    closeSync(this.#fuse);
  }

  #enter(phase: number): void {
    Atomics.store(this.#control, CONTROL.phase, phase);
    Atomics.notify(this.#control, CONTROL.phase);
  }

  #startReader(): void {
    const { port1, port2 } = new MessageChannel();
    const { writeback } = this.#options;
    const workerData: ReaderData = {
      fuse: this.#fuse,
      control: this.#control.buffer,
      port: port2,
      writeback,
    };
    const worker = new Worker(new URL('reader.ts', import.meta.url), {
      workerData,
      transferList: [port2],
      trackUnmanagedFds: false, // descriptors are the process's, not a thread's
    });
    port1.on('message', (message: FromReader) => this.#receive(message));
    this.#ports.push(port1);
    this.#exits.push(
      new Promise((resolve) => {
        worker.once('error', (cause: Error) =>
          this.#fail(new DataDirectoryError('server', `a FUSE reader died: ${cause.message}`, cause)),
        );
        worker.once('exit', () => resolve());
      }),
    );
  }

  #receive(message: FromReader): void {
    switch (message.kind) {
      case 'deferred':
        if (message.need === undefined) this.#serveDirectory(message.request);
        else void this.#serveMiss(message.request, message.need);
        return;
      case 'unexpected': {
        const { operation, message: reason } = message;
        this.#options.log.error(
          { operation: operationName(operation), reason },
          'data directory: a request failed',
        );
        return;
      }
      case 'gone':
        if (this.#closing === undefined && Atomics.load(this.#control, CONTROL.phase) !== PHASE.CLOSED)
          this.#fail(new DataDirectoryError('server', `${this.#options.mountPoint} was unmounted`));
        return;
    }
  }

  async #serveMiss(request: Uint8Array<ArrayBuffer>, first: Need): Promise<void> {
    const serving = this.#serving;
    const { unique } = InHeader.over(request);
    if (serving === undefined || this.#closing !== undefined)
      return this.#reply(finishReply(this.#output, unique, -ERRNO.EIO));
    const { statistics } = serving.fetcher;
    const startedAt = performance.now();
    statistics.misses++;
    this.#waiting.add(unique);
    let need: Need | undefined = first;
    let length = 0;
    try {
      while (need !== undefined) {
        for (let done = 0; done < need.count; done += PAGES_MAX)
          await serving.fetcher.ensure({
            id: need.id,
            block: need.block + done,
            count: Math.min(PAGES_MAX, need.count - done),
          });
        if (!this.#waiting.has(unique)) return; // closed meanwhile, and answered
        this.#input.set(request);
        length = serving.operations.handle((error) => this.#logFailure(first, error));
        need = length === DEFERRED ? serving.operations.need : undefined;
      }
    } catch (error) {
      if (!this.#waiting.has(unique)) return;
      this.#logFailure(first, error);
      length = finishReply(this.#output, unique, -ERRNO.EIO);
    }
    this.#waiting.delete(unique);
    statistics.waitMs += performance.now() - startedAt;
    if (length !== NO_REPLY) this.#reply(length);
  }

  #logFailure({ id, block, count }: Need, error: unknown): void {
    const path = this.#serving?.volume.remote.path(id - FIRST_REMOTE);
    this.#options.log.error({ path, block, count, err: error }, 'data directory: pages could not be had');
  }

  #serveDirectory(request: Uint8Array<ArrayBuffer>): void {
    const { unique, operation, nodeId } = InHeader.decode(request);
    this.#reply(finishReply(this.#output, unique, this.#directoryResult(operation, nodeId, request)));
  }
  #directoryResult(operation: number, id: number, request: Uint8Array): number {
    const directories = this.#serving?.directories;
    if (directories === undefined) return -ERRNO.EIO;
    try {
      switch (operation) {
        case OPERATION.OPENDIR:
          this.#output.set(
            OpenOut.encode({ fh: directories.open(id), openFlags: 0, backingId: 0 }),
            OutHeader.size,
          );
          return OpenOut.size;
        case OPERATION.READDIR: {
          const { fh, offset, size } = ReadIn.decode(request, InHeader.size);
          const entries = directories.read(fh, offset, Math.min(size, WRITE_MAX));
          this.#output.set(entries, OutHeader.size);
          return entries.length;
        }
        case OPERATION.RELEASEDIR:
          directories.release(ReadIn.over(request, InHeader.size).fh);
          return 0;
        default:
          return -ERRNO.ENOSYS;
      }
    } catch (error) {
      const { errno } = error as NodeJS.ErrnoException;
      return errno ?? -ERRNO.EIO;
    }
  }

  #reply(length: number): void {
    try {
      writeSync(this.#fuse, this.#output, 0, length);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      // ENOENT: interrupted; ENODEV: unmounted. Nobody waits for the reply.
      if (code !== 'ENOENT' && code !== 'ENODEV')
        this.#fail(new DataDirectoryError('server', `a reply could not be written: ${code}`, error));
    }
  }
}
