/**
 * The environment of a compute container, read once: its specification and where it may listen and write.
 *
 * The Durable Object that starts the container gives the specification as JSON in `EBB_SPEC`; on one machine
 * many containers share ports and folders, so each of those has a variable (lib/protocol/specs.ts).
 */
import { join } from 'node:path';
import { parseLsn } from '../../lib/postgres/lsn.ts';
import { PROGRESS_BYTES } from '../../lib/protocol/pages.ts';
import { CONTAINER_PORT, ENV, type ComputeSpec } from '../../lib/protocol/specs.ts';
import { INGEST_LAG_BYTES_MAX } from './proposer/ingest-lag.ts';

export interface ComputeConfig {
  spec: ComputeSpec;
  /** Address to listen on. */
  listen: string;
  httpPort: number;
  postgresPort: number;
  folders: Folders;
  /** How the data directory is served; `auto` tries FUSE and falls back to a filled plain folder. */
  dataDirectory: 'auto' | 'fuse' | 'plain';
}

/** Everything of a compute lies in one disposable folder, which is emptied at each start. */
export interface Folders {
  root: string;
  /** Where FUSE is mounted. */
  mount: string;
  /** Local files, PGDATA among them. */
  backing: string;
  /** Unix sockets of Postgres; mode 0700. */
  socket: string;
}

const DISK_DEFAULT = '/var/lib/ebb';
/** sun_path, less `/.s.PGSQL.5432` and the final zero (UNIXSOCK_PATH in libpq/pqcomm.h). */
const SOCKET_FOLDER_BYTES_MAX = 107 - '/.s.PGSQL.5432'.length;

/** Throws an Error that names the variable when one is missing or malformed. */
export function readConfig(env: Readonly<Record<string, string | undefined>>): ComputeConfig {
  const root = env[ENV.disk] ?? DISK_DEFAULT;
  const folders = {
    root,
    mount: join(root, 'mount'),
    backing: join(root, 'backing'),
    socket: join(root, 'socket'),
  };
  if (Buffer.byteLength(folders.socket) > SOCKET_FOLDER_BYTES_MAX)
    throw new Error(
      `${ENV.disk}: ${folders.socket} is too long for a unix socket (${SOCKET_FOLDER_BYTES_MAX} bytes)`,
    );
  return {
    spec: readSpec(env[ENV.spec]),
    listen: env[ENV.listen] ?? '0.0.0.0',
    httpPort: readPort(env, CONTAINER_PORT.http),
    postgresPort: readPort(env, CONTAINER_PORT.postgres),
    folders,
    dataDirectory: readDataDirectory(env[ENV.dataDirectory]),
  };
}

function readSpec(text: string | undefined): ComputeSpec {
  if (text === undefined)
    throw new Error(`${ENV.spec} is not set: a compute is started with its specification`);
  const spec = JSON.parse(text) as ComputeSpec;
  if (!Number.isSafeInteger(spec.term) || spec.term < 1)
    throw new Error(`${ENV.spec}: term ${spec.term}, a positive integer expected`);
  if (!/^[0-9a-f]{32}$/.test(spec.timeline.timelineId))
    throw new Error(`${ENV.spec}: timelineId ${spec.timeline.timelineId}, 32 hexadecimal digits expected`);
  if (spec.timeline.postgresMajor !== 18)
    throw new Error(`${ENV.spec}: Postgres ${String(spec.timeline.postgresMajor)}, this image has 18`);
  if (spec.sessionToken.length < 16) throw new Error(`${ENV.spec}: the session token is too short`);
  const { ingestLagBytesMax = INGEST_LAG_BYTES_MAX } = spec;
  if (!Number.isSafeInteger(ingestLagBytesMax) || ingestLagBytesMax < PROGRESS_BYTES)
    throw new Error(
      `${ENV.spec}: ingestLagBytesMax ${ingestLagBytesMax}, ${PROGRESS_BYTES} or more expected`,
    );
  parseLsn(spec.timeline.startLsn);
  return spec;
}

function readPort(env: Readonly<Record<string, string | undefined>>, port: number): number {
  const name = `PORT_${port}`;
  const text = env[name];
  if (text === undefined) return port;
  const value = Number(text);
  if (!Number.isInteger(value) || value < 0 || value > 65_535) throw new Error(`${name}: ${text} is no port`);
  return value;
}

function readDataDirectory(text: string | undefined): ComputeConfig['dataDirectory'] {
  if (text === undefined) return 'auto';
  if (text === 'auto' || text === 'fuse' || text === 'plain') return text;
  throw new Error(`${ENV.dataDirectory}: ${text}, one of auto, fuse, plain expected`);
}
