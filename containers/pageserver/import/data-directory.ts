/**
 * A cleanly stopped data directory as the entries of image layers, in key order and page by page, so that a cluster of any
 * size goes through little memory.
 *
 *   control file, checkpoint, relation maps, databases, sizes     known before the first page is read; sorted in memory
 *   pages of SLRU segments, then of relations                     streamed from their files, fork after fork in key order
 *
 * All of it is as of the LSN where the timeline's WAL begins, a segment start beyond every page's own LSN. The WAL itself is not
 * imported: a clean stop leaves nothing in it that pages lack. Unlogged relations come empty, as after a crash.
 */
import { open, readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { CheckPoint } from '../../../lib/postgres/checkpoint.ts';
import {
  CONTROL_VERSION_18,
  DATABASE_STATE,
  decodeControlFile,
  encodeControlFile,
  type ControlFileFields,
} from '../../../lib/postgres/control-file.ts';
import { formatLsn, lsn, type Lsn } from '../../../lib/postgres/lsn.ts';
import {
  clearChecksum,
  isNewPage,
  pageChecksum,
  storedChecksum,
} from '../../../lib/postgres/page/checksum.ts';
import { WAL_SEGMENT_BYTES } from '../../../lib/postgres/wal/geometry.ts';
import { PAGE_SIZE, SLRU_KINDS } from '../../../lib/protocol/pages.ts';
import {
  CHECKPOINT_KEY,
  CONTROL_FILE_KEY,
  databaseKey,
  FORK_NAMES,
  pageKeyOfSize,
  relationMapKey,
  relationSizeKey,
  slruSegmentKey,
  type Key,
} from '../../../lib/storage/key.ts';
import { DEFAULT_TABLESPACE, GLOBAL_TABLESPACE } from '../../../lib/storage/state/boot-manifest.ts';
import { imageValue, sizeValue, type Modification } from '../../../lib/storage/value.ts';

/**
 * `version`: another major version, or compiled otherwise (block or segment size). `running`: not stopped cleanly.
 * `tablespaces`, `prepared`: has what Ebb has no place for. `damaged`: a page's checksum does not hold, or a file is not whole.
 * `notDataDirectory`: no PGDATA.
 */
export type ImportErrorCode =
  | 'notDataDirectory'
  | 'version'
  | 'running'
  | 'tablespaces'
  | 'prepared'
  | 'reserved'
  | 'damaged';

/** The cluster cannot be imported as it is; the message says what to do. */
export class ImportError extends Error {
  override readonly name = 'ImportError';
  readonly code: ImportErrorCode;
  constructor(code: ImportErrorCode, message: string, cause?: unknown) {
    super(message, { cause });
    this.code = code;
  }
}

const MAJOR = '18';
const RELATION_SEGMENT_BLOCKS = 131_072;
const READ_BYTES = 1 << 20;

/** pg_control of a data directory that Ebb's Postgres can run. Throws ImportError `notDataDirectory`, `version`. */
export async function readControl(directory: string): Promise<ControlFileFields> {
  const version = await readFile(join(directory, 'PG_VERSION'), 'utf8').catch((cause: unknown) => {
    throw new ImportError(
      'notDataDirectory',
      `${directory} is no data directory: it has no PG_VERSION`,
      cause,
    );
  });
  if (version.trim() !== MAJOR)
    throw new ImportError(
      'version',
      `${directory} is of Postgres ${version.trim()}: ${MAJOR} expected; upgrade it first (pg_upgrade)`,
    );
  const control = decodeControlFile(await readFile(join(directory, 'global/pg_control')));
  const expected: Partial<Record<keyof ControlFileFields, number>> = {
    controlVersion: CONTROL_VERSION_18,
    blockBytes: PAGE_SIZE,
    relationSegmentBlocks: RELATION_SEGMENT_BLOCKS,
    walBlockBytes: PAGE_SIZE,
    walSegmentBytes: WAL_SEGMENT_BYTES,
  };
  for (const [field, value] of Object.entries(expected)) {
    const found = control[field as keyof ControlFileFields];
    if (found !== value)
      throw new ImportError('version', `${directory} has ${field} ${found as number}: ${value} expected`);
  }
  return control;
}

/** Throws ImportError `tablespaces`, `prepared`. */
export async function checkContents(directory: string): Promise<void> {
  if ((await entriesOf(join(directory, 'pg_tblspc'))).length > 0)
    throw new ImportError(
      'tablespaces',
      `${directory} has tablespaces: move their contents to pg_default first`,
    );
  if ((await entriesOf(join(directory, 'pg_twophase'))).length > 0)
    throw new ImportError(
      'prepared',
      `${directory} has prepared transactions: commit them or roll them back first`,
    );
}
const entriesOf = (folder: string): Promise<string[]> =>
  readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });

