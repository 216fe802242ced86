import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { LockedError, readHolder, takeLock } from '../../../local/instance/lock.ts';
import { identify } from '../../../local/system/processes.ts';

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ebb-lock-'));
  path = join(folder, 'ebb.json');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));
const ports = { httpPort: 8787, postgresPort: 5432 };

test('taken once, released, taken again; nothing else stays in the folder', () => {
  const lock = takeLock(path, ports);
  expect(lock.wasLeft).toBe(false);
  expect(readHolder(path)).toEqual({ ...identify(process.pid), ...ports });
  expect(() => takeLock(path, ports)).toThrow(LockedError);
  expect(() => takeLock(path, ports)).toThrow(/process \d+, ports 8787 and 5432/);
  lock.release();
  expect(readHolder(path)).toBeNull();
  takeLock(path, ports).release();
  expect(readdirSync(folder)).toEqual([]);
});

test.each([
  ['of a process that is gone', JSON.stringify({ pid: 999_999_999, startTime: '1', ...ports })],
  ['of an id that another process has now', JSON.stringify({ pid: process.pid, startTime: '1', ...ports })],
  ['cut short by a kill', '{"pid":'],
  ['empty', ''],
])('a lock %s is taken over', (_, content) => {
  writeFileSync(path, content);
  expect(readHolder(path)).toBeNull();
  expect(takeLock(path, ports).wasLeft).toBe(true);
  expect(readHolder(path)?.pid).toBe(process.pid);
  expect(readdirSync(folder)).toEqual(['ebb.json']);
});

test('whoever has it learns that it was taken away', async () => {
  const lock = takeLock(path, ports);
  expect(lock.isHeld()).toBe(true);
  rmSync(path);
  await expect(lock.lost).rejects.toThrow(/taken away/);
  expect(lock.isHeld()).toBe(false);
  writeFileSync(path, 'of another');
  lock.release();
  expect(readdirSync(folder)).toEqual(['ebb.json']);
});
