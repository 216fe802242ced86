/**
 * The containers' programs as single files, as their images have them: a process that loads a hundred source files and
 * takes the types out of each needs more time for that than for everything else it does to wake.
 *
 *   node_modules/.cache/ebb/programs-HASH/
 *     compute.js  fuse-reader.js  pageserver.js     (containers/bundle.ts) with the engine's handoff.ts before them
 *     compiled/                                     V8's compiled code of them (NODE_COMPILE_CACHE)
 *
 * HASH is of all that goes into them, so they are made once per version. Folders that were not used for a week are removed.
 * Where the folder cannot be written, the sources are run as they are.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rename, rm, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { bundleProgram, type ProgramName } from '../../containers/bundle.ts';
import { ROOT } from '../edge/wrangler-config.ts';

/** Node's arguments for each program, and its folder for compiled code. */
export interface Programs {
  compute: string[];
  pageserver: string[];
  compiled: string;
}

const CACHE = join(ROOT, 'node_modules', '.cache', 'ebb');
const SOURCES = ['containers', 'lib', 'local/engine'];
const HANDOFF = 'local/engine/handoff.ts';
const READ_ONLY: ReadonlySet<string> = new Set(['EACCES', 'EPERM', 'EROFS']);
const UNUSED_MS = 7 * 86_400_000;

/** The programs of this checkout, made if need be. Throws with esbuild's messages, or what the file system said. */
export async function requirePrograms(): Promise<Programs> {
  const folder = join(CACHE, `programs-${await hashOfSources()}`);
  try {
    if (await exists(folder)) {
      const now = new Date();
      await utimes(folder, now, now);
    } else {
      await makePrograms(folder);
      await removeUnused();
    }
  } catch (error) {
    if (!READ_ONLY.has((error as NodeJS.ErrnoException).code ?? '')) throw error;
    return sources();
  }
  return {
    compute: [join(folder, 'compute.js')],
    pageserver: [join(folder, 'pageserver.js')],
    compiled: join(folder, 'compiled'),
  };
}

/** The programs as they stand in the checkout. */
export function sources(): Programs {
  const program = (main: string): string[] => [join(ROOT, 'local/engine/run-program.ts'), join(ROOT, main)];
  return {
    compute: program('containers/compute/run.ts'),
    pageserver: program('containers/pageserver/run.ts'),
    compiled: CACHE,
  };
}

/** Of every source file that a program may consist of, and of what decides on packages and options. */
async function hashOfSources(): Promise<string> {
  const hash = createHash('sha256');
  const add = (path: string) =>
    hash
      .update(`${path}\0`)
      .update(readFileSync(join(ROOT, path)))
      .update('\0');
  for (const path of ['package-lock.json', 'local/instance/programs.ts']) add(path);
  for (const source of SOURCES) {
    const names = await readdir(join(ROOT, source), { recursive: true });
    for (const name of names.filter((each) => each.endsWith('.ts')).sort()) add(join(source, name));
  }
  return hash.digest('hex').slice(0, 16);
}

/** Whole or not at all: made beside its place, and put there when it is complete. */
async function makePrograms(folder: string): Promise<void> {
  await mkdir(CACHE, { recursive: true });
  const work = await mkdtemp(join(CACHE, '.programs-'));
  try {
    const bundled = (name: ProgramName) => bundleProgram(name, { outdir: work, before: HANDOFF });
    await Promise.all([bundled('compute'), bundled('pageserver')]);
    await mkdir(join(work, 'compiled'));
    await rename(work, folder);
  } catch (error) {
    await rm(work, { recursive: true, force: true });
    if (!(await exists(folder))) throw error; // else another start was quicker
  }
}

async function removeUnused(): Promise<void> {
  for (const name of await readdir(CACHE)) {
    const path = join(CACHE, name);
    const info = await stat(path).catch(() => null); // another start may be removing it
    if (info !== null && Date.now() - info.mtimeMs > UNUSED_MS)
      await rm(path, { recursive: true, force: true });
  }
}

const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  );
