import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import {
  belongingProcesses,
  endProcess,
  endProcesses,
  identify,
  isAlive,
  processInfo,
} from '../../../local/system/processes.ts';

let disk: string;
const children: ChildProcess[] = [];
beforeEach(() => {
  disk = realpathSync(mkdtempSync(join(tmpdir(), 'ebb-processes-')));
});
afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  rmSync(disk, { recursive: true, force: true });
});

async function run(
  program: string,
  args: string[],
  options: { env?: Record<string, string>; cwd?: string } = {},
) {
  const child = spawn(program, args, {
    stdio: ['ignore', 'pipe', 'ignore'],
    ...options,
    env: { PATH: process.env.PATH, ...options.env },
  });
  children.push(child);
  await once(child, 'spawn');
  return child;
}
const belonging = () => ({ marker: `EBB_TEST_DISK=${disk}`, disk });
const ids = () => belongingProcesses(belonging()).map((info) => info.pid);

test('a process is known by its start time too: a later one with the same id is another', async () => {
  const child = await run('sleep', ['60']);
  const identity = identify(child.pid!);
  expect(isAlive(identity)).toBe(true);
  expect(isAlive({ ...identity, startTime: String(Number(identity.startTime) - 1) })).toBe(false);
  await endProcess(identity);
  expect(isAlive(identity)).toBe(false);
  await endProcess(identity);
});

test('a name with blanks and parentheses does not shift the fields', async () => {
  const program = join(disk, 'a) b (c');
  copyFileSync('/bin/sleep', program);
  const child = await run(program, ['60']);
  expect(processInfo(child.pid!)).toMatchObject({ name: 'a) b (c', parent: process.pid, zombie: false });
});

test('what belongs: the marked, their children, and a Postgres whose working directory is on the disk', async () => {
  const script = 'env -i sleep 60 & echo started; wait';
  const marked = await run('sh', ['-c', script], { env: { EBB_TEST_DISK: disk } });
  await once(marked.stdout, 'data');
  const postgres = join(disk, 'postgres');
  copyFileSync('/bin/sleep', postgres);
  const cluster = await run(postgres, ['60'], { cwd: disk });
  const stranger = await run('sleep', ['60'], { cwd: disk });
  const other = await run('sleep', ['60'], { env: { EBB_TEST_DISK: `${disk}-other` } });

  const found = ids();
  expect(found).toContain(marked.pid);
  expect(found).toContain(cluster.pid);
  expect(found).toHaveLength(3);
  expect(found).not.toContain(stranger.pid);
  expect(found).not.toContain(other.pid);

  const ended = await endProcesses(() => belongingProcesses(belonging()));
  expect(ended).toEqual(new Set(found));
  expect(ids()).toEqual([]);
  expect(isAlive(identify(stranger.pid!))).toBe(true);
});
