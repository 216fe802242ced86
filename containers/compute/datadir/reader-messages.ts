/** What the main thread and the reader threads of the FUSE server tell each other. */
import type { MessagePort } from 'node:worker_threads';
import type { Need } from './request.ts';
import type { VolumeShared } from './volume.ts';

export interface ReaderData {
  /** Descriptor of /dev/fuse. */
  fuse: number;
  writeback: boolean;
  /** How often each operation was asked for. */
  counters: SharedArrayBuffer;
  port: MessagePort;
  volume: VolumeShared;
}

export type FromReader =
  /** The main thread answers this request: after fetching what `need` says, or because only it can. */
  | { kind: 'deferred'; request: Uint8Array<ArrayBuffer>; need: Need | undefined }
  | { kind: 'unexpected'; operation: number; message: string }
  /** The mount is gone; the thread ends. */
  | { kind: 'gone' };
