/**
 * A reader thread of the FUSE server: reads a request, does it, writes the reply, and again. Two of them run, and
 * neither ever waits for anything but the kernel: a request that needs pages or the main thread is posted there.
 *
 * The thread is started before the mount exists and before the manifest is known: it waits for the former in
 * `control`, and for the latter at the first request that needs it (INIT does not).
 */
import { readSync, writeSync } from 'node:fs';
import { receiveMessageOnPort, workerData } from 'node:worker_threads';
import {
  HEADER_ROOM,
  INIT_FLAG,
  InHeader,
  InitIn,
  InitOut,
  OPERATION,
  OutHeader,
} from '../../../lib/fuse/protocol.ts';
import { DEFERRED, finishReply, NO_REPLY, Operations } from './operations.ts';
import {
  CONTROL,
  PHASE,
  READAHEAD_MAX,
  WRITE_MAX,
  type FromReader,
  type ReaderData,
} from './reader-messages.ts';
import { Volume, type VolumeShared } from './volume.ts';

// A file that is not there is an exception; its stack would cost ten microseconds.
Error.stackTraceLimit = 0;

const { fuse, control: controlBuffer, port, writeback } = workerData as ReaderData;
const control = new Int32Array(controlBuffer);
const input = new Uint8Array(WRITE_MAX + HEADER_ROOM);
const output = new Uint8Array(WRITE_MAX + HEADER_ROOM);
const header = InHeader.over(input);

/** Waits until the main thread has reached `phase`; false when it gave up. */
function reach(phase: number): boolean {
  for (;;) {
    const now = Atomics.load(control, CONTROL.phase);
    if (now === PHASE.CLOSED) return false;
    if (now >= phase) return true;
    Atomics.wait(control, CONTROL.phase, now);
  }
}

const post = (message: FromReader, transfer: ArrayBuffer[] = []): void => port.postMessage(message, transfer);
const onUnexpected = (error: unknown): void =>
  post({ kind: 'unexpected', operation: header.operation, message: (error as Error).message });

/** The kernel offers what it can do, and hears what we want of it. */
function initReply(): number {
  const offer = InitIn.over(input, InHeader.size);
  const wanted =
    INIT_FLAG.ASYNC_READ |
    INIT_FLAG.BIG_WRITES |
    INIT_FLAG.PARALLEL_DIROPS |
    INIT_FLAG.MAX_PAGES |
    INIT_FLAG.NO_OPEN_SUPPORT |
    INIT_FLAG.EXPLICIT_INVAL_DATA |
    (writeback ? INIT_FLAG.WRITEBACK_CACHE : 0);
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
  output.set(reply, OutHeader.size);
  return reply.length;
}

/** Sends the reply; false when the mount is gone. */
function send(length: number): boolean {
  try {
    writeSync(fuse, output, 0, length);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENODEV') return false;
    // ENOENT: the request was interrupted and nobody waits for its reply.
    if (code !== 'ENOENT')
      post({ kind: 'unexpected', operation: header.operation, message: `reply: ${code}` });
  }
  return true;
}

/** The next request into `input`; false when the mount is gone. */
function receive(): boolean {
  for (;;) {
    try {
      readSync(fuse, input, 0, input.length, null);
      return true;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'ENODEV') return false;
      if (code !== 'EINTR' && code !== 'EAGAIN' && code !== 'ENOENT') throw error;
    }
  }
}

function serve(): void {
  if (!reach(PHASE.MOUNTED)) return;
  let operations: Operations | undefined;
  while (receive()) {
    if (header.operation === OPERATION.INIT) {
      if (!send(finishReply(output, header.unique, initReply()))) return;
      continue;
    }
    if (operations === undefined) {
      if (!reach(PHASE.OPEN)) return;
      const opened = receiveMessageOnPort(port) as { message: VolumeShared };
      operations = new Operations(new Volume(opened.message), input, output);
    }
    Atomics.add(control, CONTROL.operations + Math.min(header.operation, 63), 1);
    const length = operations.handle(onUnexpected);
    if (length === NO_REPLY) continue;
    if (length === DEFERRED) {
      const request = input.slice(0, header.length);
      post({ kind: 'deferred', request, need: operations.need }, [request.buffer]);
    } else if (!send(length)) return;
  }
}

try {
  serve();
  post({ kind: 'gone' });
} finally {
  port.close();
}
