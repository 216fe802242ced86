/** Replays a folder of WAL and compares with the images in it: bounded memory, whatever the WAL's size. */
import { crc32c } from '@node-rs/crc32';
import { formatLsn, type Lsn } from '../../lib/postgres/lsn.ts';
import {
  formatFailure,
  RedoCheck,
  type CheckCount,
  type CheckFailure,
} from '../../lib/postgres/redo/check/check.ts';
import { postgres18 } from '../../lib/postgres/v18/wal.ts';
import { WalDecoder } from '../../lib/postgres/wal/decoder.ts';
import { WalError } from '../../lib/postgres/wal/errors.ts';
import { newWalRecord } from '../../lib/postgres/wal/record.ts';
import { DataDirectory } from './data-directory.ts';
import { PageFile } from './page-file.ts';
import { WalFolder } from './wal-folder.ts';

export interface CheckFolderOptions {
  /** Folder of WAL segments. */
  wal: string;
  /** Data directory as it was when the WAL began. */
  data?: string | undefined;
  /** For pages in memory; default 512 MiB. */
  memoryBytes?: number;
  onFailure?: (failure: CheckFailure) => void;
  /** About every 100 MB. */
  onProgress?: (progress: { position: Lsn; doneBytes: number; totalBytes: number }) => void;
}

export interface CheckFolderResult {
  from: string;
  to: string;
  records: number;
  counts: CheckCount[];
  /** Blocks that took their first state from an image, that had none, and that were newer than the record. */
  adopted: number;
  unknown: number;
  ahead: number;
  mismatches: number;
  errors: number;
  /** The first failures, as text. */
  failures: string[];
  /** What could not be decoded, when the log goes on behind it; null when the log just ends. */
  undecodable: string | null;
}

const FAILURES_KEPT = 100;
const PROGRESS_BYTES = 100 << 20;

/** Throws WalFolderError when the folder is no WAL of a supported Postgres. */
export function checkFolder(options: CheckFolderOptions): CheckFolderResult {
  const folder = new WalFolder(options.wal, postgres18);
  const base = options.data === undefined ? undefined : new DataDirectory(options.data);
  const pages = new PageFile({ memoryBytes: options.memoryBytes ?? 512 << 20, base });
  const failures: string[] = [];
  const check = new RedoCheck({
    facts: postgres18,
    pages,
    mayBeAhead: base !== undefined,
    onFailure: (failure) => {
      if (failures.length < FAILURES_KEPT) failures.push(formatFailure(failure));
      options.onFailure?.(failure);
    },
  });
  const decoder = new WalDecoder({
    startLsn: folder.start,
    facts: postgres18,
    segmentBytes: folder.segmentBytes,
    systemIdentifier: folder.systemIdentifier,
    crc32c,
  });
  let undecodable: string | null = null;
  try {
    undecodable = replay(folder, decoder, check, options);
  } finally {
    pages.close();
    base?.close();
  }
  const counts = check.report();
  return {
    from: formatLsn(folder.start),
    to: formatLsn(decoder.endLsn),
    records: check.records,
    counts,
    adopted: check.adopted,
    unknown: check.unknown,
    ahead: check.ahead,
    mismatches: check.mismatches,
    errors: check.errors,
    failures,
    undecodable,
  };
}

function replay(
  folder: WalFolder,
  decoder: WalDecoder,
  check: RedoCheck,
  options: CheckFolderOptions,
): string | null {
  const record = newWalRecord();
  let told = 0;
  for (const chunk of folder.read(folder.start)) {
    decoder.push(chunk);
    try {
      while (decoder.next(record)) check.check(record);
    } catch (error) {
      if (!(error instanceof WalError)) throw error;
      return folder.goesOnAfter(error.lsn) ? error.message : null;
    }
    const doneBytes = decoder.endLsn - folder.start;
    if (doneBytes - told < PROGRESS_BYTES) continue;
    told = doneBytes;
    options.onProgress?.({ position: decoder.endLsn, doneBytes, totalBytes: folder.bytes });
  }
  return null;
}
