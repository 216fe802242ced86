/**
 * A log that a container's process writes by itself, through a descriptor it inherits.
 *
 * One file per Durable Object, appended to from container to container; when it has grown past a limit it
 * is put aside once (`.1`) before the next container starts.
 */
import { closeSync, mkdirSync, openSync, renameSync, statSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';

const LOG_BYTES_MAX = 16 << 20;

export interface LogFile {
  fd: number;
  close(): void;
}

/** Opens `path` for appending, with `headline` and the time as a first line. */
export function openLog(path: string, headline: string): LogFile {
  mkdirSync(dirname(path), { recursive: true });
  const size = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
  if (size > LOG_BYTES_MAX) renameSync(path, `${path}.1`);
  const fd = openSync(path, 'a', 0o600);
  writeSync(fd, `--- ${new Date().toISOString()} ${headline}\n`);
  return { fd, close: () => closeSync(fd) };
}
