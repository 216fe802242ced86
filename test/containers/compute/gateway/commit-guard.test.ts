import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { expect, test } from 'vitest';
import {
  CommitGuard,
  TransactionResolutionUnknown,
} from '../../../../containers/compute/gateway/commit-guard.ts';
import { lsn } from '../../../../lib/postgres/lsn.ts';

const never = new CommitGuard({
  flushLsn: () => Promise.resolve(lsn(100)),
  waitForCommit: () => Promise.reject(new Error('no quorum')),
});

/**
 * A process that writes a line to its stderr and then an answer to its socket, as a backend does; `rounds` times. Before
 * both it sends two bytes of noise, which wake the reader while the line is still to come.
 */
const BACKEND = `
  const fs = require('node:fs');
  const [port, rounds] = process.argv.slice(1).map(Number);
  const connect = () => require('node:net').connect({ port, host: '127.0.0.1', noDelay: true });
  const slow = connect().on('connect', () => {
    const socket = connect();
    let round = 0;
    const write = () => {
      round++;
      slow.write('s');
      socket.write('n');
      for (const begin = performance.now(); performance.now() - begin < 0.1; );
      fs.writeSync(2, '[x]');
      socket.write('a');
    };
    socket.on('connect', write);
    socket.on('data', () => round < rounds ? write() : process.exit());
  });
`;

test('whatever stood in the log before an answer was sent has been read when the answer is judged', async () => {
  // Again when no answer came early: that the two meet so is likely, not certain, on a machine with other work.
  let early = 0;
  for (let attempt = 0; attempt < 5 && early === 0; attempt++) {
    const seen = await judge(500);
    expect(seen).toMatchObject({ answers: 500, missed: 0 });
    early = seen.early;
  }
  expect(early).toBeGreaterThan(0);
});

async function judge(rounds: number): Promise<{ answers: number; early: number; missed: number }> {
  const server = createServer({ noDelay: true }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const port = (server.address() as AddressInfo).port;
  const child = spawn(process.execPath, ['-e', BACKEND, String(port), String(rounds)], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const count = (chunk: Buffer, letter: string): number => chunk.toString().split(letter).length - 1;
  let logged = 0;
  child.stderr.on('data', (chunk: Buffer) => (logged += count(chunk, ']')));
  const [slow] = (await once(server, 'connection')) as [Socket];
  // The event loop is held up between its look at the descriptors and its reading of the answer.
  slow.on('data', () => {
    for (const begin = performance.now(); performance.now() - begin < 0.5;);
  });
  const [socket] = (await once(server, 'connection')) as [Socket];
  let answers = 0;
  /** Answers that came before their line although one turn of the loop was waited: one would not be enough. */
  let early = 0;
  let missed = 0;
  socket.on('error', () => undefined);
  socket.on('data', (chunk: Buffer) => {
    const found = count(chunk, 'a');
    if (found === 0) return;
    answers += found;
    const expected = answers;
    setImmediate(() => {
      if (logged < expected) early++;
    });
    never.afterLog(() => {
      if (logged < expected) missed++;
      socket.write('x');
    });
  });
  await once(socket, 'close');
  server.close();
  return { answers, early, missed };
}

test('who is not suspected is cleared at once; who is, only with the quorum', async () => {
  await never.clear(7);
  never.suspect(7);
  await expect(never.clear(7)).rejects.toThrow(TransactionResolutionUnknown);
  await expect(never.clear(7)).rejects.toThrow(TransactionResolutionUnknown);
  await never.clear(8);
  never.forget(7);
  await never.clear(7);
});

test('the wait is for what Postgres has written, within the grace', async () => {
  const asked: unknown[] = [];
  const guard = new CommitGuard({
    flushLsn: () => Promise.resolve(lsn(4711)),
    waitForCommit: (...arguments_) => {
      asked.push(arguments_);
      return Promise.resolve();
    },
    graceMs: 77,
  });
  guard.suspect(1);
  await guard.clear(1);
  expect(asked).toEqual([[4711, 77]]);
  await guard.clear(1);
  expect(asked.length).toBe(1);
});

test('a Postgres that cannot be asked leaves the outcome unknown', async () => {
  const guard = new CommitGuard({
    flushLsn: () => Promise.reject(new Error('gone')),
    waitForCommit: () => Promise.resolve(),
  });
  guard.suspect(1);
  await expect(guard.clear(1)).rejects.toMatchObject({ code: '08007', cause: new Error('gone') });
});
