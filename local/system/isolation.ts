/**
 * A container's own view of the machine, where the kernel lets us: mounts, System V shared memory, /dev/shm.
 *
 * With namespaces of its own nothing of a killed container outlives its last process: not the FUSE mount of its
 * data directory, not the segments that a killed postmaster would leave. Without the privilege for it
 * everything works as well; then the engine's clean-up (processes.ts, mounts.ts) is what takes mounts away.
 */
import { execFileSync } from 'node:child_process';

const UNSHARE = ['unshare', '--mount', '--ipc', '--propagation', 'private', '--'];
const PRIVATE_SHARED_MEMORY = 'mount -t tmpfs -o mode=1777 ebb-shm /dev/shm && exec "$@"';

let allowed: boolean | undefined;

/** `command` so that it runs in namespaces of its own, under the same process id; unchanged where that is refused. */
export function isolated(command: readonly string[]): string[] {
  allowed ??= process.getuid?.() === 0 && works();
  return allowed ? [...UNSHARE, 'sh', '-c', PRIVATE_SHARED_MEMORY, 'sh', ...command] : [...command];
}

function works(): boolean {
  try {
    const [program, ...args] = [...UNSHARE, 'sh', '-c', PRIVATE_SHARED_MEMORY, 'sh', 'true'];
    execFileSync(program, args, { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}
