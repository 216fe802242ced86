/**
 * A base backup of a running Postgres, by the replication protocol, unpacked into a folder:
 *
 *   BASE_BACKUP (CHECKPOINT 'fast', WAL true, MANIFEST 'no')       one connection, with replication=true
 *   CopyOutResponse, then CopyData:  'n' archive name, tablespace path   'd' bytes of the tar   'p' bytes done
 *
 * The archive goes straight from the socket through tar-stream into files; the socket waits while a file is being written. With WAL
 * true the last archive ends with the WAL that recovery to the end of the backup needs.
 * Source: src/backend/backup/basebackup.c, the protocol's chapter "Streaming Replication Protocol".
 */
import { connect as connectSocket, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { mkdir, open } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { serialize } from 'pg-protocol';
import { extract, type Header } from 'tar-stream';
import { parseErrorFields } from '../../lib/postgres/wire/error-response.ts';
import { ScramClient } from './scram-login.ts';

/** The source did not give a backup. `message` has what it said. */
export class BackupError extends Error {
  override readonly name = 'BackupError';
}

export interface BackupOptions {
  url: URL;
  /** An empty folder. */
  into: string;
  onProgress: (bytesDone: number, bytesTotal: number) => void;
}

/** A walsender that is alive sends all the time. */
const SILENCE_MS_MAX = 120_000;
const BODY_BYTES_MAX = 64 << 20;
const TAG = {
  authentication: 'R',
  error: 'E',
  ready: 'Z',
  copyOut: 'H',
  copyData: 'd',
  copyDone: 'c',
  row: 'D',
};

/** Throws BackupError, and what writing throws. */
export async function baseBackup({ url, into, onProgress }: BackupOptions): Promise<void> {
  const socket = await openSocket(url);
  socket.setTimeout(SILENCE_MS_MAX, () =>
    socket.destroy(new BackupError(`the source has said nothing for ${SILENCE_MS_MAX / 1000} s`)),
  );
  try {
    const messages = readMessages(socket);
    await logIn(socket, messages, url);
    await checkVersion(socket, messages);
    socket.write(
      serialize.query(
        `BASE_BACKUP (LABEL 'ebb import', CHECKPOINT 'fast', WAL true, MANIFEST 'no', PROGRESS true)`,
      ),
    );
    await receive(messages, into, onProgress);
  } finally {
    socket.destroy();
  }
}

async function openSocket(url: URL): Promise<Socket> {
  const host = url.searchParams.get('host') ?? decodeURIComponent(url.hostname);
  const port = Number(url.port || url.searchParams.get('port') || 5432);
  const socket = host.startsWith('/')
    ? connectSocket(`${host}/.s.PGSQL.${port}`)
    : connectSocket({ host, port });
  await once(socket, 'connect', `connection to ${host}:${port}`);
  const mode = url.searchParams.get('sslmode') ?? 'prefer';
  if (mode === 'disable' || host.startsWith('/')) return socket;
  socket.write(serialize.requestSsl());
  const answer = await new Promise<Buffer>((resolve, reject) => {
    socket.once('data', resolve);
    socket.once('error', reject);
  });
  if (answer[0] !== 0x53) {
    if (mode !== 'prefer' && mode !== 'allow')
      throw new BackupError(`${host}:${port} offers no TLS, and sslmode is ${mode}`);
    return socket;
  }
  const verify = mode === 'verify-full' || mode === 'verify-ca';
  const tls = connectTls({ socket, servername: host, rejectUnauthorized: verify });
  await once(tls, 'secureConnect', `TLS with ${host}:${port}`);
  return tls;
}
function once(socket: Socket, event: string, what: string): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once(event, () => resolve());
    socket.once('error', (cause) => reject(new BackupError(`${what}: ${cause.message}`, { cause })));
  });
}

interface Message {
  tag: string;
  body: Buffer;
}
/** Messages as they come; the socket is paused while nobody asks for the next. */
async function* readMessages(socket: Socket): AsyncGenerator<Message> {
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of socket as AsyncIterable<Buffer>) {
    rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    let at = 0;
    while (rest.length - at >= 5) {
      const length = rest.readUInt32BE(at + 1) + 1;
      if (length < 5 || length > BODY_BYTES_MAX)
        throw new BackupError(`message of ${length} bytes: at most ${BODY_BYTES_MAX} expected`);
      if (rest.length - at < length) break;
      yield { tag: String.fromCharCode(rest[at]), body: rest.subarray(at + 5, at + length) };
      at += length;
    }
    rest = rest.subarray(at);
  }
}

async function next(messages: AsyncGenerator<Message>): Promise<Message> {
  for (;;) {
    const { value, done } = await messages.next();
    if (done === true) throw new BackupError('the connection ended in the middle of the backup');
    if (value.tag === TAG.error) {
      const fields = parseErrorFields(value.body);
      throw new BackupError(`Postgres: ${fields.get('C') ?? ''} ${fields.get('M') ?? ''}`);
    }
    if ('NSK'.includes(value.tag)) continue; // notices, parameters, the cancel key
    return value;
  }
}

