/**
 * A connection that is given away is read by nobody but the program, however late the engine learns that the program
 * has it: a byte that the engine read meanwhile would be lost.
 */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import type { Server } from 'node:http';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Handover } from '../../../local/engine/handover.ts';
import { createIngress } from '../../../local/engine/ingress.ts';
import { addressPort, closeServer, listenOnLoopback } from '../../../local/engine/net.ts';
import { PortPool } from '../../../local/system/ports.ts';

const FIXTURE = join(import.meta.dirname, 'fixture');
const RUN_PROGRAM = join(import.meta.dirname, '../../../local/engine/run-program.ts');
const CONNECTIONS = 300;
const BUSY_MS = 8;

let program: ChildProcess;
let ingress: Server;

beforeAll(async () => {
  const port = await new PortPool().take();
  program = spawn(process.execPath, [RUN_PROGRAM, join(FIXTURE, 'program.js')], {
    env: { PATH: process.env['PATH'], PORT_8080: String(port), PORT_5432: '0' },
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  const handover = new Handover(program);
  ingress = createIngress({
    resolvePort: async () =>
      (await handover.untilListening(port, 10_000))
        ? { port, give: (socket) => handover.give(port, socket) }
        : undefined,
    setEgressPort: () => undefined,
  });
  await listenOnLoopback(ingress);
});
afterAll(async () => {
  closeServer(ingress);
  program.kill('SIGKILL');
  await once(program, 'exit');
});

test('every request of a connection that was given away arrives', async () => {
  // The engine is slow to turn to what has come in: accepted connections, bytes on them, the program's word.
  const busy = setInterval(() => {
    const until = performance.now() + BUSY_MS;
    while (performance.now() < until);
  }, 1);
  try {
    const args = [join(FIXTURE, 'client.js'), String(addressPort(ingress)), String(CONNECTIONS)];
    const { stdout } = await promisify(execFile)(process.execPath, args);
    expect(Number(stdout)).toBe(CONNECTIONS);
  } finally {
    clearInterval(busy);
  }
});
