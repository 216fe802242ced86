import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { importTemplate } from '../../../../containers/pageserver/import/template.ts';
import { CheckPoint } from '../../../../lib/postgres/checkpoint.ts';
import {
  DATABASE_STATE,
  decodeControlFile,
  encodeControlFile,
  type ControlFileFields,
} from '../../../../lib/postgres/control-file.ts';
import { parseLsn } from '../../../../lib/postgres/lsn.ts';
import { TIMELINE_START_LSN } from '../../../../lib/protocol/specs.ts';
import { CHECKPOINT_KEY } from '../../../../lib/storage/key.ts';
import { buildBootManifest } from '../../../../lib/storage/state/boot-manifest.ts';
import { TimelineState } from '../../../../lib/storage/state/timeline-state.ts';
import { forkFiles } from '../../../support/ground-truth.ts';
import { MemoryStore } from '../../../support/memory-store.ts';
import { initdbTemplate } from '../../../support/postgres-cluster.ts';

const startLsn = parseLsn(TIMELINE_START_LSN);
const systemIdentifier = 7_000_000_000_000_000_001n;
let scratch: string;
let template: string;

beforeAll(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'ebb-template-'));
  template = await initdbTemplate();
});
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

test('every page and file of the template is there, under the new system identifier', async () => {
  const store = new MemoryStore();
  await importTemplate({ directory: template, startLsn, systemIdentifier }, (key, value) =>
    store.put(startLsn, key, value),
  );
  const { manifest } = await buildBootManifest(store.view(startLsn));
  expect(manifest.systemIdentifier).toBe(String(systemIdentifier));
  expect(manifest.previousLsn).toBe('0/0');
  const files = [...forkFiles(template).values()];
  expect(manifest.relations).toHaveLength(files.length);
  expect(manifest.relations.map(([, , , , blocks]) => blocks).reduce((sum, blocks) => sum + blocks, 0)).toBe(
    files.reduce((sum, { blocks }) => sum + blocks, 0),
  );
  expect(manifest.files.map(({ path }) => path).sort()).toEqual([
    'PG_VERSION',
    'base/1/PG_VERSION',
    'base/1/pg_filenode.map',
    'base/4/PG_VERSION',
    'base/4/pg_filenode.map',
    'base/5/PG_VERSION',
    'base/5/pg_filenode.map',
    'global/pg_filenode.map',
  ]);
  const control = decodeControlFile(readFileSync(join(template, 'global/pg_control')));
  expect(CheckPoint.decode(store.get(CHECKPOINT_KEY, startLsn) ?? new Uint8Array(0))).toEqual(
    control.checkPointCopy,
  );
  const state = await TimelineState.load(store.view(startLsn));
  expect(state.databases.size).toBe(3);
});

/** What is wrong is found before the databases are read. */
const copyWithoutDatabases = (to: string): void =>
  cpSync(template, to, { recursive: true, filter: (from) => from !== join(template, 'base') });

test.each<[string, (control: ControlFileFields) => ControlFileFields, string]>([
  [
    'one that was not stopped',
    (control) => ({ ...control, state: DATABASE_STATE.inProduction }),
    'was not stopped cleanly: state 6, 1 expected',
  ],
  [
    'one with newer WAL',
    (control) => ({ ...control, checkPoint: parseLsn('0/3000028') }),
    'has its last checkpoint at 0/3000028: before 0/3000000 expected',
  ],
  ['one with checksums', (control) => ({ ...control, dataChecksumVersion: 1 }), 'has data checksums'],
])('%s is refused', async (name, change, message) => {
  const directory = join(scratch, name.replaceAll(' ', '-'));
  copyWithoutDatabases(directory);
  const path = join(directory, 'global/pg_control');
  writeFileSync(path, encodeControlFile(change(decodeControlFile(readFileSync(path)))));
  await expect(importTemplate({ directory, startLsn, systemIdentifier }, () => undefined)).rejects.toThrow(
    message,
  );
});

test('tablespaces and prepared transactions are refused', async () => {
  for (const [folder, message] of [
    ['pg_twophase', 'has prepared transactions: none expected'],
    ['pg_tblspc', 'has tablespaces: none can be kept'],
  ]) {
    const directory = join(scratch, `with-${folder}`);
    copyWithoutDatabases(directory);
    writeFileSync(join(directory, folder, '16500'), '');
    const importing = importTemplate({ directory, startLsn, systemIdentifier }, () => undefined);
    await expect(importing).rejects.toThrow(message);
  }
});

test('a damaged pg_control or a torn relation file is refused by name', async () => {
  const directory = join(scratch, 'damaged');
  copyWithoutDatabases(directory);
  writeFileSync(join(directory, 'global/1262'), new Uint8Array(8000));
  await expect(importTemplate({ directory, startLsn, systemIdentifier }, () => undefined)).rejects.toThrow(
    'global/1262 has 8000 bytes: not a multiple of 8192',
  );
  const control = readFileSync(join(directory, 'global/pg_control'));
  control[20] ^= 1;
  writeFileSync(join(directory, 'global/pg_control'), control);
  await expect(importTemplate({ directory, startLsn, systemIdentifier }, () => undefined)).rejects.toThrow(
    /pg_control has CRC/,
  );
});
