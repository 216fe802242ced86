/**
 * One end of /dev/fuse, as any thread uses it: a request in `input`, its reply made in `output` and written back.
 *
 * Knows what is the protocol's and not the data directory's: the opening handshake, and which errors of reading
 * and writing mean that somebody gave up waiting, or that the mount is gone.
 */
import { writeSync } from 'node:fs';
import {
  HEADER_ROOM,
  INIT_FLAG,
  InHeader,
  InitIn,
  InitOut,
  OPERATION,
  OutHeader,
} from '../../../lib/fuse/protocol.ts';

/** Largest WRITE, and largest READ: 256 pages of the kernel (FUSE_MAX_MAX_PAGES). */
export const WRITE_MAX = 1 << 20;
const READAHEAD_MAX = 1 << 20;
/** ENODEV: unmounted. ECONNABORTED: cut off through /sys/fs/fuse/connections. */
const GONE: ReadonlySet<string> = new Set(['ENODEV', 'ECONNABORTED']);
const BUFFER_SIZE = WRITE_MAX + HEADER_ROOM;

export class FuseChannel {
  readonly input = new Uint8Array(BUFFER_SIZE);
  readonly output = new Uint8Array(BUFFER_SIZE);
  readonly header = InHeader.over(this.input);
  readonly #fuse: number;
  readonly #writeback: boolean;

  constructor(fuse: number, writeback: boolean) {
    this.#fuse = fuse;
    this.#writeback = writeback;
  }

  /** Completes the reply in `output`: `result` is the length of what follows its header, or a negative errno. */
  finish(unique: number, result: number): number {
    const reply = OutHeader.over(this.output);
    reply.length = OutHeader.size + Math.max(result, 0);
    reply.error = Math.min(result, 0);
    reply.unique = unique;
    return reply.length;
  }

  /** Sends the reply; `gone` when the mount is no more. Throws what else can go wrong. */
  send(length: number): 'sent' | 'gone' {
    try {
      writeSync(this.#fuse, this.output, 0, length);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (GONE.has(code ?? '')) return 'gone';
      if (code !== 'ENOENT') throw error; // ENOENT: interrupted, nobody waits for the reply
    }
    return 'sent';
  }

  isInit(): boolean {
    return this.header.operation === OPERATION.INIT;
  }

  /** The kernel offers what it can do, and hears what is wanted of it: the reply's length. */
  initReply(): number {
    const offer = InitIn.over(this.input, InHeader.size);
    const wanted =
      INIT_FLAG.ASYNC_READ |
      INIT_FLAG.BIG_WRITES |
      INIT_FLAG.PARALLEL_DIROPS |
      INIT_FLAG.MAX_PAGES |
      INIT_FLAG.NO_OPEN_SUPPORT |
      INIT_FLAG.EXPLICIT_INVAL_DATA |
      (this.#writeback ? INIT_FLAG.WRITEBACK_CACHE : 0);
    const reply = InitOut.encode({
      major: 7,
      minor: Math.min(offer.minor, 38),
      readAheadMax: Math.min(offer.readAheadMax, READAHEAD_MAX),
      flags: (wanted & offer.flags) >>> 0,
      backgroundMax: 64,
      congestionThreshold: 48,
      writeMax: WRITE_MAX,
      timeGranularityNs: 1,
      pagesMax: WRITE_MAX / 4096,
    });
    this.output.set(reply, OutHeader.size);
    return this.finish(this.header.unique, reply.length);
  }
}

/** What reading a request failed with: try again, or the mount is gone; anything else is thrown. */
export function readFailure(error: NodeJS.ErrnoException): 'again' | 'gone' {
  if (GONE.has(error.code ?? '')) return 'gone';
  if (error.code === 'EINTR' || error.code === 'EAGAIN' || error.code === 'ENOENT') return 'again';
  throw error;
}
