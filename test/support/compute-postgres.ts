/**
 * A Postgres as a compute runs it (its settings, its authentication, its identity), on a plain copy of the initdb
 * template: for tests of what stands around Postgres. No proposer is there unless the test attaches one, so with
 * `quorum: true` every commit waits.
 */
import { spawnSync } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { chooseIdentity } from '../../containers/compute/postgres/identity.ts';
import { Postmaster } from '../../containers/compute/postgres/postmaster.ts';
import { postgresProgram } from '../../containers/compute/postgres/programs.ts';
import type { LogLine } from '../../containers/compute/postgres/server-log.ts';
import {
  hostBasedAuthentication,
  identityMap,
  postgresSettings,
  socketPath,
} from '../../containers/compute/postgres/settings.ts';
import { Superuser } from '../../containers/compute/postgres/superuser.ts';
import { deriveKeys } from '../../lib/postgres/scram/keys.ts';
import { toBase64 } from '../../lib/postgres/scram/base64.ts';
import { copyDataDirectory, initdbTemplate } from './postgres-cluster.ts';

export class ComputePostgres implements AsyncDisposable {
  readonly home: string;
  readonly socketFolder: string;
  readonly socketPath: string;
  readonly superuser: Superuser;
  readonly log: LogLine[] = [];
  readonly #listeners: ((pid: number) => void)[] = [];
  postmaster!: Postmaster;

  private constructor(home: string) {
    this.home = home;
    this.socketFolder = join(home, 'socket');
    this.socketPath = socketPath({ socket: this.socketFolder });
    this.superuser = new Superuser(this.socketPath);
  }

  static async start(
    options: { quorum?: boolean; settings?: Record<string, string> } = {},
  ): Promise<ComputePostgres> {
    const home = mkdtempSync(join(tmpdir(), 'ebb-cpg-'));
    chmodSync(home, 0o711);
    const compute = new ComputePostgres(home);
    const data = join(home, 'data');
    copyDataDirectory(await initdbTemplate(), data);
    const program = await postgresProgram();
    const identity = chooseIdentity([program, data]);
    mkdirSync(compute.socketFolder, { mode: 0o700 });
    const settings = postgresSettings({ socket: compute.socketFolder }, options.settings ?? {}, 256 << 20);
    const quorum = options.quorum === true ? '' : "synchronous_standby_names = ''\n";
    writeFileSync(join(data, 'postgresql.conf'), settings.text + quorum);
    writeFileSync(join(data, 'pg_hba.conf'), hostBasedAuthentication(identity));
    writeFileSync(join(data, 'pg_ident.conf'), identityMap(identity));
    chownSync(compute.socketFolder, identity.uid, identity.gid);
    spawnSync('chown', ['-R', `${identity.uid}:${identity.gid}`, data]);
    compute.postmaster = await Postmaster.start({
      program,
      dataDirectory: data,
      identity,
      onLog: (line) => {
        compute.log.push(line);
      },
      onCancelledWait: (pid) => {
        for (const listener of compute.#listeners) listener(pid);
      },
    });
    await compute.postmaster.ready();
    return compute;
  }

  onCancelledWait(listener: (pid: number) => void): void {
    this.#listeners.push(listener);
  }

  /** node-postgres straight to the unix socket. */
  async connect(user: string, password: string, database = 'postgres'): Promise<pg.Client> {
    const client = new pg.Client({ host: this.socketFolder, port: 5432, user, password, database });
    client.on('error', () => undefined);
    await client.connect();
    return client;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.postmaster.stop('immediate');
    await this.superuser.close();
    rmSync(this.home, { recursive: true, force: true });
  }
}

/** Postgres's SCRAM secret of `password`, and the ClientKey that logs in with it. */
export async function scramSecret(password: string): Promise<{ secret: string; clientKey: Uint8Array }> {
  const [salt, iterations] = [new TextEncoder().encode('0123456789abcdef'), 4096];
  const keys = await deriveKeys({ password: new TextEncoder().encode(password), salt, iterations });
  const secret = `SCRAM-SHA-256$${iterations}:${toBase64(salt)}$${toBase64(keys.storedKey)}:${toBase64(keys.serverKey)}`;
  return { secret, clientKey: keys.clientKey };
}
