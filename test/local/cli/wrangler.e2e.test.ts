/**
 * wrangler on the same wrangler.toml: `ebb dev` serves what `ebb start` serves, and a deployment is accepted
 * (dry run: bundled, configuration checked, images "built" by the stub that stands in for the docker command).
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import pg from 'pg';
import { ROOT } from '../../../local/edge/wrangler-config.ts';
import { mountsUnder } from '../../../local/system/mounts.ts';
import { PortPool, whyNotFree } from '../../../local/system/ports.ts';
import { processInfo } from '../../../local/system/processes.ts';
import { spawnEbb } from '../../support/ebb.ts';

const pool = new PortPool();

test('ebb dev: the Worker, its containers and the first project under wrangler dev', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'ebb-dev-'));
  const [port, pgPort] = [await pool.take(), await pool.take()];
  const child = spawnEbb(['dev', `--dir=${dir}`, `--port=${port}`, `--pg-port=${pgPort}`]);
  let said = '';
  const url = await new Promise<string>((resolve, reject) => {
    const read = (text: string) => {
      said += text;
      const match = /psql '([^']+)'/.exec(said);
      if (match) resolve(match[1]);
    };
    child.stdout!.setEncoding('utf8').on('data', read);
    child.stderr!.setEncoding('utf8').on('data', read);
    child.once('exit', () => reject(new Error(said)));
  });
  const client = new pg.Client(url);
  await client.connect();
  const { rows } = await client.query('SELECT 1 AS one');
  expect(rows).toEqual([{ one: 1 }]);
  await client.end();

  child.kill('SIGTERM');
  await once(child, 'exit');
  expect(await whyNotFree(port)).toBeNull();
  expect(await whyNotFree(pgPort)).toBeNull();
  expect(mountsUnder(dir)).toEqual([]);
  expect(processInfo(child.pid!)).toBeNull();
  rmSync(dir, { recursive: true, force: true });
});

test('wrangler deploy --dry-run', async () => {
  const out = mkdtempSync(join(tmpdir(), 'ebb-deploy-'));
  const child = spawn(
    process.execPath,
    [join(ROOT, 'node_modules/wrangler/bin/wrangler.js'), 'deploy', '--dry-run', `--outdir=${out}`],
    {
      cwd: ROOT,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        ...process.env,
        WRANGLER_DOCKER_BIN: join(ROOT, 'local/bin/docker-stub.sh'),
        WRANGLER_SEND_METRICS: 'false',
        WRANGLER_LOG_PATH: out,
      },
    },
  );
  let said = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (said += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (said += text));
  await once(child, 'close');
  expect(child.exitCode, said).toBe(0);
  for (const name of ['ebb-compute', 'ebb-pageserver', 'env.BUCKET', 'env.SAFEKEEPER'])
    expect(said).toContain(name);
  expect(readFileSync(join(out, 'edge.js'), 'utf8')).toContain('ComputeEgress');
  rmSync(out, { recursive: true, force: true });
});
