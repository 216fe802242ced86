/**
 * `npm run explore -- --proposers 2 --acceptors 3 --terms 2 --entries 2`: every state of a small world of the consensus
 * (lib/sim/explore.ts), and how many they are.
 */
import { Command, InvalidArgumentError } from 'commander';
import { explore, type ExploreOptions } from '../../lib/sim/explore.ts';

const count = (text: string): number => {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError('not a number from 1 on');
  return value;
};

new Command('explore')
  .option('--proposers <n>', 'slots in which processes run', count, 2)
  .option('--acceptors <n>', 'how many', count, 3)
  .option('--terms <n>', 'a process starts in any of them', count, 2)
  .option('--entries <n>', 'in a log', count, 1)
  .option('--states-max <n>', 'give up beyond', count, 10_000_000)
  .action((bounds: ExploreOptions) => {
    const began = performance.now();
    const cpu = process.cpuUsage();
    const seconds = (): number => Math.round((performance.now() - began) / 100) / 10;
    const onProgress = (states: number, waiting: number): void =>
      console.error(`${states} states, ${waiting} waiting, ${seconds()} s`);
    const explored = explore({ ...bounds, onProgress });
    const { user, system } = process.cpuUsage(cpu);
    console.log({ ...explored, seconds: seconds(), cpuSeconds: Math.round((user + system) / 1e5) / 10 });
    process.exitCode = explored.complete ? 0 : 1;
  })
  .parse();
