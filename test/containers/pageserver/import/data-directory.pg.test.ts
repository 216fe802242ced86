/** A stopped data directory as entries: what is refused by name, and that checksums are looked at. */
import { appendFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DataDirectory } from '../../../../containers/pageserver/import/data-directory.ts';
import { formatKey, type Key } from '../../../../lib/storage/key.ts';
import { PostgresCluster } from '../../../support/postgres-cluster.ts';

let cluster: PostgresCluster;
let table: string;
beforeAll(async () => {
  cluster = await PostgresCluster.create({
    superuser: 'postgres',
    initdbArguments: [
      '--username=postgres',
      '--data-checksums',
      '--encoding=UTF8',
      '--locale=C',
      '--no-sync',
    ],
  });
  await cluster.query(
    'CREATE TABLE t AS SELECT i FROM generate_series(1, 5000) i; CREATE UNLOGGED TABLE u AS SELECT 1',
  );
  [{ path: table }] = await cluster.query<{ path: string }>(`SELECT pg_relation_filepath('t') AS path`);
  await cluster.stop();
});
afterAll(() => cluster.remove());

const drain = async (): Promise<Key[]> => {
  const keys: Key[] = [];
  for await (const { key } of (await DataDirectory.open(cluster.dataDirectory)).entries()) keys.push(key);
  return keys;
};

test('every entry once, in key order; unlogged relations have their init fork only', async () => {
  const keys = await drain();
  expect(keys.length).toBeGreaterThan(3000);
  for (let at = 1; at < keys.length; at++)
    if (keys[at - 1] >= keys[at]) throw new Error(`${formatKey(keys[at - 1])} before ${formatKey(keys[at])}`);
  const [, , database, relation] = table.split('/').length === 3 ? ['', ...table.split('/')] : [];
  expect(
    keys.map(formatKey).filter((name) => name.includes(`/${database}/${relation}`)).length,
  ).toBeGreaterThan(20);
});

describe('is refused by name:', () => {
  const changed = async (path: string, change: (bytes: Buffer) => Buffer, code: string, words: string) => {
    const file = join(cluster.dataDirectory, path);
    const bytes = readFileSync(file);
    writeFileSync(file, change(Buffer.from(bytes)));
    try {
      await expect(drain()).rejects.toMatchObject({ name: 'ImportError', code });
      await expect(drain()).rejects.toThrow(words);
    } finally {
      writeFileSync(file, bytes);
    }
  };
  test('another major version', () =>
    changed('PG_VERSION', () => Buffer.from('17\n'), 'version', '18 expected'));
  test('a page whose checksum does not hold', () =>
    changed(
      table,
      (bytes) => {
        bytes[8192 * 3 + 5000] ^= 1;
        return bytes;
      },
      'damaged',
      'block 3',
    ));
  test('a file that is not whole pages', async () => {
    const file = join(cluster.dataDirectory, table);
    const bytes = readFileSync(file);
    appendFileSync(file, 'x');
    await expect(drain()).rejects.toMatchObject({ code: 'damaged' });
    writeFileSync(file, bytes);
  });
  test.each([
    ['pg_tblspc/16999', 'tablespaces'],
    ['pg_twophase/0000000000000300', 'prepared'],
  ])('%s', async (path, code) => {
    mkdirSync(join(cluster.dataDirectory, path));
    await expect(drain()).rejects.toMatchObject({ code });
    rmSync(join(cluster.dataDirectory, path), { recursive: true });
  });
  test('a folder that is none', async () => {
    await expect(DataDirectory.open('/tmp')).rejects.toMatchObject({ code: 'notDataDirectory' });
  });
});
