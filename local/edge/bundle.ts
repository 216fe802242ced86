/** The Worker as one module: what `wrangler` does before it uploads, with the same bundler. */
import { join } from 'node:path';
import { build, stop } from 'esbuild';
import { ROOT } from './wrangler-config.ts';

/** Bundles `entry` (a path under the root). Throws with esbuild's own messages. */
export async function bundleWorker(entry: string): Promise<string> {
  const result = await build({
    absWorkingDir: ROOT,
    entryPoints: [join(ROOT, entry)],
    bundle: true,
    write: false,
    format: 'esm',
    target: 'esnext',
    conditions: ['workerd', 'worker', 'browser'],
    external: ['cloudflare:*', 'node:*'],
    sourcemap: 'inline',
    logLevel: 'silent',
  });
  // Its service process would stay for a next build that never comes.
  await stop();
  const [output] = result.outputFiles;
  if (!output) throw new Error(`the bundle of ${entry} is empty`);
  return output.text;
}
