/**
 * The moment in which workerd, a child process of Miniflare's, ends.
 *
 * Miniflare starts workerd again by itself when it dies, and says so only when the next one runs. Node announces
 * every child process that this one starts on a diagnostics channel; that gives its exit before anything else
 * can react to it.
 */
import type { ChildProcess } from 'node:child_process';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { basename } from 'node:path';

const CHANNEL = 'child_process';

/**
 * Calls `exited` whenever a workerd of this process ends, in the same turn in which Node learns of it, until
 * the returned function is called.
 */
export function observeRuntimeExit(exited: () => void): () => void {
  const onProcess = (message: unknown) => {
    const { process: child } = message as { process: ChildProcess };
    // The channel tells of the object before spawn() has filled it.
    queueMicrotask(() => {
      if (isWorkerd(child)) child.prependOnceListener('exit', exited);
    });
  };
  subscribe(CHANNEL, onProcess);
  return () => {
    unsubscribe(CHANNEL, onProcess);
  };
}

const isWorkerd = (child: ChildProcess): boolean =>
  child.pid !== undefined &&
  child.spawnargs.includes('serve') &&
  basename(child.spawnfile).startsWith('workerd');
