import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { loadConfig, postgresUrl, readConfig, saveConfig } from '../../../local/instance/config.ts';

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ebb-config-'));
  path = join(folder, 'config.json');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const connection = {
  projectId: 'calm-sea-1',
  endpointId: 'ep-calm-sea-1',
  database: 'ma in',
  role: 'own/er',
  password: 'p@ss:word',
};

test('made once, readable by its owner only, the same ever after', () => {
  const config = loadConfig(path);
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(loadConfig(path)).toEqual(config);
  saveConfig(path, { ...config, connection });
  expect(readConfig(path)).toEqual({ ...config, connection });
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(readFileSync(path, 'utf8')).toContain('calm-sea-1');
});

test('a file that is not one is named', () => {
  writeFileSync(path, '{"version": 7}');
  expect(() => loadConfig(path)).toThrow(path);
  expect(() => readConfig(join(folder, 'none.json'))).toThrow('none.json');
});

test('the URL escapes what a URL must, and names the endpoint without DNS', () => {
  expect(postgresUrl(connection, 5433)).toBe(
    'postgres://own%2Fer:p%40ss%3Aword@localhost:5433/ma%20in?options=endpoint%3Dep-calm-sea-1',
  );
});
