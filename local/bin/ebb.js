#!/usr/bin/env node
/**
 * The `ebb` command for any Node: finds one that runs TypeScript (24 or newer) and lets it run local/cli/main.ts.
 * The package `node-linux-*` brings one along, so an older Node on the machine is enough to begin with.
 */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import module from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const MAJOR_MIN = 24;
const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const main = join(root, 'local', 'cli', 'main.ts');

if (!existsSync(join(root, 'node_modules', 'commander'))) {
  console.error(`ebb: its packages are missing; run npm install in ${root} first`);
  process.exit(1);
} else if (Number(process.versions.node.split('.')[0]) >= MAJOR_MIN) {
  // Compiled code is kept, so that later starts do not parse the same modules again.
  module.enableCompileCache?.(join(root, 'node_modules', '.cache', 'ebb'));
  await import(main);
} else {
  const node = bundledNode();
  if (!node) {
    console.error(
      `ebb needs Node ${MAJOR_MIN} or newer; this is ${process.version}, and none came with npm install`,
    );
    process.exit(1);
  }
  const child = spawn(node, [fileURLToPath(import.meta.url), ...process.argv.slice(2)], { stdio: 'inherit' });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
  child.on('exit', (code, signal) => process.exit(code ?? (signal ? 1 : 0)));
}

/** The Node of the package `node-linux-*`, wherever npm put it; null when there is none for this machine. */
function bundledNode() {
  const name = `node-${process.platform}-${process.arch}`;
  try {
    const path = join(
      dirname(module.createRequire(import.meta.url).resolve(`${name}/package.json`)),
      'bin',
      'node',
    );
    return existsSync(path) ? path : null;
  } catch {
    return null;
  }
}
