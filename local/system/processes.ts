/**
 * Processes of this machine: who is who, who belongs to a container, and how to end all of them.
 *
 * A container's main process may be killed at any moment and leave children behind: a postmaster and its
 * backends (each in a session of its own), helpers. They are found by what they cannot lose:
 *
 *   - the container's marker in the environment they were started with;
 *   - a living parent that belongs to the container;
 *   - the container's disk as their working directory, for Postgres, which overwrites its environment with its
 *     process title (ps_status.c, PS_USE_CLOBBER_ARGV).
 *
 * A process id alone names nobody, because ids are reused; an identity is the id with the start time.
 * All of it reads /proc. Where there is none (macOS), only process groups can be ended.
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

export interface ProcessIdentity {
  pid: number;
  /** Field 22 of /proc/PID/stat: clock ticks after boot. Empty where there is no /proc. */
  startTime: string;
}

export interface ProcessInfo extends ProcessIdentity {
  parent: number;
  /** The kernel's name for it (15 characters). */
  name: string;
  /** It has ended, and holds nothing any more; only its parent has not asked for its exit code. */
  zombie: boolean;
}

const END_POLL_MS = 5;
const END_TIMEOUT_MS = 10_000;

/** Reads one process; null when there is none (any more). */
export function processInfo(pid: number): ProcessInfo | null {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  } catch {
    return null;
  }
  // The name is in parentheses and may itself hold spaces and parentheses (proc_pid_stat(5)).
  const nameEnd = stat.lastIndexOf(')');
  const fields = stat.slice(nameEnd + 2).split(' ');
  return {
    pid,
    name: stat.slice(stat.indexOf('(') + 1, nameEnd),
    zombie: (fields[0] === 'Z' || fields[0] === 'X') && !hasThreads(pid),
    parent: Number(fields[1]),
    startTime: fields[19] ?? '',
  };
}

/** Files and ports are released by the last thread, which may end after the one that gives the process its state. */
function hasThreads(pid: number): boolean {
  try {
    return readdirSync(`/proc/${pid}/task`).length > 1;
  } catch {
    return false;
  }
}

/** The identity of a process that runs now; the id alone where there is no /proc. */
export const identify = (pid: number): ProcessIdentity => ({
  pid,
  startTime: processInfo(pid)?.startTime ?? '',
});

/** Whether exactly this process still runs (a zombie does not). */
export function isAlive(identity: ProcessIdentity): boolean {
  if (identity.startTime === '') return signalExists(identity.pid);
  const info = processInfo(identity.pid);
  return info !== null && !info.zombie && info.startTime === identity.startTime;
}

/** Every process, zombies too. Empty where there is no /proc. */
export function listProcesses(): ProcessInfo[] {
  let entries: string[];
  try {
    entries = readdirSync('/proc');
  } catch {
    return [];
  }
  return entries
    .filter((entry) => /^\d+$/.test(entry))
    .map((entry) => processInfo(Number(entry)))
    .filter((info) => info !== null);
}

/** What marks the processes of one container. */
export interface Belonging {
  /** `NAME=value` in the environment that its processes are started with. */
  marker: string;
  /** Absolute path of its disk. */
  disk: string;
}

/** The living processes of a container, parents before children. */
export function belongingProcesses({ marker, disk }: Belonging): ProcessInfo[] {
  const all = listProcesses().filter((info) => !info.zombie && info.pid !== process.pid);
  const members = new Map<number, ProcessInfo>();
  for (const info of all) {
    if (hasMarker(info.pid, marker) || isPostgresIn(info, disk)) members.set(info.pid, info);
  }
  for (let found = true; found;) {
    found = false;
    for (const info of all) {
      if (members.has(info.pid) || !members.has(info.parent)) continue;
      members.set(info.pid, info);
      found = true;
    }
  }
  return [...members.values()];
}

function hasMarker(pid: number, marker: string): boolean {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').includes(marker);
  } catch {
    return false;
  }
}

function isPostgresIn(info: ProcessInfo, disk: string): boolean {
  if (info.name !== 'postgres') return false;
  try {
    return `${readlinkSync(`/proc/${info.pid}/cwd`)}/`.startsWith(`${disk}/`);
  } catch {
    return false;
  }
}

/**
 * Kills every process that `find` names, again and again until it names none, and waits until all of them hold
 * nothing any more. Resolves with their ids; rejects after ten seconds with the names of those that stay (a
 * process that waits for a dead disk cannot be killed).
 */
export async function endProcesses(find: () => ProcessInfo[]): Promise<Set<number>> {
  const ended = new Map<number, ProcessInfo>();
  const deadline = performance.now() + END_TIMEOUT_MS;
  for (;;) {
    for (const info of find()) {
      ended.set(info.pid, info);
      sendSignal(info.pid, 'SIGKILL');
    }
    const living = [...ended.values()].filter(isAlive);
    if (living.length === 0) return new Set(ended.keys());
    if (performance.now() > deadline) {
      const names = living.map((info) => `${info.name} (${info.pid})`).join(', ');
      throw new Error(`processes that do not end on SIGKILL: ${names}`);
    }
    await delay(END_POLL_MS);
  }
}

/** Kills exactly this process and waits for its end. A process that is gone already is no error. */
export async function endProcess(identity: ProcessIdentity): Promise<void> {
  await endProcesses(() => {
    if (!isAlive(identity)) return [];
    return [processInfo(identity.pid) ?? { ...identity, parent: 0, name: 'process', zombie: false }];
  });
}

/** Sends a signal to a process or, with a negative id, to a group. False when there is none. */
export function sendSignal(pid: number, signal: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
    throw error;
  }
}

function signalExists(pid: number): boolean {
  try {
    return sendSignal(pid, 0);
  } catch {
    return true; // EPERM: it is there, and another user's
  }
}