/** Where the timeline of a cluster that was stopped at `checkPoint` begins. */
export const startLsnAfter = (checkPoint: Lsn): Lsn =>
  lsn((Math.floor(checkPoint / WAL_SEGMENT_BYTES) + 1) * WAL_SEGMENT_BYTES);

/** A fork of a relation or an SLRU segment: its files in order, and how many pages they have. */
interface PageFile {
  sizeKey: Key;
  name: string;
  paths: string[];
  pages: number;
}

export class DataDirectory {
  readonly startLsn: Lsn;
  readonly systemIdentifier: bigint;
  /** Pages that `entries` will give. */
  readonly pages: number;
  readonly #hasChecksums: boolean;
  readonly #small: readonly Modification[];
  readonly #files: readonly PageFile[];

  /** Throws ImportError. Nothing of it is changed. */
  static async open(directory: string): Promise<DataDirectory> {
    const control = await readControl(directory);
    if (control.state !== DATABASE_STATE.shutDown)
      throw new ImportError(
        'running',
        `${directory} was not stopped cleanly (state ${control.state} at ${formatLsn(control.checkPoint)}): stop its Postgres with pg_ctl stop -m fast first`,
      );
    await checkContents(directory);
    const small: Modification[] = [...controlValues(control)];
    const files: PageFile[] = [];
    for (const slru of SLRU_KINDS)
      for (const name of await entriesOf(join(directory, slru)))
        files.push(
          await pageFile(slruSegmentKey(slru, Number.parseInt(name, 16)), `${slru}/${name}`, [
            join(directory, slru, name),
          ]),
        );
    await readDatabase(join(directory, 'global'), GLOBAL_TABLESPACE, 0, small, files);
    for (const name of await readdir(join(directory, 'base'))) {
      if (!/^[1-9][0-9]*$/.test(name)) continue; // pgsql_tmp
      small.push({
        key: databaseKey(DEFAULT_TABLESPACE, Number(name)),
        value: imageValue(new Uint8Array(0)),
      });
      await readDatabase(join(directory, 'base', name), DEFAULT_TABLESPACE, Number(name), small, files);
    }
    for (const { sizeKey, pages } of files) small.push({ key: sizeKey, value: sizeValue(pages) });
    return new DataDirectory(control, small, files);
  }
  private constructor(control: ControlFileFields, small: Modification[], files: PageFile[]) {
    this.startLsn = startLsnAfter(control.checkPoint);
    this.systemIdentifier = control.systemIdentifier;
    this.#hasChecksums = control.dataChecksumVersion !== 0;
    this.#small = small.sort((a, b) => (a.key < b.key ? -1 : 1));
    this.#files = files.sort((a, b) => (pageKeyOfSize(a.sizeKey, 0) < pageKeyOfSize(b.sizeKey, 0) ? -1 : 1));
    this.pages = files.reduce((sum, { pages }) => sum + pages, 0);
  }

