/**
 * A pageserver made of a cleanly stopped cluster: the BootManifest of its data directory, and its pages from its files.
 * The disk below is real; only the way of the pages is short.
 */
import { closeSync, openSync, readdirSync, readFileSync, readSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Lsn } from '../../../../lib/postgres/lsn.ts';
import {
  PAGE_SIZE,
  pageCount,
  SLRU_KINDS,
  type BlobRange,
  type BootManifest,
  type PageRun,
} from '../../../../lib/protocol/pages.ts';
import type { LocalFile, PageSource } from '../../../../containers/compute/datadir/types.ts';

const FORKS = ['', '_fsm', '_vm', '_init'];
const SEGMENT_BLOCKS = 131_072;

/** Manifest and blobs of a data directory; its own pg_control, WAL and configuration come as local files. */
export function describeCluster(dataDirectory: string): {
  manifest: BootManifest;
  blobs: Uint8Array;
  files: LocalFile[];
} {
  const blobs: Buffer[] = [];
  let length = 0;
  const blob = (bytes: Buffer): BlobRange => {
    blobs.push(bytes);
    length += bytes.length;
    return [length - bytes.length, bytes.length];
  };
  const relations = new Map<string, [number, number, number, number, number]>();
  const manifest: BootManifest = {
    lsn: '0/3000000',
    previousLsn: '0/0',
    systemIdentifier: '1',
    checkPoint: [0, 0],
    controlFile: [0, 0],
    files: [],
    directories: [],
    relations: [],
    slrus: [],
  };
  const relationDirectory = (path: string, spcOid: number, dbOid: number): void => {
    for (const name of readdirSync(join(dataDirectory, path))) {
      const match = /^(\d+)(_fsm|_vm|_init)?(?:\.(\d+))?$/.exec(name);
      if (match !== null) {
        const fork = FORKS.indexOf(match[2] ?? '');
        const blocks = statSync(join(dataDirectory, path, name)).size / PAGE_SIZE;
        const key = `${dbOid}/${match[1]}/${fork}`;
        const row = relations.get(key) ?? [spcOid, dbOid, Number(match[1]), fork, 0];
        row[4] += blocks;
        relations.set(key, row);
      } else if (['PG_VERSION', 'pg_filenode.map'].includes(name))
        manifest.files.push({
          path: `${path}/${name}`,
          content: blob(readFileSync(join(dataDirectory, path, name))),
        });
    }
  };
  relationDirectory('global', 1664, 0);
  for (const name of readdirSync(join(dataDirectory, 'base'))) {
    if (!/^\d+$/.test(name)) continue;
    manifest.directories.push(`base/${name}`);
    relationDirectory(`base/${name}`, 1663, Number(name));
  }
  manifest.relations = [...relations.values()];
  for (const kind of SLRU_KINDS)
    for (const name of readdirSync(join(dataDirectory, kind)))
      manifest.slrus.push({
        kind,
        segment: Number.parseInt(name, 16),
        blocks: statSync(join(dataDirectory, kind, name)).size / PAGE_SIZE,
      });
  return { manifest, blobs: new Uint8Array(Buffer.concat(blobs)), files: localFiles(dataDirectory) };
}

function localFiles(dataDirectory: string): LocalFile[] {
  const walFiles = readdirSync(join(dataDirectory, 'pg_wal')).filter((name) => /^[0-9A-F]{24}$/.test(name));
  const paths = [
    'PG_VERSION',
    'postgresql.conf',
    'postgresql.auto.conf',
    'pg_hba.conf',
    'pg_ident.conf',
    'global/pg_control',
    ...walFiles.map((name) => `pg_wal/${name}`),
  ];
  return paths.map((path) => ({
    path,
    pieces: [{ offset: 0, bytes: readFileSync(join(dataDirectory, path)) }],
  }));
}

/** Pages of a stopped cluster's files. Counts what was asked for; `delayMs` and `fail` make it a bad pageserver. */
export class StoppedCluster implements PageSource {
  readonly requests: PageRun[][] = [];
  pages = 0;
  delayMs = 0;
  fail: ((run: PageRun) => Error | undefined) | undefined;
  readonly #dataDirectory: string;
  #asked: (() => void)[] = [];

  /** Resolves with the next request. */
  nextRequest(): Promise<void> {
    return new Promise((resolve) => this.#asked.push(resolve));
  }

  constructor(dataDirectory: string) {
    this.#dataDirectory = dataDirectory;
  }

  async getPages(_lsn: Lsn, runs: readonly PageRun[]): Promise<(Uint8Array | null)[]> {
    this.requests.push([...runs]);
    this.pages += pageCount(runs);
    for (const resolve of this.#asked.splice(0)) resolve();
    if (this.delayMs > 0) await new Promise((resolve) => setTimeout(resolve, this.delayMs).unref());
    for (const run of runs) {
      const error = this.fail?.(run);
      if (error !== undefined) throw error;
    }
    return this.#read(runs);
  }

  /** One buffer for all pages, as they come from a socket. */
  #read(runs: readonly PageRun[]): (Uint8Array | null)[] {
    const bytes = new Uint8Array(pageCount(runs) * PAGE_SIZE);
    const pages: (Uint8Array | null)[] = [];
    for (const run of runs)
      for (let block = run.block; block < run.block + run.count; block++) {
        const page = bytes.subarray(pages.length * PAGE_SIZE, (pages.length + 1) * PAGE_SIZE);
        pages.push(this.#readPage(run, block, page) ? page : null);
      }
    return pages;
  }
  #readPage(run: PageRun, block: number, into: Uint8Array): boolean {
    const { path, at } = locate(run, block);
    const descriptor = openSync(join(this.#dataDirectory, path), 'r');
    try {
      return readSync(descriptor, into, 0, PAGE_SIZE, at * PAGE_SIZE) === PAGE_SIZE;
    } finally {
      closeSync(descriptor);
    }
  }
}

function locate(run: PageRun, block: number): { path: string; at: number } {
  if (run.kind === 'slru')
    return { path: `${run.slru}/${run.segment.toString(16).toUpperCase().padStart(4, '0')}`, at: block };
  const segment = Math.floor(block / SEGMENT_BLOCKS);
  const directory = run.spcOid === 1664 ? 'global' : `base/${run.dbOid}`;
  return {
    path: `${directory}/${run.relNumber}${FORKS[run.fork]}${segment > 0 ? `.${segment}` : ''}`,
    at: block % SEGMENT_BLOCKS,
  };
}
