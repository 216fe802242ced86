import { expect, test } from 'vitest';
import { Progress } from '../../../local/import/progress.ts';

function shown(isTTY: boolean) {
  const written: string[] = [];
  let now = 0;
  const progress = new Progress({ isTTY, write: (text) => void written.push(text) }, () => now);
  return { progress, written, pass: (ms: number) => (now += ms) };
}
const MIB = 2 ** 20;

test('elsewhere than on a terminal: a line at the beginning, every few seconds, and at the end', () => {
  const { progress, written, pass } = shown(false);
  for (let done = 0; done <= 100; done++) {
    progress.show('copy', done * MIB, 100 * MIB);
    pass(200);
  }
  progress.say('next');
  expect(written).toEqual([
    'copy: 0 of 100 MiB\n',
    'copy: 25 of 100 MiB\n',
    'copy: 50 of 100 MiB\n',
    'copy: 75 of 100 MiB\n',
    'copy: 100 of 100 MiB\n',
    'next\n',
  ]);
});

test('a step that is larger than was thought does not write a line for every piece', () => {
  const { progress, written } = shown(false);
  for (let done = 0; done < 1000; done++) progress.show('backup', done * MIB, Math.max(done, 10) * MIB);
  expect(written).toEqual(['backup: 0 of 10 MiB\n', 'backup: 10 of 10 MiB\n']);
});

test('on a terminal: a bar in one line', () => {
  const { progress, written, pass } = shown(true);
  progress.show('copy', 0, 10 * MIB);
  pass(1000);
  progress.show('copy', 5 * MIB, 10 * MIB);
  progress.say('done');
  expect(written[1]).toContain('\rcopy ███████████████░░░░░░░░░░░░░░░  50 %  5 of 10 MiB');
  expect(written.join('')).toMatch(/\ndone\n$/);
});
