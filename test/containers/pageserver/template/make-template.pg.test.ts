import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { makeTemplate } from '../../../../containers/pageserver/template/make-template.ts';
import { importTemplate } from '../../../../containers/pageserver/import/template.ts';
import {
  firstLayerOf,
  makeTemplateLayer,
} from '../../../../containers/pageserver/template/template-layer.ts';
import { parseLsn } from '../../../../lib/postgres/lsn.ts';
import { readLsn } from '../../../../lib/postgres/layout.ts';
import { TIMELINE_START_LSN, type TimelineSpec } from '../../../../lib/protocol/specs.ts';
import { ALL_KEYS, keyHex, type Key } from '../../../../lib/storage/key.ts';
import type { ImageDescriptor } from '../../../../lib/storage/layers/descriptor.ts';
import { openLayer } from '../../../lib/storage/layers/support.ts';

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

test('the layer of a template, adopted by a timeline, is what an import of the template gives', async () => {
  const directory = join(folder, '18');
  await makeTemplateLayer(directory);
  const spec: TimelineSpec = {
    projectId: 'p',
    timelineId: 'ab'.repeat(16),
    postgresMajor: 18,
    systemIdentifier: '7654321',
    startLsn: TIMELINE_START_LSN,
    origin: { kind: 'template' },
  };
  const lsn = parseLsn(TIMELINE_START_LSN);
  const descriptor: ImageDescriptor = { kind: 'image', keys: ALL_KEYS, lsn, generation: 3 };
  const file = await firstLayerOf(directory, spec, descriptor);
  const layer = await openLayer(descriptor, file!, { timelineId: spec.timelineId });

  const expected = new Map<Key, Uint8Array>();
  const source = { directory, startLsn: lsn, systemIdentifier: 7654321n };
  await importTemplate(source, (key, value) => expected.set(key, value));
  for await (const entry of layer.scan(ALL_KEYS, false)) {
    const value = expected.get(entry.key);
    expect(value !== undefined && Buffer.compare(entry.value, value) === 0, keyHex(entry.key)).toBe(true);
    expect(entry.lsn).toBe(lsn);
    expected.delete(entry.key);
  }
  expect(expected.size, 'left out').toBe(0);

  expect(await firstLayerOf(directory, { ...spec, startLsn: '0/4000000' }, descriptor)).toBeNull();
  expect(await firstLayerOf(join(folder, 'none'), spec, descriptor)).toBeNull();
});
