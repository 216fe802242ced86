/**
 * `ebb redo-check`: is redo right for this WAL?
 *
 *   --wal DIR   WAL of a Postgres that ran with wal_consistency_checking = all
 *   --run       a Postgres of its own, with workloads that reach every record type
 *
 * Exits with 1 on a mismatch, a refusal or an undecodable record, with 2 when there is nothing to be checked.
 */
import { formatLsn } from '../../lib/postgres/lsn.ts';
import { checkFolder, type CheckFolderOptions, type CheckFolderResult } from './check-folder.ts';
import { exitCodeOf, formatResult } from './report.ts';
import { WalFolderError } from './wal-folder.ts';

export interface RedoCheckCommandOptions {
  wal?: string;
  data?: string;
  run?: boolean;
  long?: boolean;
  memory?: number;
  json?: boolean;
}

/** Sets the process's exit code. */
export async function redoCheck(options: RedoCheckCommandOptions): Promise<void> {
  if ((options.wal === undefined) === (options.run !== true)) {
    process.stderr.write('ebb redo-check: give either --wal DIR or --run\n');
    process.exitCode = 2;
    return;
  }
  try {
    if (options.wal !== undefined) {
      print(checkFolder(folderOptions(options.wal, options)), options.json === true);
      return;
    }
    const { runAndCheck } = await import('./run.ts');
    for await (const [kind, result] of runAndCheck({ long: options.long === true, tell })) {
      tell(`\n${kind.name}`);
      print(result, options.json === true);
    }
  } catch (error) {
    if (!(error instanceof WalFolderError)) throw error;
    process.stderr.write(`ebb redo-check: ${error.message}\n`);
    process.exitCode = 2;
  }
}

function tell(line: string): void {
  process.stderr.write(`${line}\n`);
}

function folderOptions(wal: string, options: RedoCheckCommandOptions): CheckFolderOptions {
  return {
    wal,
    data: options.data,
    memoryBytes: (options.memory ?? 512) * (1 << 20),
    onProgress: ({ position, doneBytes, totalBytes }) =>
      tell(`${formatLsn(position)}: ${doneBytes >>> 20} of at most ${Math.round(totalBytes / (1 << 20))} MB`),
  };
}

function print(result: CheckFolderResult, json: boolean): void {
  process.stdout.write(json ? `${JSON.stringify(result)}\n` : `${formatResult(result)}\n`);
  if (exitCodeOf(result) !== 0) process.exitCode = 1;
}
