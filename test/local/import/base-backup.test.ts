/** The base backup's client against servers that say what they should not: an error each time, no hang, no file outside. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { pack, type Header } from 'tar-stream';
import { afterEach, describe, expect, test } from 'vitest';
import { baseBackup, BackupError } from '../../../local/import/base-backup.ts';

const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

const message = (tag: string, body: Buffer | string = ''): Buffer => {
  const bytes = Buffer.from(body);
  const head = Buffer.alloc(5);
  head.write(tag);
  head.writeUInt32BE(bytes.length + 4, 1);
  return Buffer.concat([head, bytes]);
};
const ready = message('Z', 'I');
const authenticated = Buffer.concat([message('R', Buffer.alloc(4)), ready]);
const row = (text: string): Buffer => {
  const body = Buffer.alloc(6 + text.length);
  body.writeUInt16BE(1);
  body.writeUInt32BE(text.length, 2);
  body.write(text, 6);
  return message('D', body);
};

/** A server that answers each thing that it is sent with the next of `answers`, and ends with the last. */
async function backupFrom(answers: Buffer[]): Promise<string> {
  const server = createServer((socket: Socket) => {
    let at = 0;
    socket.on('error', () => undefined);
    socket.on('data', () => {
      if (at < answers.length) socket.write(answers[at++]);
      if (at >= answers.length) socket.end();
    });
  }).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const folder = mkdtempSync(join(tmpdir(), 'ebb-backup-'));
  folders.push(folder);
  const { port } = server.address() as AddressInfo;
  try {
    const url = new URL(`postgres://copier@127.0.0.1:${port}/?sslmode=disable`);
    await baseBackup({ url, into: join(folder, 'data'), onProgress: () => {} });
    return folder;
  } finally {
    server.close();
  }
}
async function archive(entries: (Partial<Header> & { name: string; content?: string })[]): Promise<Buffer> {
  const tar = pack();
  for (const { content, ...header } of entries) tar.entry(header, content ?? '');
  tar.finalize();
  return Buffer.concat(await Array.fromAsync(tar as AsyncIterable<Buffer>));
}
const backup = (tar: Buffer, archives = 1): Buffer =>
  Buffer.concat([
    message('H', Buffer.alloc(3)),
    ...Array.from({ length: archives }, () => [
      message('d', 'nbase.tar\0\0'),
      message('d', Buffer.concat([Buffer.from('d'), tar.subarray(0, 700)])),
      message('d', Buffer.concat([Buffer.from('d'), tar.subarray(700)])),
    ]).flat(),
    message('c'),
    ready,
  ]);
const version = (text: string): Buffer => Buffer.concat([row(text), message('C', 'SHOW\0'), ready]);

test('an archive is unpacked, folders and files', async () => {
  const tar = await archive([
    { name: 'base/', type: 'directory' },
    { name: 'PG_VERSION', content: '18\n' },
    { name: 'base/5/1259', content: 'x'.repeat(5000) },
  ]);
  const folder = await backupFrom([authenticated, version('180004'), backup(tar)]);
  expect(readFileSync(join(folder, 'data/PG_VERSION'), 'utf8')).toBe('18\n');
  expect(readFileSync(join(folder, 'data/base/5/1259'), 'utf8').length).toBe(5000);
});

describe('is refused:', () => {
  const refused = (answers: Buffer[]) => expect(backupFrom(answers)).rejects;
  test('another major version', () =>
    refused([authenticated, version('170002')]).toThrow('is Postgres 170002: 18 expected'));
  test('a file outside', async () => {
    const tar = await archive([{ name: 'base/../../outside', content: 'x' }]);
    await refused([authenticated, version('180004'), backup(tar)]).toThrow('outside itself');
    expect(existsSync(join(tmpdir(), 'outside'))).toBe(false);
  });
  test('a link', async () => {
    const tar = await archive([{ name: 'pg_tblspc/1', type: 'symlink', linkname: '/etc' }]);
    await refused([authenticated, version('180004'), backup(tar)]).toThrow('tablespaces');
  });
  test('a second archive', async () => {
    const tar = await archive([{ name: 'PG_VERSION', content: '18' }]);
    await refused([authenticated, version('180004'), backup(tar, 2)]).toThrow('tablespaces');
  });
  test('a connection that ends', () => refused([authenticated]).toThrow('in the middle'));
  test('what Postgres says', () =>
    refused([message('E', 'SFATAL\0C28000\0Mno replication for you\0\0')]).toThrow('28000 no replication'));
  test('a message without end', () =>
    refused([Buffer.from([0x52, 0x7f, 0xff, 0xff, 0xff])]).toThrow('at most'));
});

test('any bytes end in an error', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.uint8Array({ minLength: 1, maxLength: 200 }),
      fc.constantFrom(0, 1, 2),
      async (bytes, good) => {
        const before = [authenticated, version('180004'), message('H', Buffer.alloc(3))].slice(0, good);
        const error = await backupFrom([...before, Buffer.from(bytes)]).then(
          () => null,
          (thrown: unknown) => thrown,
        );
        expect(error).toBeInstanceOf(Error);
        if (!(error instanceof BackupError))
          expect((error as Error).name).toMatch(/ScramError|RangeError|Error/);
      },
    ),
    { numRuns: 60 },
  );
});
