/**
 * `ebb start` as a command: what it prints, what it refuses, what it leaves, and what it finds again.
 * That rows survive all this is shown by test/e2e; here it is about processes, ports, files and words.
 */
import { type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { mountsUnder } from '../../../local/system/mounts.ts';
import { PortPool, whyNotFree } from '../../../local/system/ports.ts';
import { spawnEbb, startEbb, type Ebb } from '../../support/ebb.ts';

let dir: string;
let ebb: Ebb;
beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'ebb-start-'));
  ebb = await startEbb({ dir });
});
afterAll(async () => {
  await ebb.stop();
  rmSync(dir, { recursive: true, force: true });
});

const pool = new PortPool();
const freePorts = async (): Promise<Record<string, string>> => ({
  '--port': String(await pool.take()),
  '--pg-port': String(await pool.take()),
});

const portOf = (url: string): number => Number(new URL(url).port);
const answers = async (): Promise<boolean> => {
  try {
    return (await fetch(`${ebb.httpUrl}/healthz`)).ok;
  } catch {
    return false;
  }
};
const projects = async (): Promise<unknown> =>
  (
    await fetch(`${ebb.httpUrl}/api/v2/projects`, { headers: { Authorization: `Bearer ${ebb.apiKey}` } })
  ).json();

async function failure(...args: string[]): Promise<{ code: number | null; stderr: string; stdout: string }> {
  const child: ChildProcess = spawnEbb(['start', ...args]);
  let [stdout, stderr] = ['', ''];
  child.stdout!.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr!.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  await once(child, 'close');
  return { code: child.exitCode, stderr, stdout };
}

/** Makes every start of a container that a project needs happen: a query of the pageserver starts one. */
async function startPageserver(): Promise<void> {
  const { project, timeline } = await ebb.inspectProject();
  const response = await ebb.inspect(`/projects/${project.id}/pageserver/${timeline}/layers`);
  expect(response.status, await response.clone().text()).toBe(200);
}

test('says how to connect, in a form that needs no DNS, and keeps the keys to itself', async () => {
  const url = new URL(ebb.postgresUrl);
  expect(url.hostname).toBe('localhost');
  expect(url.searchParams.get('options')).toMatch(/^endpoint=ep-/);
  expect(statSync(join(dir, 'config.json')).mode & 0o777).toBe(0o600);
  for (const name of ['state', 'run', 'logs']) expect(statSync(join(dir, name)).mode & 0o077, name).toBe(0);
  expect(await projects()).toMatchObject({ projects: [{ name: 'main' }] });
});

describe('refuses, with words that help', () => {
  test('a second Ebb in the same folder', async () => {
    const { code, stderr, stdout } = await failure('--dir', dir, ...Object.entries(await freePorts()).flat());
    expect([code, stdout]).toEqual([1, '']);
    expect(stderr).toContain(`process ${ebb.pid}`);
    expect(stderr).toContain(dir);
    expect(stderr.trim().split('\n')).toHaveLength(1);
  });

  test.each(['--port', '--pg-port'])('a port that is taken: %s', async (option) => {
    const other = mkdtempSync(join(tmpdir(), 'ebb-taken-'));
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const taken = String((server.address() as AddressInfo).port);
    const ports = { ...(await freePorts()), [option]: taken };
    const { code, stderr } = await failure('--dir', other, ...Object.entries(ports).flat());
    expect(code).toBe(1);
    expect(stderr).toContain(`port ${taken} is taken`);
    expect(stderr).toContain(option);
    server.close();
    rmSync(other, { recursive: true, force: true });
  });

  test('a port that is none', async () => {
    const { code, stderr } = await failure('--port', 'http');
    expect(code).toBe(1);
    expect(stderr).toContain('--port');
  });
});

test('workerd killed: the Worker answers again within seconds, with none of the old containers', async () => {
  await startPageserver();
  const before = ebb.processes();
  const workerd = before.find((info) => info.name === 'workerd')!;
  const containers = before.filter((info) => info.pid !== ebb.pid && info.pid !== workerd.pid);
  process.kill(workerd.pid, 'SIGKILL');
  const begin = performance.now();
  await ebb.waitFor(() => gone(workerd.pid), 5000, 'workerd to be gone');
  await ebb.waitFor(answers, 10_000, 'the Worker to answer');
  expect(performance.now() - begin).toBeLessThan(5000);
  const now = new Set(ebb.processes().map((info) => info.pid));
  expect(containers.filter((info) => now.has(info.pid))).toEqual([]);
  await startPageserver();
});

test('workerd killed again and again while it comes back', async () => {
  const runtime = () => ebb.processes().find((info) => info.name === 'workerd');
  let last = 0;
  for (let round = 0; round < 4; round++) {
    await ebb.waitFor(() => (runtime()?.pid ?? last) !== last, 10_000, 'the next workerd');
    last = runtime()!.pid;
    process.kill(last, 'SIGKILL');
  }
  await ebb.waitFor(() => (runtime()?.pid ?? last) !== last, 10_000, 'the last workerd');
  await ebb.waitFor(answers, 10_000, 'the Worker to answer');
});

const gone = (pid: number): boolean => !ebb.processes().some((info) => info.pid === pid);

test('everything killed: the next start ends what is left and finds its state', async () => {
  await startPageserver();
  const before = await projects();
  const url = ebb.postgresUrl;
  // Only Ebb's own process: what it started lives on, as after an out-of-memory kill.
  const orphans = ebb.processes().filter((info) => info.pid !== ebb.pid);
  process.kill(ebb.pid, 'SIGKILL');
  ebb = await ebb.restart();
  expect(orphans.length).toBeGreaterThan(1);
  const living = new Set(ebb.processes().map((info) => info.pid));
  expect(orphans.filter((info) => living.has(info.pid))).toEqual([]);
  expect(ebb.postgresUrl).toBe(url);
  expect(await projects()).toEqual(before);
  expect(readdirSync(join(dir, 'disks'))).toEqual([]);
});

test('everything killed at once, and started again in the same moment', async () => {
  for (let round = 0; round < 3; round++) {
    ebb.kill9();
    ebb = await ebb.restart();
    expect(await answers()).toBe(true);
  }
});

test('a password that was lost is replaced', async () => {
  await ebb.interrupt();
  const path = join(dir, 'config.json');
  const config = JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>;
  writeFileSync(path, JSON.stringify({ ...config, connection: null }));
  const url = ebb.postgresUrl;
  ebb = await ebb.restart();
  expect(ebb.postgresUrl).not.toBe(url);
  const without = (text: string) => text.replace(/:[^:@]*@/, '@');
  expect(without(ebb.postgresUrl)).toBe(without(url));
});

test('an Ebb whose folder was removed stops', async () => {
  const other = await startEbb();
  rmSync(other.dir, { recursive: true, force: true });
  await other.waitFor(() => other.processes().length === 0, 20_000, 'it to stop');
  await other.stop();
});

test('Ctrl-C leaves no process, mount, port, socket or disk', async () => {
  await startPageserver();
  const running = ebb.processes();
  expect(running.length).toBeGreaterThan(2);
  expect(await ebb.interrupt()).toBe(0);
  expect(ebb.processes()).toEqual([]);
  expect(mountsUnder(dir)).toEqual([]);
  for (const url of [ebb.httpUrl, ebb.postgresUrl]) expect(await whyNotFree(portOf(url))).toBeNull();
  expect(existsSync(join(dir, 'run', 'engine.sock'))).toBe(false);
  expect(existsSync(join(dir, 'run', 'ebb.json'))).toBe(false);
  expect(readdirSync(join(dir, 'disks'))).toEqual([]);
});
