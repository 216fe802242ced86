/**
 * A reader thread of the FUSE server: reads a request, does it, writes the reply, and again. It never waits for
 * anything but the kernel: a request that needs pages or the main thread is posted there.
 *
 * It is blocked in read(2) most of the time and cannot hear messages, so all it needs comes with `workerData`.
 */
import { readSync } from 'node:fs';
import { workerData } from 'node:worker_threads';
import { FuseChannel, readFailure } from './channel.ts';
import { Operations } from './operations.ts';
import { DEFERRED, NO_REPLY } from './request.ts';
import type { FromReader, ReaderData } from './reader-messages.ts';
import { Volume } from './volume.ts';

// A file that is not there is an exception; its stack would cost ten microseconds.
Error.stackTraceLimit = 0;

const { fuse, writeback, counters: countersBuffer, port, volume } = workerData as ReaderData;
const counters = new Int32Array(countersBuffer);
const channel = new FuseChannel(fuse, writeback);
const { header, input } = channel;
const operations = new Operations(new Volume(volume), channel);

const post = (message: FromReader, transfer: ArrayBuffer[] = []): void => port.postMessage(message, transfer);
const onUnexpected = (error: unknown): void =>
  post({ kind: 'unexpected', operation: header.operation, message: (error as Error).message });

/** The next request into `input`; false when the mount is gone. */
function receive(): boolean {
  for (;;) {
    try {
      readSync(fuse, input, 0, input.length, null);
      return true;
    } catch (error) {
      if (readFailure(error as NodeJS.ErrnoException) === 'gone') return false;
    }
  }
}

while (receive()) {
  Atomics.add(counters, Math.min(header.operation, counters.length - 1), 1);
  const length = operations.handle(onUnexpected);
  if (length === NO_REPLY) continue;
  if (length === DEFERRED) {
    const request = input.slice(0, header.length);
    post({ kind: 'deferred', request, need: operations.need }, [request.buffer]);
  } else if (channel.send(length) === 'gone') break;
}
post({ kind: 'gone' });
port.close();
