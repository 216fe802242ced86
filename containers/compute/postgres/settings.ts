/**
 * postgresql.conf, pg_hba.conf and pg_ident.conf of a compute.
 *
 * Three groups: defaults that a project may change, settings that Ebb's correctness rests on (they win over
 * everything), and those of the second kind that pg_control repeats, so that Postgres finds nothing changed when it
 * starts. The local disk is a cache that no restart trusts: no fsync, no full-page images, and no restart after a crash.
 */
import type { ControlSettings } from '../../../lib/postgres/boot/boot-files.ts';
import type { Folders } from '../config.ts';
import type { Identity } from './identity.ts';

/** Reserved: Ebb's own superuser. No client may be it. */
export const ADMIN_ROLE = 'ebb_admin';
/** application_name of the WAL proposer, by which Postgres knows its synchronous standby. */
export const PROPOSER_NAME = 'ebb_proposer';
/** Its replication slot. */
export const PROPOSER_SLOT = 'ebb_proposer';
/** Part of the socket's file name only: Postgres listens on no TCP port. */
export const SOCKET_PORT = 5432;

export const socketPath = (folders: Pick<Folders, 'socket'>): string =>
  `${folders.socket}/.s.PGSQL.${SOCKET_PORT}`;

const DEFAULTS: Readonly<Record<string, string>> = {
  max_connections: '100',
  wal_buffers: '4MB',
  max_wal_size: '1GB',
  min_wal_size: '80MB',
  checkpoint_timeout: '15min',
  autovacuum_max_workers: '3',
  max_prepared_transactions: '20',
  max_worker_processes: '8',
  max_locks_per_transaction: '64',
  default_text_search_config: 'pg_catalog.english',
  datestyle: 'iso, mdy',
  timezone: 'UTC',
  jit: 'off',
  // Who creates a role can act as it: otherwise an owner could not give it a database or a table.
  createrole_self_grant: 'set, inherit',
};

const MEBIBYTE = 1 << 20;
/** An eighth of the memory: the kernel's page cache holds what the data directory serves, so this is the smaller cache. */
const sharedBuffers = (memoryBytes: number): string =>
  `${Math.min(128, Math.max(16, Math.floor(memoryBytes / 8 / MEBIBYTE)))}MB`;

/** What a project may not change. */
const REQUIRED: Readonly<Record<string, string>> = {
  listen_addresses: '',
  port: String(SOCKET_PORT),
  unix_socket_permissions: '0700',
  allow_alter_system: 'off',
  // The commit's way: the proposer is the synchronous standby, and the local disk needs no care.
  wal_level: 'replica',
  synchronous_commit: 'on',
  synchronous_standby_names: PROPOSER_NAME,
  max_wal_senders: '4',
  max_replication_slots: '4',
  // The proposer's slot keeps what it has not confirmed, however much a bulk load writes ahead of the quorum.
  wal_keep_size: '64MB',
  max_slot_wal_keep_size: '-1',
  idle_replication_slot_timeout: '0',
  fsync: 'off',
  full_page_writes: 'off',
  wal_init_zero: 'off',
  wal_log_hints: 'off',
  track_commit_timestamp: 'off',
  archive_mode: 'off',
  summarize_wal: 'off',
  // A crashed server is never restarted on its own files.
  restart_after_crash: 'off',
  io_method: 'sync',
  huge_pages: 'off',
  shared_memory_type: 'mmap',
  dynamic_shared_memory_type: 'posix',
  password_encryption: 'scram-sha-256',
  ssl: 'off',
  // The log is read by this process: cancelled commits are found in it (gateway/commit-guard.ts).
  log_destination: 'stderr',
  logging_collector: 'off',
  log_line_prefix: '[%p] ',
  log_timezone: 'UTC',
  log_min_messages: 'warning',
  // Statements can hold secrets.
  log_min_error_statement: 'panic',
  log_statement: 'none',
  log_checkpoints: 'off',
  lc_messages: 'C',
};

/** Settings that would point Postgres at files or programs of the container; there is no reason to give them. */
const REFUSED: ReadonlySet<string> = new Set([
  'data_directory',
  'config_file',
  'hba_file',
  'ident_file',
  'external_pid_file',
  'include',
  'include_if_exists',
  'include_dir',
  'archive_command',
  'archive_library',
  'restore_command',
  'archive_cleanup_command',
  'recovery_end_command',
  'ssl_passphrase_command',
  'dynamic_library_path',
  'extension_control_path',
  'log_directory',
  'unix_socket_group',
  'krb_server_keyfile',
]);

export interface PostgresSettings {
  /** postgresql.conf */
  text: string;
  control: ControlSettings;
}

/**
 * `extra` are a project's own settings, `memoryBytes` what the container has. Throws an Error that names a setting that is refused, not a name, not one
 * line, or, where pg_control needs it, not an integer.
 */
export function postgresSettings(
  folders: Pick<Folders, 'socket'>,
  extra: Readonly<Record<string, string>>,
  memoryBytes: number,
): PostgresSettings {
  const merged = new Map(Object.entries(DEFAULTS));
  merged.set('shared_buffers', sharedBuffers(memoryBytes));
  for (const [name, value] of Object.entries(extra)) {
    if (!/^[a-z_][a-z0-9_.]*$/i.test(name)) throw new Error(`setting ${JSON.stringify(name)} is not a name`);
    if (REFUSED.has(name.toLowerCase())) throw new Error(`setting ${name} cannot be changed`);
    if (/[\n\r\0]/.test(value)) throw new Error(`setting ${name} has more than one line`);
    merged.set(name.toLowerCase(), value);
  }
  for (const [name, value] of Object.entries(REQUIRED)) merged.set(name, value);
  merged.set('unix_socket_directories', folders.socket);
  const integer = (name: string): number => {
    const value = Number(merged.get(name));
    if (!Number.isInteger(value) || value < 0)
      throw new Error(`setting ${name} is ${String(merged.get(name))}: an integer expected`);
    return value;
  };
  return {
    text: [...merged].map(([name, value]) => `${name} = ${quoteSetting(value)}\n`).join(''),
    control: {
      maxConnections: integer('max_connections'),
      maxWorkerProcesses: integer('max_worker_processes'),
      maxWalSenders: integer('max_wal_senders'),
      maxPreparedTransactions: integer('max_prepared_transactions'),
      maxLocksPerTransaction: integer('max_locks_per_transaction'),
    },
  };
}

/** As guc-file.l reads a quoted value: quotes doubled, backslashes escaped. */
const quoteSetting = (value: string): string => `'${value.replaceAll('\\', '\\\\').replaceAll("'", "''")}'`;

/**
 * Only this process may be the superuser, by the uid on the other end of the socket where Postgres can name it; the
 * gateway and the /sql pool, which reach the same socket for clients, refuse that role. Everyone else proves a password.
 */
export function hostBasedAuthentication(identity: Identity): string {
  const method = identity.peerName === null ? 'trust' : 'peer map=ebb';
  return [
    `local all ${ADMIN_ROLE} ${method}`,
    `local replication ${ADMIN_ROLE} ${method}`,
    'local replication all reject',
    'local all all scram-sha-256',
    '',
  ].join('\n');
}

/** pg_ident.conf for `map=ebb`. */
export const identityMap = (identity: Identity): string =>
  identity.peerName === null ? '' : `ebb "${identity.peerName}" ${ADMIN_ROLE}\n`;
