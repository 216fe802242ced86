/**
 * Mounting and unmounting, and what to know about both.
 *
 * mount(8) is given the descriptor of /dev/fuse as its own descriptor 3. It works for root, and in a user namespace
 * for who is root there. A mount outlives a server that was killed: every access then fails with ENOTCONN, so
 * nothing here asks the file system about a mount point; /proc/self/mountinfo tells without touching it.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { DataDirectoryError } from './types.ts';

export interface MountEntry {
  /** `0:57`; the name under /sys/class/bdi. */
  device: string;
  path: string;
  type: string;
}

/** Parses /proc/self/mountinfo (proc_pid_mountinfo(5)). */
export function parseMountInfo(text: string): MountEntry[] {
  const entries: MountEntry[] = [];
  for (const line of text.split('\n')) {
    const fields = line.split(' ');
    const separator = fields.indexOf('-', 6);
    if (separator < 0) continue;
    const path = fields[4].replaceAll(/\\([0-7]{3})/g, (_, octal: string) =>
      String.fromCharCode(Number.parseInt(octal, 8)),
    );
    entries.push({ device: fields[2], path, type: fields[separator + 1] });
  }
  return entries;
}
/** The topmost mount at `path`. Elsewhere than on Linux there is none. */
export function mountAt(path: string): MountEntry | undefined {
  let text: string;
  try {
    text = readFileSync('/proc/self/mountinfo', 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  return parseMountInfo(text).findLast((entry) => entry.path === resolve(path));
}

/** Mounts; `fuse` is a descriptor of /dev/fuse. Throws DataDirectoryError `mount`. */
export async function mountFuse(fuse: number, mountPoint: string): Promise<void> {
  const options = `fd=3,rootmode=40700,user_id=${process.getuid?.()},group_id=${process.getgid?.()},allow_other,default_permissions`;
  const { code, said } = await run('mount', ['-i', '-t', 'fuse', '-o', options, 'ebb', mountPoint], fuse);
  if (code !== 0) throw new DataDirectoryError('mount', `cannot mount FUSE at ${mountPoint}: ${said}`);
}

/** Cuts a mount off even while it is used; the mount point follows. */
export const UNMOUNT_BY_FORCE = ['umount', '--force', '--lazy'] as const;

/**
 * Removes whatever is mounted at `path`, once or several times, whether its server lives or was killed. Nothing
 * where nothing is mounted. Throws DataDirectoryError `mount` when a mount cannot be removed.
 */
export async function cleanUpMount(path: string): Promise<void> {
  while (mountAt(path) !== undefined) {
    const [program, ...args] = UNMOUNT_BY_FORCE;
    const { code, said } = await run(program, [...args, path]);
    if (code !== 0 && mountAt(path) !== undefined)
      throw new DataDirectoryError('mount', `cannot unmount ${path}: ${said}`);
  }
}

/**
 * Lets the kernel read ahead and keep more unwritten data than it allows a FUSE mount by itself. Only root may;
 * returns whether it could.
 */
export function tuneMount(path: string, settings: Readonly<Record<string, number>>): boolean {
  const entry = mountAt(path);
  if (entry === undefined) return false;
  try {
    for (const [name, value] of Object.entries(settings))
      writeFileSync(`/sys/class/bdi/${entry.device}/${name}`, String(value));
    return true;
  } catch {
    return false;
  }
}

async function run(
  program: string,
  args: readonly string[],
  third?: number,
): Promise<{ code: number | null; said: string }> {
  const child = spawn(program, args, {
    stdio: ['ignore', 'ignore', 'pipe', ...(third === undefined ? [] : [third])],
  });
  let said = '';
  child.stderr?.on('data', (chunk: Buffer) => (said += chunk.toString()));
  try {
    const [code] = (await once(child, 'close')) as [number | null];
    return { code, said: said.trim() || `${program} exited with ${code}` };
  } catch (error) {
    return { code: -1, said: (error as Error).message };
  }
}
