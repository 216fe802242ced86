/**
 * `npm run sim`: the consensus in simulated worlds.
 *
 *   npm run sim -- --seeds 10000 --from 1     many; stops at the first failure unless --keep-going
 *   npm run sim -- 4711                       one, with everything that happens in it
 *   npm run sim -- --bug NAME [4711]          with a planted bug
 */
import { Command, InvalidArgumentError } from 'commander';
import { BUGS, seamsOf } from '../../lib/sim/bugs.ts';
import { simulate } from '../../lib/sim/simulation.ts';

interface Options {
  seeds: number;
  from: number;
  bug?: string;
  keepGoing?: boolean;
  json?: boolean;
}
const count = (text: string): number => {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 0) throw new InvalidArgumentError('not a number');
  return value;
};

/** True when it went well. */
function one(seed: number, options: Options): boolean {
  const result = simulate(seed, { seams: seamsOf(options.bug), trace: (line) => console.log(line) });
  console.log(JSON.stringify(result.options));
  console.log(`${result.steps} steps, faults ${JSON.stringify(result.faults)}`);
  console.log(`seed ${seed}: ${result.failure ?? 'well'}`);
  return result.failure === null;
}

/** How many failed. */
function many(options: Options): number {
  const { from, seeds } = options;
  const faults: Record<string, number> = {};
  let [steps, committed, failed, replacements, done] = [0, 0, 0, 0, 0];
  const began = performance.now();
  const cpu = process.cpuUsage();
  for (let seed = from; seed < from + seeds; seed++) {
    const result = simulate(seed, { seams: seamsOf(options.bug) });
    done++;
    steps += result.steps;
    committed += result.committedBytes;
    replacements += Math.floor((result.generations - 1) / 2);
    for (const [kind, times] of Object.entries(result.faults)) faults[kind] = (faults[kind] ?? 0) + times;
    if (result.failure === null) continue;
    failed++;
    const bug = options.bug === undefined ? '' : `--bug ${options.bug} `;
    console.log(`seed ${seed}: ${result.failure}\n  repeat: npm run sim -- ${bug}${seed}`);
    if (options.keepGoing !== true) break;
  }
  const seconds = (performance.now() - began) / 1000;
  const used = process.cpuUsage(cpu);
  const cpuSeconds = (used.user + used.system) / 1e6;
  const summary = {
    seeds: done,
    from,
    failed,
    steps,
    seconds: Math.round(seconds * 10) / 10,
    cpuSeconds: Math.round(cpuSeconds * 10) / 10,
    stepsPerCpuSecond: Math.round(steps / cpuSeconds),
    committedBytes: committed,
    membersChanged: replacements,
    faults,
  };
  console.log(options.json === true ? JSON.stringify(summary) : summary);
  return failed;
}

new Command('sim')
  .argument('[seed]', 'repeat this one, with a trace', count)
  .option('--seeds <n>', 'how many', count, 1000)
  .option('--from <n>', 'the first one', count, 1)
  .option('--bug <name>', `plant one of: ${Object.keys(BUGS).join(', ')}`)
  .option('--keep-going', 'do not stop at a failure')
  .option('--json', 'the summary as one line of JSON')
  .action((seed: number | undefined, options: Options) => {
    const isWell = seed === undefined ? many(options) === 0 : one(seed, options);
    process.exitCode = isWell ? 0 : 1;
  })
  .parse();
