/**
 * One Ebb per folder: a file that names the process which has it, and where that listens.
 *
 * Whoever removes the folder of a running Ebb takes its lock away too: then that Ebb must stop, because the next one
 * could use the same places.
 *
 * The file is made by link(), which fails when it exists already. A holder that was killed leaves its file; whoever
 * comes next takes it away by rename(), which only one of two can do, and looks again at what was taken.
 */
import { linkSync, readFileSync, renameSync, rmSync, watch, writeFileSync } from 'node:fs';
import { z } from 'zod';
import { identify, isAlive } from '../system/processes.ts';

const Holder = z.object({
  pid: z.number(),
  startTime: z.string(),
  httpPort: z.number(),
  postgresPort: z.number(),
});
export type Holder = z.infer<typeof Holder>;

export class LockedError extends Error {
  override readonly name = 'LockedError';
  readonly holder: Holder;
  constructor(path: string, holder: Holder) {
    super(
      `an Ebb runs in this folder already (process ${holder.pid}, ports ${holder.httpPort} and ` +
        `${holder.postgresPort}; ${path}). Stop it, or give another folder with --dir.`,
    );
    this.holder = holder;
  }
}

export interface Lock {
  release(): void;
  /** Whether it still names this process. */
  isHeld(): boolean;
  /** Whether an Ebb that was killed had it: what that one held may take a moment to be free. */
  readonly wasLeft: boolean;
  /** Rejects when somebody took it away. */
  readonly lost: Promise<never>;
}

/** Takes the lock for this process. Throws LockedError when a living process has it. */
export function takeLock(path: string, ports: { httpPort: number; postgresPort: number }): Lock {
  const mine: Holder = {
    ...identify(process.pid),
    httpPort: ports.httpPort,
    postgresPort: ports.postgresPort,
  };
  const temporary = `${path}.${process.pid}`;
  writeFileSync(temporary, JSON.stringify(mine));
  let wasLeft = false;
  try {
    while (!tryLink(temporary, path)) {
      discardStale(path);
      wasLeft = true;
    }
  } finally {
    rmSync(temporary, { force: true });
  }
  const isHeld = () => {
    const holder = parseHolder(path);
    return holder?.pid === mine.pid && holder.startTime === mine.startTime;
  };
  const lost = Promise.withResolvers<never>();
  lost.promise.catch(() => undefined);
  const watcher = watch(path, { persistent: false }, () => {
    if (!isHeld()) lost.reject(new Error(`${path} was taken away while Ebb ran`));
  });
  const release = () => {
    watcher.close();
    if (isHeld()) rmSync(path, { force: true });
  };
  return { release, isHeld, wasLeft, lost: lost.promise };
}

/** Who has the lock, when that process is alive. */
export function readHolder(path: string): Holder | null {
  const holder = parseHolder(path);
  return holder && isAlive(holder) ? holder : null;
}

function discardStale(path: string): void {
  const holder = readHolder(path);
  if (holder) throw new LockedError(path, holder);
  const taken = `${path}.stale.${process.pid}`;
  try {
    renameSync(path, taken);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  const nowHolder = readHolder(taken);
  if (nowHolder) tryLink(taken, path);
  rmSync(taken, { force: true });
  if (nowHolder) throw new LockedError(path, nowHolder);
}

function tryLink(from: string, to: string): boolean {
  try {
    linkSync(from, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

/** Null when there is no file, or not a whole one. */
function parseHolder(path: string): Holder | null {
  try {
    return Holder.parse(JSON.parse(readFileSync(path, 'utf8')));
  } catch {
    return null;
  }
}
