/** A Postgres on a data directory that somebody else made: start, SQL, stop. */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { initdbTemplate, spawnPostgresProgram } from '../../../support/postgres-cluster.ts';

/** Whom `spawnPostgresProgram` runs Postgres as, as this process sees it. */
export async function postgresIdentity(): Promise<{ uid: number; gid: number }> {
  const { uid, gid } = statSync(await initdbTemplate());
  return { uid, gid };
}

export class PostgresOn {
  readonly socketDirectory: string;
  readonly #child: ChildProcess;
  readonly #exited: Promise<unknown>;
  log = '';

  private constructor(socketDirectory: string, child: ChildProcess) {
    this.socketDirectory = socketDirectory;
    this.#child = child;
    this.#exited = once(child, 'exit');
  }

  /** Resolves when the server says that it is ready. Throws with its log when it exits instead. */
  static async start(path: string, settings: Readonly<Record<string, string>> = {}): Promise<PostgresOn> {
    const socketDirectory = join(mkdtempSync(join(tmpdir(), 'ebb-on-')), 's');
    const { uid, gid } = await postgresIdentity();
    mkdirSync(socketDirectory, { mode: 0o700 });
    chownSync(join(socketDirectory, '..'), uid, gid);
    chownSync(socketDirectory, uid, gid);
    const all = {
      listen_addresses: '',
      unix_socket_directories: socketDirectory,
      fsync: 'off',
      shared_buffers: '16MB',
      logging_collector: 'off',
      ...settings,
    };
    const args = ['-D', path, ...Object.entries(all).flatMap(([name, value]) => ['-c', `${name}=${value}`])];
    const server = new PostgresOn(socketDirectory, spawnPostgresProgram('postgres', args));
    const ready = new Promise<void>((resolve, reject) => {
      server.#exited.then(() => reject(new Error(`postgres exited:\n${server.log}`)), reject);
      server.#child.stderr?.on('data', (chunk: Buffer) => {
        server.log += chunk.toString();
        if (server.log.includes('database system is ready to accept')) resolve();
      });
    });
    try {
      await ready;
    } catch (error) {
      rmSync(join(socketDirectory, '..'), { recursive: true, force: true });
      throw error;
    }
    return server;
  }

  async connect(database = 'postgres'): Promise<pg.Client> {
    const client = new pg.Client({ host: this.socketDirectory, user: 'ebb_admin', database });
    await client.connect();
    return client;
  }
  async query<Row extends object = Record<string, unknown>>(sql: string, database?: string): Promise<Row[]> {
    const client = await this.connect(database);
    try {
      return (await client.query<Row>(sql)).rows;
    } finally {
      await client.end();
    }
  }

  /** Resolves when the log has that text `times` times. */
  async waitForLog(text: string, times = 1): Promise<void> {
    const seen = (): boolean => this.log.split(text).length > times;
    while (!seen()) await once(this.#child.stderr as NodeJS.ReadableStream, 'data');
  }

  async stop(): Promise<void> {
    this.#child.kill('SIGINT');
    await this.#exited;
    rmSync(join(this.socketDirectory, '..'), { recursive: true, force: true });
  }
}
