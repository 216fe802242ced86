/**
 * The containers' programs as few files: what their images carry, and what `ebb start` runs (local/instance/programs.ts).
 *
 *   node containers/bundle.ts compute OUT        compute.js, fuse-reader.js
 *   node containers/bundle.ts pageserver OUT     pageserver.js, compaction-worker.js
 *
 * A container starts for somebody who waits. Taking the types out of a hundred source files would be most of that wait, and
 * much of the rest are modules of Node that are only needed seldom: `ws` asks for TLS, which costs as much to load as
 * all else that a program begins with, so it gets it when it first uses it.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { Plugin } from 'esbuild';

const ROOT = resolve(import.meta.dirname, '..');
const ENTRIES = {
  compute: { compute: 'containers/compute/run.ts', 'fuse-reader': 'containers/compute/datadir/reader.ts' },
  pageserver: {
    pageserver: 'containers/pageserver/run.ts',
    'compaction-worker': 'containers/pageserver/maintenance/worker.ts',
  },
} as const;
export type ProgramName = keyof typeof ENTRIES;
/** Threads of the programs, which have no main of their own. */
const WORKERS: ReadonlySet<string> = new Set(['fuse-reader', 'compaction-worker']);

export interface BundleOptions {
  outdir: string;
  /** A source file that is loaded before the program's own. */
  before?: string;
}

/** Throws with esbuild's messages. */
export async function bundleProgram(name: ProgramName, { outdir, before }: BundleOptions): Promise<void> {
  const { build } = await import('esbuild');
  await mkdir(outdir, { recursive: true });
  const entries = Object.entries(ENTRIES[name]);
  await build({
    absWorkingDir: ROOT,
    entryPoints: entries.map(([out, entry]) => ({ out, in: `ebb-entry:${out}:${entry}` })),
    outdir,
    bundle: true,
    minifyWhitespace: true,
    minifySyntax: true,
    platform: 'node',
    target: 'node24',
    format: 'esm',
    external: ['@node-rs/crc32'],
    banner: {
      js: `import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);`,
    },
    plugins: [entryPlugin(before), lazyBuiltins],
    logLevel: 'silent',
  });
  await writeFile(join(outdir, 'package.json'), '{ "type": "module" }\n');
}

/** `ebb-entry:NAME:PATH`: the program, with what is to be loaded before it. */
const entryPlugin = (before: string | undefined): Plugin => ({
  name: 'ebb-entry',
  setup(build) {
    build.onResolve({ filter: /^ebb-entry:/ }, ({ path }) => ({ path, namespace: 'ebb-entry' }));
    build.onLoad({ filter: /.*/, namespace: 'ebb-entry' }, ({ path }) => {
      const [, out, entry] = path.split(':');
      const imports = before === undefined || WORKERS.has(out) ? [entry] : [before, entry];
      return { contents: imports.map((each) => `import './${each}';`).join('\n'), resolveDir: ROOT };
    });
  },
});

/**
 * Node's own modules that are slow to load, asked for when the module that imports them runs, which for one that is itself
 * imported on demand is later than the start. For `ws`, which uses TLS and compression for wss: only, when it uses them.
 * And node:http: whoever imports it as an ES module reads each of its exports, of which one is the WebSocket of undici,
 * which loads HTTP/2 and TLS.
 */
const lazyBuiltins: Plugin = {
  name: 'lazy-builtins',
  setup(build) {
    build.onResolve({ filter: /^(node:)?(http|https|http2|tls|zlib)$/ }, ({ path, importer }) => ({
      path: path.replace('node:', ''),
      namespace: /[\\/]node_modules[\\/]ws[\\/]/.test(importer) ? 'builtin-when-used' : 'builtin',
    }));
    build.onLoad({ filter: /.*/, namespace: 'builtin' }, ({ path }) => ({
      contents: `module.exports = process.getBuiltinModule('node:${path}');`,
      loader: 'js',
    }));
    build.onLoad({ filter: /.*/, namespace: 'builtin-when-used' }, ({ path }) => ({
      contents: `module.exports = new Proxy({}, {
        get: (_, name) => process.getBuiltinModule('node:${path}')[name],
      });`,
      loader: 'js',
    }));
  },
};

if (import.meta.main) {
  const [name, outdir] = process.argv.slice(2);
  if (!(name === 'compute' || name === 'pageserver') || outdir === undefined)
    throw new Error('node containers/bundle.ts compute|pageserver OUT');
  await bundleProgram(name, { outdir: resolve(outdir) });
}
