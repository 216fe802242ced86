/**
 * What the data directory needs of the rest of the compute, and what it gives.
 *
 *   backingDir/data     PGDATA: configuration, WAL, pg_control's directory by way of `global`, everything local
 *   backingDir/pages    what the FUSE server keeps: base/ global/ pg_xact/ pg_multixact/ pg_commit_ts/
 *   mountPoint          the FUSE mount; data/base, data/global, … are symbolic links into it
 *
 * Only what can come from the pageserver goes through FUSE. WAL, temporary files, postmaster.pid and the
 * configuration are plain local files, as fast as the disk, and this process may read them at any time.
 * (It must never touch the mount synchronously: it would wait for itself.)
 */
import type { BootManifest, PageRun } from '../../../lib/protocol/pages.ts';
import type { Lsn } from '../../../lib/postgres/lsn.ts';

/** Pages as of an LSN, in the order of the runs; null where a page does not exist. PageClient is one. */
export interface PageSource {
  getPages(lsn: Lsn, runs: readonly PageRun[]): Promise<(Uint8Array | null)[]>;
}

/** A part of pino's interface. */
export interface Log {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** A file that the booter makes (pg_control, a WAL segment, postgresql.conf, pg_hba.conf …). */
export interface LocalFile {
  /** Relative to the data directory. Replaces a file of the manifest with the same path. */
  path: string;
  /** Bytes at their offsets; the rest up to `size` (default: the end of the last piece) is zero and sparse. */
  pieces: readonly { offset: number; bytes: Uint8Array }[];
  size?: number;
}

export interface DataDirectoryPlace {
  /** `auto`: FUSE where it can be mounted, else a plain directory. */
  mode: 'fuse' | 'plain' | 'auto';
  /** Absolute path; made if missing. Something left mounted there is unmounted first. */
  mountPoint: string;
  /** Absolute path of a folder of our own; emptied first. */
  backingDir: string;
  /** Whom Postgres runs as, as this process sees the ids. */
  uid: number;
  gid: number;
  log: Log;
}

export interface DataDirectoryContent {
  manifest: BootManifest;
  blobs: Uint8Array;
  pages: PageSource;
  /** The boot LSN: every page is fetched as of it. */
  lsn: Lsn;
  files: readonly LocalFile[];
  /** What the last session read first, fetched at once while Postgres starts. */
  warmPages?: readonly PageRun[];
  /** Plain mode: pages filled so far, of how many. */
  onProgress?: (pagesDone: number, pagesTotal: number) => void;
}

export interface MissStatistics {
  /** READs that had to wait for pages. */
  misses: number;
  /** Pages fetched because of them, and because of `warmPages`. */
  pagesFetched: number;
  warmPagesFetched: number;
  fetchesFailed: number;
  /** Sum over the misses of their waiting time. */
  waitMs: number;
}

export interface DataDirectory {
  /** PGDATA. */
  readonly path: string;
  readonly mode: 'fuse' | 'plain';
  /** Rejects when the server fails, after which Postgres gets only errors: stop the compute. Never resolves. */
  readonly failure: Promise<never>;
  statistics(): MissStatistics;
  /** How often the kernel asked for each FUSE operation; empty in plain mode. */
  operations(): Record<string, number>;
  /**
   * What was read of remote pages since the start, in that order, at most PAGES_MAX pages: the next session's
   * `warmPages`. Recording ends with this call; make it two seconds after Postgres is ready. Empty in plain mode.
   */
  takeWarmPages(): PageRun[];
  /** Stops serving and unmounts; Postgres must have exited (otherwise it gets errors). Idempotent. */
  close(): Promise<void>;
}

/** A place made ready: readers started and the mount made, all that needs no manifest. */
export interface PreparedDataDirectory {
  readonly mode: 'fuse' | 'plain';
  open(content: DataDirectoryContent): Promise<DataDirectory>;
  /** Gives up before `open`. Idempotent. */
  close(): Promise<void>;
}

/**
 * `mount`: FUSE was demanded and cannot be mounted. `content`: the manifest or a file contradicts itself or names
 * a path outside the data directory. `fetch`: plain mode could not get all pages. `server`: the FUSE server failed.
 */
export type DataDirectoryErrorCode = 'mount' | 'content' | 'fetch' | 'server';

export class DataDirectoryError extends Error {
  override readonly name = 'DataDirectoryError';
  readonly code: DataDirectoryErrorCode;
  constructor(code: DataDirectoryErrorCode, message: string, cause?: unknown) {
    super(message, { cause });
    this.code = code;
  }
}