async function logIn(socket: Socket, messages: AsyncGenerator<Message>, url: URL): Promise<void> {
  const user = decodeURIComponent(url.username) || 'postgres';
  socket.write(serialize.startup({ user, replication: 'true', application_name: 'ebb import' }));
  const scram = new ScramClient(decodeURIComponent(url.password));
  for (;;) {
    const { tag, body } = await next(messages);
    if (tag === TAG.ready) return;
    if (tag !== TAG.authentication) throw new BackupError(`unexpected message ${tag} during the login`);
    const kind = body.readUInt32BE(0);
    if (kind === 0) continue;
    if (kind === 3) socket.write(serialize.password(decodeURIComponent(url.password)));
    else if (kind === 10) socket.write(scram.first(body.subarray(4)));
    else if (kind === 11) socket.write(await scram.final(body.subarray(4)));
    else if (kind === 12) scram.verify(body.subarray(4));
    else
      throw new BackupError(
        `the server asks for authentication ${kind}: SCRAM-SHA-256, a plain password, or none are possible`,
      );
  }
}

const MAJOR = 18;
async function checkVersion(socket: Socket, messages: AsyncGenerator<Message>): Promise<void> {
  socket.write(serialize.query('SHOW server_version_num'));
  for (let found: number | null = null; ;) {
    const { tag, body } = await next(messages);
    if (tag === TAG.row) found = Number(body.subarray(6).toString());
    if (tag !== TAG.ready) continue;
    if (found !== null && Math.floor(found / 10_000) === MAJOR) return;
    throw new BackupError(`the source is Postgres ${found}: ${MAJOR} expected; upgrade it first`);
  }
}

async function receive(
  messages: AsyncGenerator<Message>,
  into: string,
  onProgress: BackupOptions['onProgress'],
): Promise<void> {
  let archives = 0;
  let total = 0;
  let done = 0;
  let unpacking: { write: (bytes: Buffer) => Promise<void>; end: () => Promise<void> } | null = null;
  let inCopy = false;
  for (;;) {
    const { tag, body } = await next(messages);
    if (tag === TAG.copyOut) inCopy = true;
    else if (tag === TAG.copyDone) {
      await unpacking?.end();
      unpacking = null;
      inCopy = false;
    } else if (tag === TAG.row && archives === 0) total += tablespaceBytes(body);
    else if (tag === TAG.ready) return;
    else if (tag === TAG.copyData && inCopy) {
      const kind = String.fromCharCode(body[0]);
      if (kind === 'n') {
        await unpacking?.end();
        if (++archives > 1)
          throw new BackupError('the source has tablespaces: move their contents to pg_default first');
        unpacking = unpack(into);
      } else if (kind === 'd') {
        await unpacking!.write(Buffer.from(body.subarray(1)));
        done += body.length - 1;
        onProgress(done, Math.max(done, total));
      }
    }
  }
}

/** Of a row `spcoid, spclocation, size in KiB`; 0 for the rows that tell the backup's LSNs. */
function tablespaceBytes(body: Buffer): number {
  const columns: (string | null)[] = [];
  for (let at = 2; at < body.length;) {
    const length = body.readInt32BE(at);
    columns.push(length < 0 ? null : body.subarray(at + 4, at + 4 + length).toString());
    at += 4 + Math.max(0, length);
  }
  return columns.length === 3 ? Number(columns[2] ?? 0) * 1024 : 0;
}

/** A tar whose bytes are written into files below `into`. */
function unpack(into: string): { write: (bytes: Buffer) => Promise<void>; end: () => Promise<void> } {
  const tar = extract();
  const failed = Promise.withResolvers<never>();
  failed.promise.catch(() => undefined);
  const finished = Promise.withResolvers<void>();
  tar.on('entry', (header: Header, stream, proceed) => {
    place(header, stream as AsyncIterable<Buffer>, into).then(() => proceed(null), failed.reject);
  });
  tar.on('error', failed.reject);
  tar.on('finish', () => finished.resolve());
  return {
    write: (bytes) => {
      const written = new Promise<void>((resolve) => {
        if (tar.write(bytes)) resolve();
        else tar.once('drain', () => resolve());
      });
      return Promise.race([written, failed.promise]);
    },
    end: () => {
      tar.end(undefined);
      return Promise.race([finished.promise, failed.promise]);
    },
  };
}

async function place(header: Header, content: AsyncIterable<Buffer>, into: string): Promise<void> {
  const parts = header.name.split('/').filter((part: string) => part !== '' && part !== '.');
  if (parts.includes('..') || header.name.startsWith('/'))
    throw new BackupError(`the backup names a file outside itself: ${header.name}`);
  const path = join(into, ...parts);
  if (header.type === 'directory') {
    await mkdir(path, { recursive: true, mode: 0o700 });
    for await (const _ of content) continue; // a directory has none, but its stream wants to be read
    return;
  }
  if (header.type !== 'file')
    throw new BackupError(
      parts[0] === 'pg_tblspc'
        ? 'the source has tablespaces: move their contents to pg_default first'
        : `the backup has a ${header.type} where a file was expected: ${header.name}`,
    );
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const file = await open(path, 'w', 0o600);
  try {
    for await (const bytes of content) await file.writeFile(bytes);
  } finally {
    await file.close();
  }
}
