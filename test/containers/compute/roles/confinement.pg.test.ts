/**
 * An owner administers its database and roles, and reaches nothing of the container: neither its files nor its
 * processes nor its libraries nor the reserved superuser.
 */
import type pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { applyRoles } from '../../../../containers/compute/roles/apply.ts';
import { RolesError } from '../../../../containers/compute/roles/plan.ts';
import { ComputePostgres, scramSecret } from '../../../support/compute-postgres.ts';

let compute: ComputePostgres;
let owner: pg.Client;
const spec = { roles: [], databases: [], droppedRoles: [], droppedDatabases: [] };

beforeAll(async () => {
  compute = await ComputePostgres.start();
  const { secret } = await scramSecret('moon');
  await applyRoles(compute.superuser, {
    ...spec,
    roles: [{ name: 'conrad', scramSecret: secret, owner: true }],
    databases: [{ name: 'main', owner: 'conrad' }],
  });
  owner = await compute.connect('conrad', 'moon', 'main');
});
afterAll(async () => {
  await owner.end();
  await compute[Symbol.asyncDispose]();
});

describe('an owner may', () => {
  test.each([
    "create role clerk login password 'x' createdb",
    'create role team; grant team to clerk; grant pg_read_all_data to clerk',
    'alter role clerk bypassrls',
    'create database shop owner clerk',
    'create schema s; create table public.t (a int); create table s.t (a int)',
    'create extension pgcrypto; create extension pg_trgm; create extension hstore; create extension citext',
    'create extension "uuid-ossp"; create extension btree_gist; create extension unaccent; create extension ltree',
    "create function f() returns trigger language plpgsql as 'begin return new;end'",
    'create publication p for table public.t',
    'checkpoint',
    'vacuum analyze',
    'select count(*) from pg_stat_activity where query is not null',
    'drop database shop',
    'grant create on schema public to clerk; alter table public.t owner to clerk; drop table s.t',
  ])('%s', async (sql) => {
    for (const statement of sql.split('; ')) await owner.query(statement);
  });
});

describe('an owner may not', () => {
  const denied =
    /permission denied|must be superuser|must have|access to library|could not access|Only roles with|not allowed|is not trusted|untrusted|must be owner|cannot/i;
  test.each([
    "copy public.t from program 'id'",
    "copy public.t to program 'id'",
    "copy public.t from '/etc/passwd'",
    "copy public.t to '/tmp/x'",
    "select lo_import('/etc/passwd')",
    "select lo_export(1, '/tmp/x')",
    "select pg_read_file('/etc/passwd')",
    "select pg_read_binary_file('PG_VERSION')",
    "select pg_ls_dir('.')",
    "select pg_stat_file('PG_VERSION')",
    "create tablespace away location '/tmp'",
    'create extension dblink',
    'create extension postgres_fdw',
    'create extension file_fdw',
    'create extension pageinspect',
    "create function f2() returns int language c as '/lib/x86_64-linux-gnu/libc.so.6', 'getpid'",
    "create function f3(text) returns int language internal as 'textlen'",
    "load '/lib/x86_64-linux-gnu/libc.so.6'",
    'create language plpython3u',
    "alter system set archive_command = 'id'",
    "set session_preload_libraries = 'x'",
    "alter role conrad set session_preload_libraries = 'x'",
    "alter database main set session_preload_libraries = 'x'",
    "set log_min_messages = 'panic'",
    "set lc_messages = 'de_DE'",
    "set synchronous_standby_names = ''",
    "select set_config('dynamic_library_path', '/tmp', false)",
    'select pg_reload_conf()',
    "create subscription s connection 'dbname=postgres' publication p",
    "select pg_create_physical_replication_slot('s')",
    "select pg_backup_start('x')",
    'select pg_switch_wal()',
    'create role boss superuser',
    'alter role conrad superuser',
    'alter role conrad replication',
    'create role r replication',
    "alter role ebb_admin password 'x'",
    'grant ebb_admin to conrad',
    'set role ebb_admin',
    'set session authorization ebb_admin',
    'grant pg_read_server_files to conrad',
    'grant pg_execute_server_program to conrad',
    'grant pg_write_server_files to conrad',
    'grant pg_create_subscription to conrad',
    "update pg_authid set rolsuper = true where rolname = 'conrad'",
    'insert into pg_proc select * from pg_proc limit 1',
    'drop database postgres',
    'alter database postgres owner to conrad',
    'create event trigger e on ddl_command_end execute function f()',
    'create trusted language l handler plpgsql_call_handler',
    'create publication everything for all tables',
  ])('%s', async (sql) => {
    const failure = await owner.query(sql).then(
      () => null,
      (error: Error) => error,
    );
    expect(failure?.message ?? 'succeeded').toMatch(denied);
  });

  test('end or cancel the processes of the superuser', async () => {
    const admin = await compute.superuser.connect('postgres');
    await expect(owner.query('select pg_terminate_backend($1)', [admin.pid])).rejects.toThrow(
      /permission denied/,
    );
    await expect(owner.query('select pg_cancel_backend($1)', [admin.pid])).rejects.toThrow(
      /permission denied/,
    );
    await admin.close();
  });

  test('log in as the superuser or for replication, with whatever password', async () => {
    await owner.query("create role copyist login password 'x'");
    const replication = { parameters: { replication: 'true' } };
    const { Connection } = await import('../../../../containers/compute/postgres/connection.ts');
    const { clientKey } = await scramSecret('x');
    const login = Connection.connect({
      socketPath: compute.socketPath,
      user: 'copyist',
      clientKey,
      ...replication,
    });
    await expect(login).rejects.toThrow(/pg_hba.conf rejects/);
  });
});

