import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { makeTemplate } from '../../../../containers/pageserver/template/make-template.ts';
import { parseLsn } from '../../../../lib/postgres/lsn.ts';
import { readLsn } from '../../../../lib/postgres/layout.ts';
import { TIMELINE_START_LSN } from '../../../../lib/protocol/specs.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ebb-template-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

test('a template is a cleanly stopped cluster whose WAL ends before any timeline starts', async () => {
  const dir = join(folder, '18');
  await makeTemplate(dir);
  expect((await readFile(join(dir, 'PG_VERSION'), 'utf8')).trim()).toBe('18');
  const control = await readFile(join(dir, 'global/pg_control'));
  const data = new DataView(control.buffer, control.byteOffset, control.byteLength);
  expect(data.getUint32(16, true), 'DB_SHUTDOWNED').toBe(1);
  expect(data.getUint32(252, true), 'data checksums').toBe(0);
  expect(data.getInt32(172, true), 'wal_level replica').toBe(1);
  expect(readLsn(data, 32)).toBeLessThan(parseLsn(TIMELINE_START_LSN));
  expect(await readdir(join(dir, 'base')), 'initdb’s databases and a blank one').toHaveLength(4);
  expect(await readdir(folder), 'no work folder is left').toEqual(['18']);
  await expect(makeTemplate(dir), 'an existing one is kept').rejects.toThrow('18 failed');
});

test('what initdb says is in the error, and nothing is left behind', async () => {
  await expect(makeTemplate(join(folder, 'bad'), '/bin/false')).rejects.toThrow('initdb of the template');
  expect(await readdir(folder)).toEqual(['18']);
});
