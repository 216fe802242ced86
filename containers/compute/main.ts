/**
 * Where a compute container begins. Compiled code is kept between starts: taking the types out of every file and compiling
 * it would take longer than everything else that a compute does to boot. The folder is `NODE_COMPILE_CACHE`, or
 * one in the system's temporary folder; the image comes with it filled.
 */
import { enableCompileCache } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

// By the variable, so that it holds for the workers that serve the data directory too.
process.env['NODE_COMPILE_CACHE'] ??= join(tmpdir(), 'node-compile-cache');
enableCompileCache(process.env['NODE_COMPILE_CACHE']);

await import('./run.ts');