  /** Every entry in key order, each once. Throws ImportError `damaged`. */
  async *entries(): AsyncGenerator<Modification> {
    // Every other kind of key sorts before pages (lib/storage/key.ts).
    for (const entry of this.#small) yield entry;
    for (const file of this.#files) yield* this.#pagesOf(file);
  }

  async *#pagesOf({ sizeKey, name, paths, pages }: PageFile): AsyncGenerator<Modification> {
    let block = 0;
    for (const path of paths) {
      const file = await open(path);
      try {
        for (;;) {
          const buffer = new Uint8Array(READ_BYTES);
          const { bytesRead } = await file.read(buffer, 0, READ_BYTES);
          if (bytesRead === 0) break;
          if (bytesRead % PAGE_SIZE !== 0)
            throw new ImportError('damaged', `${name}: ${bytesRead % PAGE_SIZE} bytes beyond block ${block}`);
          for (let at = 0; at < bytesRead; at += PAGE_SIZE) {
            const page = buffer.subarray(at, at + PAGE_SIZE);
            if (this.#hasChecksums && !isSlru(name)) takeChecksum(page, block, name);
            yield { key: pageKeyOfSize(sizeKey, block++), value: imageValue(page) };
          }
        }
      } finally {
        await file.close();
      }
    }
    if (block !== pages)
      throw new ImportError('damaged', `${name} has ${block} pages now, ${pages} when the import began`);
  }
}

const isSlru = (name: string): boolean => name.startsWith('pg_');

/** Checks it and takes it away: the new cluster has none, and a stale one would mislead whoever looks at the page. */
function takeChecksum(page: Uint8Array, block: number, name: string): void {
  if (isNewPage(page)) return;
  const [found, expected] = [storedChecksum(page), pageChecksum(page, block)];
  if (found !== expected)
    throw new ImportError(
      'damaged',
      `${name} block ${block}: its checksum is ${found}, its bytes give ${expected}`,
    );
  clearChecksum(page);
}

function* controlValues(control: ControlFileFields): Generator<Modification> {
  // WAL begins anew here, as that of timeline 1; the pages do not know which one they came from.
  const checkPoint = { ...control.checkPointCopy, timelineId: 1, previousTimelineId: 1 };
  const own = { ...control, checkPointCopy: checkPoint, dataChecksumVersion: 0 };
  yield { key: CONTROL_FILE_KEY, value: imageValue(encodeControlFile(own)) };
  yield { key: CHECKPOINT_KEY, value: imageValue(CheckPoint.encode(checkPoint)) };
}

/** `16384`, `16384_vm`, `16384_vm.1`: relation, fork, segment. Temporary relations (`t3_16384`) are left out. */
const RELATION_FILE = /^([1-9][0-9]*)(?:_(fsm|vm|init))?(?:\.([1-9][0-9]*))?$/;

async function readDatabase(
  directory: string,
  spcOid: number,
  dbOid: number,
  small: Modification[],
  files: PageFile[],
): Promise<void> {
  small.push({
    key: relationMapKey(spcOid, dbOid),
    value: imageValue(await readFile(join(directory, 'pg_filenode.map'))),
  });
  const names = await readdir(directory);
  const unlogged = new Set(
    names.flatMap((name) => {
      const match = RELATION_FILE.exec(name);
      return match?.[2] === 'init' ? [match[1]] : [];
    }),
  );
  const segments = new Map<Key, { name: string; paths: Map<number, string> }>();
  for (const name of names) {
    const match = RELATION_FILE.exec(name);
    if (match === null) continue;
    const [, relation, forkName = 'main', segment = '0'] = match;
    if (unlogged.has(relation) && forkName !== 'init') continue;
    const fork = FORK_NAMES.indexOf(forkName as (typeof FORK_NAMES)[number]);
    const sizeKey = relationSizeKey({ spcOid, dbOid, relNumber: Number(relation), fork });
    const of = segments.get(sizeKey) ?? {
      name: `${spcOid}/${dbOid}/${relation}_${forkName}`,
      paths: new Map(),
    };
    of.paths.set(Number(segment), join(directory, name));
    segments.set(sizeKey, of);
  }
  for (const [sizeKey, { name, paths }] of segments) {
    const ordered = Array.from({ length: paths.size }, (_, at) => paths.get(at));
    if (ordered.includes(undefined)) throw new ImportError('damaged', `${name}: a segment is missing`);
    files.push(await pageFile(sizeKey, name, ordered as string[]));
  }
}

async function pageFile(sizeKey: Key, name: string, paths: string[]): Promise<PageFile> {
  let pages = 0;
  for (const [at, path] of paths.entries()) {
    const { size } = await stat(path);
    if (size % PAGE_SIZE !== 0)
      throw new ImportError('damaged', `${name} has ${size} bytes: not a multiple of ${PAGE_SIZE}`);
    if (at < paths.length - 1 && size !== RELATION_SEGMENT_BLOCKS * PAGE_SIZE) {
      // Postgres ends a relation at its first segment that is not full; what comes after was truncated away.
      pages += size / PAGE_SIZE;
      return { sizeKey, name, paths: paths.slice(0, at + 1), pages };
    }
    pages += size / PAGE_SIZE;
  }
  return { sizeKey, name, paths, pages };
}
