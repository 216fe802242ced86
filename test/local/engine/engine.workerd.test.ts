/**
 * The contract between workerd's container client and the engine, with the real workerd.
 * It is a private protocol of theirs: when a new version breaks it, this is where it shows. All of it holds for
 * programs whose connections the engine pipes, and for those that it gives them to.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { convertV4MiniflareOptions, Miniflare } from 'miniflare';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Engine } from '../../../local/engine/engine.ts';
import { mountsUnder } from '../../../local/system/mounts.ts';
import { identify, isAlive, listProcesses, sendSignal } from '../../../local/system/processes.ts';

const FIXTURE = join(import.meta.dirname, 'fixture');
const RUN_PROGRAM = join(import.meta.dirname, '../../../local/engine/run-program.ts');

/** Mounts over each other on the disk, as killed FUSE servers leave them; false where that is not allowed. */
function mountSomething(disk: string): boolean {
  const at = join(disk, 'mounted');
  mkdirSync(at);
  for (let i = 0; i < 2; i++) {
    if (spawnSync('mount', ['-t', 'tmpfs', 'ebb-test', at]).status !== 0) return false;
  }
  return mountsUnder(disk).length === 2;
}

describe.each([
  ['connections are piped', false],
  ['connections are given away', true],
])('%s', (_, takesConnections) => {
  let folder: string;
  let engine: Engine;
  let miniflare: Miniflare;
  let origin: URL;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'ebb-engine-'));
    const socket = join(folder, 'engine.sock');
    const program = {
      command: [process.execPath, ...(takesConnections ? [RUN_PROGRAM] : []), join(FIXTURE, 'program.js')],
      takesConnections,
      ports: [8080, 5432],
      env: { OF_IMAGE: '1' },
    };
    engine = await Engine.start({ folder, socket, images: { program } });
    miniflare = new Miniflare({
      ...convertV4MiniflareOptions({
        host: '127.0.0.1',
        port: 0,
        cf: false,
        containerEngine: { localDocker: { socketPath: `unix://${socket}` } },
        name: 'contract',
        modules: [
          {
            type: 'ESModule',
            path: 'worker.mjs',
            contents: readFileSync(join(FIXTURE, 'worker.js'), 'utf8'),
          },
        ],
        compatibilityDate: '2026-11-01',
        durableObjects: {
          OWNER: { className: 'Owner', useSQLite: true, container: { imageName: 'program' } },
        },
      }),
    });
    origin = await miniflare.ready;
  });

  afterAll(async () => {
    await miniflare.dispose();
    await engine.close();
    rmSync(folder, { recursive: true, force: true });
  });

  const call = (path: string, body?: Uint8Array<ArrayBuffer>): Promise<Response> =>
    fetch(new URL(path, origin), body ? { method: 'POST', body } : {});

  interface Program {
    pid: number;
    cwd: string;
    /** Of the connection that the request came by. */
    localPort: number;
    env: Record<string, string>;
  }

  async function start(name: string, query = ''): Promise<Program> {
    const response = await call(`/${name}/start${query}`);
    if (!response.ok) throw new Error(`start of ${name}: ${await response.text()}`);
    return (await response.json()) as Program;
  }

  test('start: environment, disk and ports', async () => {
    expect(await (await call('/start/running')).json()).toBe(false);
    const { env, cwd } = await start('start', '?greeting=hi');
    expect(env).toMatchObject({ GREETING: 'hi', OF_IMAGE: '1', EBB_LISTEN: '127.0.0.1', EBB_DISK: cwd });
    expect(cwd.startsWith(join(folder, 'disks', 'program-'))).toBe(true);
    expect(env.PORT_8080).not.toBe(env.PORT_5432);
    expect(await (await call('/start/running')).json()).toBe(true);
  });

  test("the way in: the port that workerd connected to is the engine's, or the program's own behind a pipe", async () => {
    const { env, localPort } = await start('ingress');
    expect(localPort === Number(env.PORT_8080)).toBe(!takesConnections);
  });

  test('a container keeps nothing of the environment that Ebb was started in', async () => {
    process.env.EBB_TEST_SECRET = 'secret';
    const { env } = await start('environment');
    delete process.env.EBB_TEST_SECRET;
    expect(env).not.toHaveProperty('EBB_TEST_SECRET');
  });

  test('a TCP connection into the container', async () => {
    await start('tcp');
    const sent = crypto.getRandomValues(new Uint8Array(60_000));
    const echoed = await call('/tcp/connect', sent);
    expect(new Uint8Array(await echoed.arrayBuffer())).toEqual(sent);
  });

  test('the way out: requests and WebSockets reach the handler bound to this container, nothing else does', async () => {
    const { env } = await start('egress');
    expect(await (await call('/egress/out')).json()).toEqual({
      url: 'http://outside.ebb.internal/path?x=1',
      method: 'POST',
      bytes: 3 << 20,
      bound: 'egress',
    });
    expect(await (await call('/egress/socket')).json()).toEqual({ bytes: 200_000 });
    const { port, ...plain } = (await (await call('/egress/plain')).json()) as { port: number };
    expect(plain).toEqual({
      url: 'http://outside.ebb.internal/path?x=2',
      method: 'POST',
      bytes: 5,
      bound: 'egress',
    });
    const isEngines = port === Number(new URL(env['HTTP_PROXY'] ?? '').port);
    expect(isEngines).toBe(!takesConnections);
    expect(await (await call('/egress/elsewhere')).json()).not.toHaveProperty('status', 200);
  });

  test('signal and monitor: the exit code arrives, and the container can be started again', async () => {
    const first = await start('signal');
    await call('/signal/signal?number=15');
    expect(await (await call('/signal/exit')).text()).toContain('3');
    expect(await (await call('/signal/running')).json()).toBe(false);
    const second = await start('signal');
    expect(second.pid).not.toBe(first.pid);
    expect(second.cwd).not.toBe(first.cwd);
  });

  test('destroy: the process and its disk are gone', async () => {
    const { pid, cwd } = await start('destroy');
    const identity = identify(pid);
    await call('/destroy/destroy');
    expect(isAlive(identity)).toBe(false);
    expect(existsSync(cwd)).toBe(false);
  });

  test('kill -9 of the main process: its children end with it before the exit is told', async () => {
    const { pid, cwd } = await start('kill');
    const child = identify(((await (await call('/kill/child')).json()) as { pid: number }).pid);
    expect(isAlive(child)).toBe(true);
    const mounted = mountSomething(cwd);
    sendSignal(pid, 'SIGKILL');
    expect(await (await call('/kill/exit')).text()).toContain('137');
    expect(isAlive(child)).toBe(false);
    expect(mounted && mountsUnder(cwd)).toEqual(mounted && []);
  });

  test('a port that nothing listens on is an error, not a hang', async () => {
    const { pid } = await start('closed');
    sendSignal(pid, 'SIGSTOP');
    sendSignal(pid, 'SIGKILL');
    await call('/closed/exit');
    expect((await call('/closed/anything')).status).toBe(500);
  });

  test('a new engine on the same folder ends what the last one left', async () => {
    const { pid, cwd } = await start('left');
    const child = identify(((await (await call('/left/child')).json()) as { pid: number }).pid);
    const identity = identify(pid);
    const mounted = mountSomething(cwd);
    const next = await Engine.start({ folder, socket: join(folder, 'next.sock'), images: {} });
    await next.close();
    expect([isAlive(identity), isAlive(child), existsSync(cwd)]).toEqual([false, false, false]);
    expect(listProcesses().some((info) => info.parent === pid)).toBe(false);
    expect(mounted && mountsUnder(cwd)).toEqual(mounted && []);
  });
});
