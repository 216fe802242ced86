/**
 * Mounts under a folder, and taking them away.
 *
 * A FUSE mount whose server was killed stays, and every access to it fails with ENOTCONN, so a folder that
 * holds one can be neither read nor removed. `umount -l` takes it away even while something still uses it.
 * Mounts can lie on top of each other at one place: repeat until none is left.
 */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** Mount points at or under `folder` (absolute), innermost first. Empty where there is no /proc. */
export function mountsUnder(folder: string): string[] {
  let table: string;
  try {
    table = readFileSync('/proc/self/mountinfo', 'utf8');
  } catch {
    return [];
  }
  return parseMountInfo(table)
    .filter((path) => `${path}/`.startsWith(`${folder}/`))
    .toReversed();
}

/** Mount points in the order of mounting (proc_pid_mountinfo(5): field 5, blanks as octal escapes). */
export function parseMountInfo(table: string): string[] {
  return table
    .split('\n')
    .map((line) => line.split(' ')[4])
    .filter((path) => path !== undefined)
    .map((path) =>
      path.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8))),
    );
}

/**
 * Unmounts everything at or under `folder`, lazily. Rejects with what `umount` said when that helps no more;
 * a mount that somebody else took away in the meantime is no failure.
 */
export async function unmountUnder(folder: string): Promise<void> {
  let failure: unknown;
  for (let before = Number.POSITIVE_INFINITY; ;) {
    const mounts = mountsUnder(folder);
    if (mounts.length === 0) return;
    if (mounts.length >= before) {
      throw new Error(`mounts that stay after umount -l: ${mounts.join(', ')}`, { cause: failure });
    }
    before = mounts.length;
    for (const path of mounts) {
      await run('umount', ['-l', path]).catch((error: unknown) => {
        failure = error;
      });
    }
  }
}
