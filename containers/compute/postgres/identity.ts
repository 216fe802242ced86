/**
 * Who Postgres runs as. Postgres refuses to be root, and its files must belong to its own uid.
 *
 *   self        this process is no root: Postgres runs as the same user
 *   nobody      root that can give Postgres another uid, which reaches the binaries and the folders
 *   namespace   root whose binaries lie where nobody else may go (a checkout under a 0700 home): a user
 *               namespace in which root's files look like those of uid 1000
 *
 * `peerName` is the name that Postgres's peer authentication finds for this process, null where it finds none.
 */
import { accessSync, constants, lstatSync, realpathSync } from 'node:fs';
import { userInfo } from 'node:os';
import { delimiter, dirname, join } from 'node:path';

export interface Identity {
  kind: 'self' | 'nobody' | 'namespace';
  /** Owner of Postgres's files, as this process sees it. */
  uid: number;
  gid: number;
  peerName: string | null;
}

/** uid and gid of `nobody` on Debian; it has a passwd entry, which Postgres looks for. */
const NOBODY = 65_534;

/** Chooses for a root process by whether everyone may enter the folders that hold `paths` (which need not exist). */
export function chooseIdentity(paths: readonly string[]): Identity {
  const uid = process.getuid?.() ?? 0;
  const gid = process.getgid?.() ?? 0;
  if (uid !== 0) return { kind: 'self', uid, gid, peerName: nameOfThisUser() };
  if (paths.every(everyoneMayEnter))
    return { kind: 'nobody', uid: NOBODY, gid: NOBODY, peerName: nameOfThisUser() };
  return { kind: 'namespace', uid, gid, peerName: null };
}

function nameOfThisUser(): string | null {
  try {
    return userInfo().username;
  } catch {
    return null; // no passwd entry for this uid: an expected outcome in containers
  }
}

function everyoneMayEnter(path: string): boolean {
  for (let folder = realpathSync(dirname(path)); ; folder = dirname(folder)) {
    if ((lstatSync(folder).mode & constants.S_IXOTH) === 0) return false;
    if (folder === dirname(folder)) return true;
  }
}

/**
 * The command that runs `program` as `identity`, and the ids to spawn it with. Where the system has `setpriv`, the
 * kernel stops Postgres (SIGQUIT, its immediate shutdown) when this process dies, however it dies.
 */
export function commandAs(
  identity: Identity,
  program: string,
  args: readonly string[],
): { command: string[]; ids: { uid?: number; gid?: number } } {
  const setpriv = findProgram('setpriv');
  const bound = setpriv === null ? [] : [setpriv, '--pdeathsig', 'QUIT', '--'];
  const namespace =
    identity.kind === 'namespace' ? ['unshare', '--user', '--map-user=1000', '--map-group=1000', '--'] : [];
  return {
    command: [...namespace, ...bound, program, ...args],
    ids: identity.kind === 'nobody' ? { uid: identity.uid, gid: identity.gid } : {},
  };
}

function findProgram(name: string): string | null {
  for (const folder of (process.env['PATH'] ?? '/usr/bin:/bin').split(delimiter)) {
    const path = join(folder, name);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      continue; // not in this folder
    }
  }
  return null;
}
