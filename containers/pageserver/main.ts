/**
 * The pageserver's entry: starts `run.ts` with Node's compile cache on, so that only the first start of a machine
 * compiles (and strips of types) what is loaded; that takes longer than all else a start does. The folder is
 * `NODE_COMPILE_CACHE`, or one below the temporary folder.
 */
import { enableCompileCache } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

process.env['NODE_COMPILE_CACHE'] ??= join(tmpdir(), 'node-compile-cache');
enableCompileCache(process.env['NODE_COMPILE_CACHE']);
await import('./run.ts');
