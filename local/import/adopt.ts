/**
 * Makes a private copy of a cluster one that Ebb can run, by running Postgres on it once:
 *
 *   1 recovery      a base backup is brought to its end; a clean copy has nothing to do
 *   2 superuser     the bootstrap superuser becomes `ebb_admin`, which no client may be
 *   3 owner         a role of its old name and secret takes over what it owned, as an owner without being a superuser
 *   4 roles         no role stays a superuser or may replicate
 *   5 clean stop
 *
 * The copy's own configuration is left aside: it may name files and libraries of the machine it came from.
 */
import { spawn } from 'node:child_process';
import { chmod, chown, lstat, mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { chooseIdentity, commandAs, type Identity } from '../../containers/compute/postgres/identity.ts';
import { Postmaster } from '../../containers/compute/postgres/postmaster.ts';
import { postgresProgram } from '../../containers/compute/postgres/programs.ts';
import { quoteIdentifier, quoteLiteral } from '../../containers/compute/postgres/quote.ts';
import { ADMIN_ROLE } from '../../containers/compute/postgres/settings.ts';
import { Superuser } from '../../containers/compute/postgres/superuser.ts';
import { ImportError, readControl } from '../../containers/pageserver/import/data-directory.ts';
import { transferOwnership } from './ownership.ts';

export interface ImportedRole {
  name: string;
  /** A SCRAM-SHA-256 secret; null where there is none, or one of another kind. */
  scramSecret: string | null;
  canLogin: boolean;
}
export interface ImportedDatabase {
  name: string;
  owner: string;
}
/** What the control plane is to know of an adopted cluster. */
export interface AdoptedCluster {
  /** Who owns what the bootstrap superuser owned. */
  owner: string;
  roles: ImportedRole[];
  databases: ImportedDatabase[];
}

/** Where the bootstrap superuser had no name of its own to give on. */
const DEFAULT_OWNER = 'owner';
const SCRAM = 'SCRAM-SHA-256$';

/**
 * `copy` is a data directory that nobody else has, in `work`, a folder that everyone may enter. Throws ImportError, and an Error with
 * what Postgres said.
 */
export async function adopt(copy: string, work: string): Promise<AdoptedCluster> {
  const control = await readControl(copy);
  const program = await postgresProgram();
  const identity = chooseIdentity([program, copy]);
  const socket = join(work, 'socket');
  await mkdir(socket, { recursive: true, mode: 0o700 });
  const settings = {
    listen_addresses: '',
    unix_socket_directories: socket,
    port: '5432',
    fsync: 'off',
    full_page_writes: 'off',
    autovacuum: 'off',
    wal_level: 'minimal',
    max_wal_senders: '0',
    archive_mode: 'off',
    shared_buffers: '64MB',
    max_connections: '20',
    max_prepared_transactions: String(control.maxPreparedTransactions),
    track_commit_timestamp: control.trackCommitTimestamp ? 'on' : 'off',
    log_destination: 'stderr',
    logging_collector: 'off',
    log_line_prefix: '[%p] ', // by which Postmaster finds that it is ready
    lc_messages: 'C',
    event_triggers: 'off',
    session_preload_libraries: '',
    shared_preload_libraries: '',
    local_preload_libraries: '',
  };
  const lines = Object.entries(settings).map(
    ([name, value]) => `${name} = '${value.replaceAll("'", "''")}'\n`,
  );
  await writeFile(join(copy, 'postgresql.conf'), lines.join(''));
  await writeFile(join(copy, 'pg_hba.conf'), 'local all all trust\n');
  await writeFile(join(copy, 'pg_ident.conf'), '');
  for (const name of [
    'postgresql.auto.conf',
    'postmaster.pid',
    'postmaster.opts',
    'standby.signal',
    'recovery.signal',
  ])
    await rm(join(copy, name), { force: true });
  await giveTo(identity, copy);
  await giveTo(identity, socket);

  const bootstrapName = await renameBootstrapSuperuser(identity, program, copy);
  const postmaster = await Postmaster.start({
    program,
    dataDirectory: copy,
    identity,
    onLog: () => {},
    onCancelledWait: () => {},
  });
  const superuser = new Superuser(join(socket, '.s.PGSQL.5432'));
  try {
    await postmaster.ready();
    return await changeOwners(superuser, bootstrapName);
  } finally {
    await superuser.close();
    await postmaster.stop('fast');
    if (identity.kind === 'nobody') await giveTo({ ...identity, uid: 0, gid: 0 }, copy);
  }
}

/** In single-user mode, where nobody has to know its name: recovery happens here too. Resolves to the old name. */
async function renameBootstrapSuperuser(identity: Identity, program: string, copy: string): Promise<string> {
  const said = await singleUser(
    identity,
    program,
    copy,
    'SELECT rolname FROM pg_catalog.pg_authid WHERE oid = 10\n' +
      `UPDATE pg_catalog.pg_authid SET rolname = '${ADMIN_ROLE}' WHERE oid = 10 AND rolname <> '${ADMIN_ROLE}'\n`,
  );
  const name = /rolname = "((?:[^"]|"(?!\t\(typeid))*)"\t\(typeid/.exec(said)?.[1];
  if (name === undefined) throw new Error(`Postgres did not say its superuser's name: ${said.slice(-2000)}`);
  if (/duplicate key value/.test(said))
    throw new ImportError(
      'reserved',
      `there is a role ${ADMIN_ROLE} that is not the cluster's first: rename it`,
    );
  return name;
}

async function singleUser(identity: Identity, program: string, copy: string, input: string): Promise<string> {
  const { command, ids } = commandAs(identity, program, ['--single', '-D', copy, 'template1']);
  const child = spawn(command[0], command.slice(1), {
    ...ids,
    cwd: '/',
    env: { PATH: process.env['PATH'] ?? '/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC' },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  let said = '';
  child.stdout.on('data', (chunk: Buffer) => (said += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()));
  child.stdin.end(input);
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  if (code !== 0) throw new Error(`postgres --single ended with ${code}: ${said.slice(-2000)}`);
  return said;
}

async function changeOwners(superuser: Superuser, bootstrapName: string): Promise<AdoptedCluster> {
  const owner = bootstrapName === ADMIN_ROLE ? DEFAULT_OWNER : bootstrapName;
  const admin = quoteIdentifier(ADMIN_ROLE);
  const [result] = await superuser.query('SELECT rolpassword FROM pg_authid WHERE oid = 10');
  const secret = result.rows[0][0];
  if (bootstrapName !== ADMIN_ROLE) {
    const password = secret?.startsWith(SCRAM) ? ` PASSWORD ${quoteLiteral(secret)}` : '';
    await superuser.query(
      `CREATE ROLE ${quoteIdentifier(owner)} LOGIN CREATEDB CREATEROLE BYPASSRLS${password}`,
    );
  }
  await superuser.query(`ALTER ROLE ${admin} PASSWORD NULL; ALTER ROLE ${admin} LOGIN REPLICATION`);
  const [roles] = await superuser.query(
    `SELECT rolname FROM pg_authid WHERE oid <> 10 AND (rolsuper OR rolreplication)`,
  );
  for (const [name] of roles.rows)
    await superuser.query(`ALTER ROLE ${quoteIdentifier(name!)} NOSUPERUSER NOREPLICATION`);
  const [databases] = await superuser.query(
    `SELECT datname, datdba = 10, datistemplate FROM pg_database WHERE datallowconn ORDER BY oid`,
  );
  const names = databases.rows.map(([name]) => name!);
  if (!names.includes('postgres')) await superuser.query('CREATE DATABASE postgres');
  if (bootstrapName !== ADMIN_ROLE)
    for (const [name, isAdmins, isTemplate] of databases.rows) {
      await transferOwnership(superuser, name!, owner);
      if (isAdmins === 't' && isTemplate === 'f')
        await superuser.query(`ALTER DATABASE ${quoteIdentifier(name!)} OWNER TO ${quoteIdentifier(owner)}`);
    }
  return { owner, roles: await readRoles(superuser), databases: await readDatabases(superuser) };
}

async function readRoles(superuser: Superuser): Promise<ImportedRole[]> {
  const [result] = await superuser.query(
    `SELECT rolname, rolpassword, rolcanlogin FROM pg_authid WHERE oid <> 10 AND rolname !~ '^pg_' ORDER BY rolname`,
  );
  return result.rows.map(([name, secret, canLogin]) => ({
    name: name!,
    scramSecret: secret?.startsWith(SCRAM) ? secret : null,
    canLogin: canLogin === 't',
  }));
}
async function readDatabases(superuser: Superuser): Promise<ImportedDatabase[]> {
  const [result] = await superuser.query(
    `SELECT datname, pg_get_userbyid(datdba) FROM pg_database
     WHERE datallowconn AND NOT datistemplate AND datdba <> 10 ORDER BY oid`,
  );
  return result.rows.map(([name, owner]) => ({ name: name!, owner: owner! }));
}

/** The tree at `path` to Postgres's uid, as it demands. */
async function giveTo(identity: Identity, path: string): Promise<void> {
  const { uid, gid } = identity;
  const give = async (at: string): Promise<void> => {
    if (process.getuid?.() === 0) await chown(at, uid, gid);
    if (!(await lstat(at)).isDirectory()) return;
    await chmod(at, 0o700);
    for (const entry of await readdir(at)) await give(join(at, entry));
  };
  await give(path);
}
