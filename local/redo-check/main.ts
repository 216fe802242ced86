/** The redo check as a process of its own; `ebb redo-check` and `npm run redo-check` are the same. */
import { Command, InvalidArgumentError } from 'commander';
import type { RedoCheckCommandOptions } from './command.ts';

/** Adds the options and the action to `command`. */
export function defineRedoCheck(command: Command): Command {
  return command
    .description('replay WAL and compare every touched block with the image that Postgres put beside it')
    .option('--wal <folder>', 'WAL segments of a Postgres with wal_consistency_checking = all')
    .option('--data <folder>', 'the data directory as it was when that WAL began')
    .option('--run', 'start a Postgres, run workloads that reach every record type, check them')
    .option('--long', 'with --run: more of everything')
    .option('--memory <MiB>', 'for pages (default: 512)', (text) => {
      const value = Number(text);
      if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError('not a number of MiB');
      return value;
    })
    .option('--json', 'one line of JSON instead of the table')
    .action(async (options: RedoCheckCommandOptions) => (await import('./command.ts')).redoCheck(options));
}

if (import.meta.main) await defineRedoCheck(new Command('redo-check')).parseAsync();
