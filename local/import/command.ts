/** `ebb import`: into the Ebb that runs in a folder, or into a deployed one. */
import { Option, type Command } from 'commander';
import type { ImportOptions } from './import.ts';

interface Options {
  dir: string;
  name?: string;
  work?: string;
  to?: string;
  apiKey?: string;
  json?: boolean;
}

export function defineImport(command: Command, dirOption: () => Option): void {
  command
    .description('make a project of a stopped data directory, or of a running Postgres, of version 18')
    .argument('<source>', 'a data directory, or postgres://USER:PASSWORD@HOST/ of a role with REPLICATION')
    .addOption(dirOption())
    .option('--name <name>', 'of the project')
    .option(
      '--work <folder>',
      'room for a copy of the cluster while the import runs (default: the temporary folder)',
    )
    .addOption(
      new Option('--to <url>', 'a deployed Ebb, in place of the one that runs in --dir').env('EBB_URL'),
    )
    .addOption(new Option('--api-key <key>', 'of that one').env('EBB_API_KEY'))
    .option('--json', 'one line of JSON on stdout, nothing else there')
    .action(run);
}

async function run(source: string, options: Options): Promise<void> {
  const [{ importCluster }, { Progress }, { controlPlaneOf }] = await Promise.all([
    import('./import.ts'),
    import('./progress.ts'),
    import('./target.ts'),
  ]);
  const progress = new Progress(process.stderr);
  const given: ImportOptions = {
    source,
    controlPlane: controlPlaneOf(options),
    progress,
    ...(options.name === undefined ? {} : { name: options.name }),
    ...(options.work === undefined ? {} : { workFolder: options.work }),
  };
  const imported = await importCluster(given);
  if (options.json === true) process.stdout.write(`${JSON.stringify(imported)}\n`);
  else {
    progress.say(`imported ${imported.pages} pages into project ${imported.projectId}`);
    process.stdout.write(`psql '${imported.connectionUri}'\n`);
    if (!imported.hasPassword) progress.say('with the password that the role has had');
  }
}
