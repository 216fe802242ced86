import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { imageOfClass, readWranglerConfig, ROOT } from '../../../local/edge/wrangler-config.ts';
import { ebbImages } from '../../../local/instance/images.ts';
import { sources } from '../../../local/instance/programs.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ebb-wrangler-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const original = readFileSync(join(ROOT, 'wrangler.toml'), 'utf8');
const changed = (change: (text: string) => string): string => {
  const path = join(folder, 'wrangler.toml');
  writeFileSync(path, change(original));
  return path;
};

test('every class has SQLite, every container class an image', () => {
  const config = readWranglerConfig();
  const classes = config.durable_objects.bindings.map((binding) => binding.class_name);
  expect(config.migrations.flatMap((migration) => migration.new_sqlite_classes)).toEqual(classes);
  const images = Object.keys(ebbImages(sources(), '/template'));
  expect(config.containers.map((container) => imageOfClass(container.class_name))).toEqual(images);
});

test('a section that the one-machine edge would not follow is an error', () => {
  const path = changed((text) => `${text}\n[[kv_namespaces]]\nbinding = "CACHE"\nid = "x"\n`);
  expect(() => readWranglerConfig(path)).toThrow(/kv_namespaces/);
});

test('a wrong value is named with its place', () => {
  const path = changed((text) => text.replace('binding = "BUCKET"', 'binding = 7'));
  expect(() => readWranglerConfig(path)).toThrow(/r2_buckets\.0\.binding/);
});
