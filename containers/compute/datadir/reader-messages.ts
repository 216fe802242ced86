/** What the main thread and the reader threads of the FUSE server tell each other. */
import type { MessagePort } from 'node:worker_threads';
import type { Need } from './operations.ts';

/** Largest WRITE, and largest READ: 256 pages of the kernel (FUSE_MAX_MAX_PAGES). */
export const WRITE_MAX = 1 << 20;
export const READAHEAD_MAX = 1 << 20;

/** Words of the control memory: how far the main thread is, and a counter for each operation. */
export const CONTROL = { phase: 0, operations: 1, words: 65 } as const;
export const PHASE = { STARTING: 0, MOUNTED: 1, OPEN: 2, CLOSED: 3 } as const;

export interface ReaderData {
  /** Descriptor of /dev/fuse. */
  fuse: number;
  control: SharedArrayBuffer;
  port: MessagePort;
  writeback: boolean;
}

export type FromReader =
  /** The main thread answers this request: after fetching what `need` says, or because only it can. */
  | { kind: 'deferred'; request: Uint8Array<ArrayBuffer>; need: Need | undefined }
  | { kind: 'unexpected'; operation: number; message: string }
  /** The mount is gone; the thread ends. */
  | { kind: 'gone' };
