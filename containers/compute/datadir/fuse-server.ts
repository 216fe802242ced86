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
import { operationName } from '../../../lib/fuse/protocol.ts';
import { FuseChannel, readFailure } from './channel.ts';
import { DeferredRequests } from './deferred-requests.ts';
import { cleanUpMount, mountFuse, tuneMount, UNMOUNT_BY_FORCE } from './mount.ts';
import { Operations } from './operations.ts';
import type { PageFetcher } from './page-fetcher.ts';
import type { FromReader, ReaderData } from './reader-messages.ts';
import { DEFERRED, NO_REPLY, type Need } from './request.ts';
import { DataDirectoryError, type Log } from './types.ts';
import type { Volume } from './volume.ts';

export interface FuseServerOptions {
  mountPoint: string;
  log: Log;
  readers: number;
  /** The main thread serves alone for so long after `open`, unless it is asked more than this often. */
  readersAfterMs: number;
  readersAfterRequests: number;
  /** The kernel gathers writes and sends them later. What it holds is lost with the server, as the disk is anyway. */
  writeback: boolean;
  /** Files under /sys/class/bdi/…, where we may write them. */
  tuning: Readonly<Record<string, number>>;
}

interface Serving {
  volume: Volume;
  /** On the requests that the main thread reads itself. */
  direct: Operations;
  deferred: DeferredRequests;
}

export class FuseServer {
  /** Rejects when a reader thread dies, or somebody else unmounts. */
  readonly failure: Promise<never>;
  readonly #options: FuseServerOptions;
  readonly #fuse: number;
  readonly #counters = new Int32Array(new SharedArrayBuffer(64 * 4));
  readonly #directChannel: FuseChannel;
  /** What ends when the mount is gone. */
  readonly #ends: Promise<void>[] = [];
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
    server.#ends.push(
      server.#readDirectly().catch((error: unknown) =>
        server.#fail(new DataDirectoryError('server', 'a request could not be read', error)),
      ),
    );
    return server;
  }

  /** Starts answering. Until then every request but INIT waits. */
  open(volume: Volume, fetcher: PageFetcher): void {
    const channel = new FuseChannel(this.#fuse, this.#options.writeback);
    const deferred = new DeferredRequests(volume, fetcher, channel, this.#options.log);
    this.#serving = { volume, direct: new Operations(volume, this.#directChannel), deferred };
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
    this.#serving?.deferred.close();
    await cleanUpMount(this.#options.mountPoint);
    this.#opened();
    await Promise.all(this.#ends);
    this.#serving?.volume.inodes.descriptors.closeAll();
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
    let requests = 0;
    while (await this.#receiveDirectly()) {
      const channel = this.#directChannel;
      if (channel.isInit()) {
        channel.send(channel.initReply());
        tuneMount(this.#options.mountPoint, this.#options.tuning); // the reply resets what was set before
      } else {
        await this.#whenOpen;
        this.#serveDirectly(channel);
      }
      if (++requests === this.#options.readersAfterRequests) this.startReaders();
      if (this.#readersRun) return;
    }
    this.#gone();
  }
  #serveDirectly(channel: FuseChannel): void {
    const { header } = channel;
    Atomics.add(this.#counters, Math.min(header.operation, this.#counters.length - 1), 1);
    if (this.#serving === undefined) return; // closed before it was opened
    const { direct } = this.#serving;
    const length = direct.handle((error) => this.#unexpected(header.operation, String(error)));
    if (length === DEFERRED) this.#defer(channel.input.slice(0, header.length), direct.need);
    else if (length !== NO_REPLY) channel.send(length);
  }
  #defer(request: Uint8Array<ArrayBuffer>, need: Need | undefined): void {
    this.#serving?.deferred
      .serve(request, need)
      .catch((error: unknown) =>
        this.#fail(new DataDirectoryError('server', 'a reply could not be written', error)),
      );
  }

  /** The next request into the main thread's input; false when the mount is gone. */
  #receiveDirectly(): Promise<boolean> {
    const { input } = this.#directChannel;
    return new Promise((resolve, reject) => {
      const again = (): void =>
        read(this.#fuse, input, 0, input.length, null, (error) => {
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
        this.#defer(message.request, message.need);
        return;
      case 'unexpected':
        this.#unexpected(message.operation, message.message);
        return;
      case 'gone':
        this.#gone();
        return;
    }
  }
  #gone(): void {
    if (this.#closing === undefined)
      this.#fail(new DataDirectoryError('server', `${this.#options.mountPoint} was unmounted`));
  }
  #unexpected(operation: number, reason: string): void {
    this.#options.log.error(
      { operation: operationName(operation), reason },
      'data directory: a request failed',
    );
  }
}

/** Run from the sources, or from a bundle that has the reader beside it. */
const readerUrl = (): URL =>
  new URL(import.meta.url.endsWith('.ts') ? 'reader.ts' : 'fuse-reader.js', import.meta.url);
