/**
 * Looking inside a running Ebb from its own machine: its processes, its compute's files, its bucket.
 *
 * Only tests do this. A client sees none of it: the processes and files belong to whoever runs `ebb start`.
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';

export interface ProcessInfo {
  pid: number;
  parent: number;
  command: string;
}

/** Every process of the machine that can be seen. */
export function allProcesses(): ProcessInfo[] {
  const found: ProcessInfo[] = [];
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'latin1');
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      const command = readFileSync(`/proc/${name}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
      if (fields[0] !== 'Z') found.push({ pid: Number(name), parent: Number(fields[1]), command });
    } catch {
      // It ended between readdir and here.
    }
  }
  return found;
}

/** `root` and all that descend from it. */
export function processTree(root: number): ProcessInfo[] {
  const all = allProcesses();
  const tree = all.filter((process) => process.pid === root);
  for (const process of tree) tree.push(...all.filter((child) => child.parent === process.pid));
  return tree;
}

export type Part = 'postgres' | 'compute' | 'pageserver' | 'workerd';

/** The processes of one part of the Ebb whose command is process `ebbPid`. */
export function partOf(ebbPid: number, part: Part): ProcessInfo[] {
  const tree = processTree(ebbPid);
  // A program is run as a bundle, or from the sources (local/instance/programs.ts).
  const isNode = (command: string, main: string) =>
    command.includes(`containers/${main}/`) || new RegExp(`/programs-[0-9a-f]+/${main}\\.js`).test(command);
  switch (part) {
    case 'postgres':
      // The postmaster: the process whose own arguments name the data directory.
      return tree.filter(
        ({ command }) => /\/bin\/postgres\s.*-D\s/.test(command) && !command.includes('unshare'),
      );
    case 'compute':
      return tree.filter(({ command }) => isNode(command, 'compute') && !command.includes('/bin/postgres'));
    case 'pageserver':
      return tree.filter(({ command }) => isNode(command, 'pageserver'));
    case 'workerd':
      return tree.filter(({ command }) => /workerd(\.\w+)?\s+serve/.test(command));
  }
}

/**
 * The compute that runs now, by the postmaster's data directory; null when none runs. The data directory is seen
 * through /proc, in the container's own view of the machine, where it is mounted.
 */
export function runningCompute(ebbPid: number): { pid: number; dataDirectory: string } | null {
  const postmaster = partOf(ebbPid, 'postgres')[0];
  const match = postmaster && /\s-D\s*(\S+)/.exec(postmaster.command);
  if (!postmaster || !match) return null;
  let dataDirectory = match[1];
  if (!dataDirectory.startsWith('/'))
    dataDirectory = join(readlinkSync(`/proc/${postmaster.pid}/cwd`), dataDirectory);
  return { pid: postmaster.pid, dataDirectory: join(`/proc/${postmaster.pid}/root`, dataDirectory) };
}

/** A superuser's connection to the running compute's own Postgres: what no client of Ebb can have. */
export async function superuser(ebbPid: number, database: string): Promise<pg.Client> {
  const compute = runningCompute(ebbPid);
  if (!compute) throw new Error('no compute is running');
  // The fifth line of postmaster.pid: the folder of its unix socket (utils/pidfile.h).
  const pidFile = readFileSync(join(compute.dataDirectory, 'postmaster.pid'), 'utf8');
  const client = new pg.Client({
    host: pidFile.split('\n')[4],
    user: 'ebb_admin',
    database,
  });
  client.on('error', () => undefined); // its Postgres may be killed under it
  await client.connect();
  return client;
}