describe('applying', () => {
  const conrad = { name: 'conrad', scramSecret: null, owner: true };
  test('what is so already takes no step', async () => {
    const again = { ...spec, roles: [conrad], databases: [{ name: 'main', owner: 'conrad' }] };
    expect(await applyRoles(compute.superuser, again)).toEqual([]);
  });
  test('a new password replaces the old one', async () => {
    const { secret } = await scramSecret('sun');
    await applyRoles(compute.superuser, { ...spec, roles: [{ ...conrad, scramSecret: secret }] });
    await (await compute.connect('conrad', 'sun', 'main')).end();
    await expect(compute.connect('conrad', 'moon', 'main')).rejects.toThrow(/password authentication failed/);
  });
  test('names with quotes in them are names', async () => {
    const name = `o'"b$x$ ; drop role conrad --`;
    const wanted = { ...spec, roles: [{ ...conrad, name }], databases: [{ name, owner: name }] };
    await applyRoles(compute.superuser, wanted);
    expect(await applyRoles(compute.superuser, wanted)).toEqual([]);
    await applyRoles(compute.superuser, { ...spec, droppedRoles: [name], droppedDatabases: [name] });
    const { rows } = await owner.query('select 1 from pg_roles where rolname = $1', [name]);
    expect(rows).toEqual([]);
  });
  test('a dropped role leaves what it owned to the owner of the database', async () => {
    await owner.query(
      'create table kept as select 1 as a; create role leaver; grant create on schema public to leaver; alter table kept owner to leaver',
    );
    await applyRoles(compute.superuser, { ...spec, droppedRoles: ['leaver', 'never_was'] });
    const { rows } = await owner.query("select tableowner from pg_tables where tablename = 'kept'");
    expect(rows).toEqual([{ tableowner: 'conrad' }]);
  });
  test.each(['ebb_admin', 'pg_monitor', 'public', 'none'])('role %s is refused', async (name) => {
    await expect(applyRoles(compute.superuser, { ...spec, roles: [{ ...conrad, name }] })).rejects.toThrow(
      RolesError,
    );
    await expect(applyRoles(compute.superuser, { ...spec, droppedRoles: [name] })).rejects.toThrow(
      RolesError,
    );
  });
  test.each(['postgres', 'template0', 'template1'])('database %s is refused', async (name) => {
    const databases = [{ name, owner: 'conrad' }];
    await expect(applyRoles(compute.superuser, { ...spec, databases })).rejects.toThrow(RolesError);
    await expect(applyRoles(compute.superuser, { ...spec, droppedDatabases: [name] })).rejects.toThrow(
      RolesError,
    );
  });
  test('a secret that is none is refused, and not shown', async () => {
    const roles = [{ ...conrad, scramSecret: "x' superuser --" }];
    await expect(applyRoles(compute.superuser, { ...spec, roles })).rejects.toThrow(
      /is no SCRAM-SHA-256 secret/,
    );
  });
});
