/** The programs are made once for the same sources, and say what they lack when they are run without a specification. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { requirePrograms, sources, type Programs } from '../../../local/instance/programs.ts';

const run = promisify(execFile);

async function saidWithoutSpecification(args: readonly string[], { compiled }: Programs): Promise<string> {
  const environment = { PATH: process.env.PATH, NODE_COMPILE_CACHE: compiled };
  const { stderr } = await run(process.execPath, args, { env: environment }).then(
    () => ({ stderr: '' }),
    (error: { stderr: string }) => error,
  );
  return stderr;
}

test('made once; made ones and the sources are the same programs', async () => {
  const programs = await requirePrograms();
  expect(await requirePrograms()).toEqual(programs);
  for (const each of [programs, sources()]) {
    expect(await saidWithoutSpecification(each.compute, each)).toMatch(/EBB_SPEC is not set/);
    expect(await saidWithoutSpecification(each.pageserver, each)).toMatch(/EBB_SPEC is not set/);
  }
}, 20_000);

test('a program comes up without what is slow to load', async () => {
  const programs = await requirePrograms();
  const tellModules = `process.on('exit', () => console.log(JSON.stringify(process.moduleLoadList)))`;
  for (const program of [programs.compute, programs.pageserver]) {
    const args = ['--import', `data:text/javascript,${encodeURIComponent(tellModules)}`, ...program];
    const environment = { PATH: process.env.PATH, NODE_COMPILE_CACHE: programs.compiled };
    const { stdout } = await run(process.execPath, args, { env: environment }).catch(
      (error: { stdout: string }) => error, // it ends for want of a specification
    );
    const loaded = JSON.parse(stdout) as string[];
    expect(loaded).toContain('NativeModule http');
    for (const slow of ['internal/deps/undici/undici', 'http2', 'tls'])
      expect(loaded).not.toContain(`NativeModule ${slow}`);
  }
}, 20_000);
