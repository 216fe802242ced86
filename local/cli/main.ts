/**
 * The `ebb` command.
 *
 *   ebb start     one whole Ebb on this machine
 *   ebb dev       the same Worker under `wrangler dev`
 *   ebb inspect   where a row went, in a running Ebb
 *   ebb safekeeper   who holds the log of a branch; `replace` one
 *   ebb import    a project of a cluster that was somewhere else
 *   ebb redo-check   is redo right for this WAL?
 *
 * Commands load what they need when they run: `ebb inspect` needs no runtime.
 * An error that a person can do something about is one line on stderr and exit code 1; a stack says that
 * the fault is ours.
 */
import { Command, InvalidArgumentError, Option } from 'commander';
import { ControlPlaneError } from '../instance/control-plane.ts';
import { PortError } from '../instance/instance.ts';
import { LockedError } from '../instance/lock.ts';
import { defineImport } from '../import/command.ts';
import { defineRedoCheck } from '../redo-check/main.ts';
import { addInspectCommands } from './inspect/commands.ts';
import type { DevOptions } from './dev.ts';
import { InspectError, type Target } from './inspect/client.ts';
import type { StartOptions } from './start.ts';

const port = (text: string): number => {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > 65_535) throw new InvalidArgumentError('not a port');
  return value;
};
const seconds = (text: string): number => {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 0) throw new InvalidArgumentError('not a number of seconds');
  return value;
};

const dirOption = () => new Option('--dir <folder>', 'where everything is kept').default('.ebb');
const portOption = () => new Option('--port <n>', 'HTTP and WebSocket').argParser(port).default(8787);
const postgresPortOption = () =>
  new Option('--pg-port <n>', "Postgres's own protocol").argParser(port).default(5432);
const suspendOption = () =>
  new Option(
    '--suspend-after <seconds>',
    'stop a compute that is idle for so long; 0 never (default: 300)',
  ).argParser(seconds);

const program = new Command('ebb').description('Serverless Postgres on your own Cloudflare account');
program
  .command('start')
  .description('run Ebb on this machine: the Worker, its Durable Objects and containers')
  .addOption(dirOption())
  .addOption(portOption())
  .addOption(postgresPortOption())
  .addOption(suspendOption())
  .option('--json', 'when ready, print one line of JSON on stdout and nothing else there')
  .action(async (options: StartOptions) => (await import('./start.ts')).start(options));
program
  .command('dev')
  .description('run `wrangler dev` with containers as processes instead of Docker')
  .addOption(dirOption())
  .addOption(portOption())
  .addOption(postgresPortOption())
  .argument('[wrangler...]', 'further arguments for wrangler dev, after --')
  .action(async (args: string[], options: DevOptions) => (await import('./dev.ts')).dev(args, options));
addInspectCommands(program.command('inspect').description('where a row went, in a running Ebb'), dirOption);
const safekeeperCommand = program.command('safekeeper').description('who holds the log of a branch');
const ofBranch = (command: Command): Command =>
  command
    .addOption(dirOption())
    .option('--project <id>', 'default: the first project')
    .option('--branch <name>', 'default: its first branch');
ofBranch(safekeeperCommand.command('list').description('generation and numbers')).action(
  async (options: Target) => (await import('./safekeeper.ts')).listSafekeepers(options),
);
ofBranch(
  safekeeperCommand
    .command('replace')
    .description('put a new one at a place, while commits go on: its storage is gone, or in the wrong place')
    .argument('<place>', '1, 2 or 3'),
).action(async (place: string, options: Target) =>
  (await import('./safekeeper.ts')).replaceSafekeeper(place, options),
);
defineRedoCheck(program.command('redo-check'));
defineImport(program.command('import'), dirOption);

try {
  await program.parseAsync();
} catch (error) {
  process.stderr.write(`ebb: ${describe(error)}\n`);
  process.exit(1);
}

function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const expected = [PortError, LockedError, InspectError, ControlPlaneError];
  if (error.name === 'ImportError' || error.name === 'BackupError' || error.name === 'ScramError')
    return error.message;
  if (expected.some((type) => error instanceof type)) return error.message;
  return error.stack ?? error.message;
}
