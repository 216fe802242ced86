import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { ConnectionError } from '../../../../containers/compute/postgres/connection.ts';
import { chooseIdentity } from '../../../../containers/compute/postgres/identity.ts';
import { Postmaster, PostmasterError } from '../../../../containers/compute/postgres/postmaster.ts';
import { postgresProgram } from '../../../../containers/compute/postgres/programs.ts';
import { CancelledWaits, LineSplitter } from '../../../../containers/compute/postgres/server-log.ts';
import {
  hostBasedAuthentication,
  identityMap,
  postgresSettings,
} from '../../../../containers/compute/postgres/settings.ts';
import { ComputePostgres } from '../../../support/compute-postgres.ts';

const silent = { onLog: () => undefined, onCancelledWait: () => undefined };

test('a stop that was asked for is no crash; a shutdown checkpoint is written', async () => {
  await using compute = await ComputePostgres.start();
  expect(await compute.postmaster.stop('fast')).toEqual({ code: 0, signal: null, crashed: false });
});

test.each(['postmaster', 'backend'])('a killed %s is a crash, and nothing is restarted', async (victim) => {
  await using compute = await ComputePostgres.start();
  const backend = await compute.superuser.connect('postgres');
  process.kill(victim === 'backend' ? backend.pid : compute.postmaster.pid, 'SIGKILL');
  expect(await compute.postmaster.exited).toMatchObject({ crashed: true });
  await backend.closed;
  await expect(compute.superuser.query('select 1')).rejects.toThrow(ConnectionError);
});

test('a server that cannot start says why', async () => {
  await using compute = await ComputePostgres.start();
  await compute.postmaster.stop('fast');
  const data = join(compute.home, 'data');
  writeFileSync(join(data, 'postgresql.conf'), 'no_such_setting = 1\n');
  const program = await postgresProgram();
  const identity = chooseIdentity([program, data]);
  const postmaster = await Postmaster.start({
    program,
    dataDirectory: data,
    identity,
    ...silent,
  });
  await expect(postmaster.ready()).rejects.toThrow(/unrecognized configuration parameter "no_such_setting"/);
  const missing = Postmaster.start({
    program: '/nowhere/postgres',
    dataDirectory: data,
    identity,
    ...silent,
  });
  await expect(missing.then((nothing) => nothing.ready())).rejects.toThrow(PostmasterError);
});

test('Postgres does not outlive the process that started it', async () => {
  const script = `
    const { ComputePostgres } = await import(${JSON.stringify(import.meta.resolve('../../../support/compute-postgres.ts'))});
    const compute = await ComputePostgres.start();
    console.log(JSON.stringify({ pid: compute.postmaster.pid, home: compute.home }));
    setInterval(() => {}, 1000);`;
  const parent = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [line] = (await once(parent.stdout, 'data')) as [Buffer];
  const { pid, home } = JSON.parse(line.toString()) as { pid: number; home: string };
  expect(readFileSync(`/proc/${pid}/cmdline`, 'utf8')).toContain('postgres');
  parent.kill('SIGKILL');
  while (isAlive(pid)) await new Promise((resolve) => setImmediate(resolve));
  rmSync(home, { recursive: true, force: true });
});
function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

test('settings: what must be wins, what cannot be is refused, quotes are quoted', () => {
  const folders = { socket: '/run/x' };
  const { text, control } = postgresSettings(
    folders,
    {
      MAX_connections: '17',
      fsync: 'on',
      search_path: `a, 'b\\c'`,
    },
    1 << 30,
  );
  expect(text).toContain("max_connections = '17'\n");
  expect(text).toContain("fsync = 'off'\n");
  expect(text).toContain(`search_path = 'a, ''b\\\\c'''\n`);
  expect(text).toContain("shared_buffers = '128MB'\n");
  expect(postgresSettings(folders, {}, 256 << 20).text).toContain("shared_buffers = '32MB'\n");
  expect(control.maxConnections).toBe(17);
  expect(() => postgresSettings(folders, { include: '/etc/passwd' }, 1 << 30)).toThrow(
    /include cannot be changed/,
  );
  expect(() => postgresSettings(folders, { 'a b': '1' }, 1 << 30)).toThrow(/is not a name/);
  expect(() => postgresSettings(folders, { work_mem: '1\nfsync = on' }, 1 << 30)).toThrow(
    /more than one line/,
  );
  expect(() => postgresSettings(folders, { max_connections: 'many' }, 1 << 30)).toThrow(
    /an integer expected/,
  );
});

test('authentication: peer where Postgres can name this process, trust where it cannot, a password for all others', () => {
  const named = { kind: 'nobody', uid: 1, gid: 1, peerName: 'root' } as const;
  expect(hostBasedAuthentication(named)).toMatch(/^local all ebb_admin peer map=ebb\n/);
  expect(identityMap(named)).toBe('ebb "root" ebb_admin\n');
  const unnamed = { kind: 'namespace', uid: 0, gid: 0, peerName: null } as const;
  expect(hostBasedAuthentication(unnamed)).toMatch(/^local all ebb_admin trust\n/);
  expect(identityMap(unnamed)).toBe('');
  for (const identity of [named, unnamed])
    expect(hostBasedAuthentication(identity)).toMatch(
      /local replication all reject\nlocal all all scram-sha-256\n$/,
    );
});

test('lines come whole however the log is cut, and long ones in pieces', () => {
  const lines: string[] = [];
  const splitter = new LineSplitter((line) => lines.push(line));
  for (const chunk of ['one\ntw', 'o', '\n', '\n', 'x'.repeat(70_000), 'rest'])
    splitter.push(Buffer.from(chunk));
  splitter.end();
  expect(lines).toEqual(['one', 'two', '', 'x'.repeat(70_000), 'rest']);
});

test('a cancelled wait is found however the log is cut, and inside other messages', () => {
  const text = Buffer.from(
    'xx[1] WARNING:  canceling wait for synchronous replication due to x[22] WARNING:  canceling wait for synchronous replication\n[3] WARNING:  canceling the wait\n',
  );
  for (let size = 1; size <= text.length; size++) {
    const found: number[] = [];
    const waits = new CancelledWaits((pid) => found.push(pid));
    for (let at = 0; at < text.length; at += size) waits.push(text.subarray(at, at + size));
    expect(found).toEqual([1, 22]);
  }
});
