/**
 * What the parts tell each other when one starts another: specifications, host names, ports, variables.
 *
 * A container is started by its Durable Object with its specification as JSON in `EBB_SPEC`. It listens on
 * the ports below; every caller proves with the session token that it is that Durable Object. It reaches the
 * outside only through the host names below, which its Durable Object intercepts and binds to the container's
 * own project and timeline (workers/egress/).
 */

import type { Configuration } from '../consensus/configuration.ts';

/** Ports as the Dockerfiles expose them. One machine runs many containers, so there `PORT_8080=…` overrides. */
export const CONTAINER_PORT = { http: 8080, postgres: 5432 } as const;

/** Host names that a container may reach, over plain HTTP or WebSocket; the runtime intercepts them. */
export const HOST = {
  /** compute → safekeeper n of its timeline, at its place (safekeepers.ts): one WebSocket at `/{n}`, lib/consensus messages. */
  safekeeper: (place: number) => `safekeeper-${place}.ebb.internal`,
  /** compute → its project's pageserver, bound to its timeline: one WebSocket at `/pages`. */
  pageserver: 'pageserver.ebb.internal',
  /** pageserver → WAL of any timeline of its project: WebSocket `/{n}/timelines/{timelineId}/wal?from=LSN`. */
  wal: 'wal.ebb.internal',
  /** pageserver → object storage: S3, path style, bucket `ebb`, keys under `projects/{projectId}/` only. */
  storage: 'storage.ebb.internal',
  /** either → its own Durable Object: POST /idle, POST /roles, PUT /warm-pages … (ControlRoute). */
  control: 'control.ebb.internal',
} as const;

export const SAFEKEEPER_COUNT = 3;

/** Environment of a container process. */
export const ENV = {
  spec: 'EBB_SPEC',
  /** Folder for the disposable disk; default /var/lib/ebb. */
  disk: 'EBB_DISK',
  /** Pageserver: most bytes of layer files on that disk; default half of it, at most 20 GiB. */
  diskBytesMax: 'EBB_DISK_BYTES_MAX',
  /** Address to listen on; default 0.0.0.0; the one-machine engine sets 127.0.0.1. */
  listen: 'EBB_LISTEN',
  /** Compute: `fuse`, `plain`, or `auto` (default: FUSE where it can be mounted). */
  dataDirectory: 'EBB_DATA_DIRECTORY',
  /** Pageserver: folder of the initdb template (PGDATA of a cleanly stopped cluster); default /template/18. */
  template: 'EBB_TEMPLATE',
} as const;

/** Every timeline's WAL begins here (a segment start beyond any WAL of the template). */
export const TIMELINE_START_LSN = '0/3000000';

/**
 * Where a timeline's first pages come from: the template; an import, whose layers and index are in object storage before
 * anyone asks for the timeline; or another timeline as of `ancestorLsn`, a record's end, which is the branch's start LSN.
 * `previousLsn` is where that record starts (0/0 where there is none): xl_prev of the branch's first own record.
 */
export type TimelineOrigin =
  | { kind: 'template' }
  | { kind: 'import' }
  | { kind: 'branch'; ancestor: TimelineSpec; ancestorLsn: string; previousLsn: string };

export interface TimelineSpec {
  projectId: string;
  /** 32 lower-case hexadecimal digits. */
  timelineId: string;
  postgresMajor: 18;
  /** u64 in decimal; stands in every long WAL page header and in pg_control. */
  systemIdentifier: string;
  /** LSN text; the WAL holds nothing before it. */
  startLsn: string;
  origin: TimelineOrigin;
}

/** A role as the control plane wants it. `scramSecret` is Postgres's own `SCRAM-SHA-256$…` text. */
export interface RoleSpec {
  name: string;
  scramSecret: string | null;
  /** An owner may create roles, databases and trusted extensions. */
  owner: boolean;
  /** A role that is not there is not made: whether it was, at the LSN that the branch began at, only Postgres knows. */
  presentOnly?: boolean;
}
export interface DatabaseSpec {
  name: string;
  owner: string;
}

export interface ComputeSpec {
  projectId: string;
  branchId: string;
  endpointId: string;
  timeline: TimelineSpec;
  /** The term to be elected in: larger than that of every compute started before for this timeline. */
  term: number;
  /** Who holds the log; a newer configuration is learned from themselves. */
  safekeepers: Configuration;
  /** `Authorization: Bearer …` on port 8080; the preamble line on port 5432. */
  sessionToken: string;
  roles: RoleSpec[];
  databases: DatabaseSpec[];
  /** Roles and databases that the control plane dropped while no compute ran. */
  droppedRoles: string[];
  droppedDatabases: string[];
  /** Extra postgresql.conf settings. */
  settings: Record<string, string>;
  /** Ask to be suspended after so long without a client or a running query; 0 never. */
  suspendAfterMs: number;
  /** WAL that the pageserver may be behind before commits wait for it; left out: as the compute likes. */
  ingestLagBytesMax?: number;
  /** What the last session read first (base64 of lib/protocol/pages page runs), to be fetched in one go. */
  warmPages: string | null;
}

export interface PageserverSpec {
  projectId: string;
  /** Larger than that of every pageserver started before for this project. */
  generation: number;
  sessionToken: string;
  /** Ask to be stopped after so long without a compute attached and with everything uploaded; 0 never. */
  stopAfterMs: number;
  /** How long history is kept, at least; left out: as the pageserver likes. */
  historyRetentionMs?: number;
  /** Attached at once: whoever had it started will ask for them. */
  timelines?: TimelineSpec[];
}

/** First line on a compute's Postgres port, then the client's bytes from the StartupMessage on. */
export const passthroughPreamble = (sessionToken: string): string => `EBB/1 ${sessionToken}\n`;

/**
 * A compute's HTTP port (all but /healthz with the bearer token):
 *   GET  /healthz                → 204 as soon as it listens
 *   GET  /ready                  → holds until booted: 200 {lsn, bootMs, …} or 503 ComputeFailure
 *   GET  /activity               → ComputeActivity
 *   POST /suspend                → stops cleanly (final WAL is at the quorum), 204, then exit 0
 *   POST /apply                  → {roles, databases, droppedRoles, droppedDatabases}: 204
 *   POST /cancel                 → {pid, key (base64)}: 204; forwarded to exactly that backend
 *   POST /sql                    → lib/protocol/sql.ts
 *   GET  /status                 → everything that `ebb inspect` shows
 * A pageserver's HTTP port: GET /healthz, GET /ready, POST /stop, WebSocket /pages (header X-Ebb-Timeline:
 * TimelineSpec as JSON, set by the egress handler), GET /inspect/… .
 */
export interface ComputeActivity {
  connections: number;
  activeQueries: number;
  idleMs: number;
}
export interface ComputeFailure {
  /** `superseded`: a newer term exists. `unavailable`: a quorum or the pageserver did not answer; retry. */
  code: 'superseded' | 'unavailable' | 'failed';
  message: string;
}

/**
 * What a container asks of its Durable Object at `http://control.ebb.internal`:
 *   POST /idle         → {stop: boolean}: true when no connection came in between; then it stops itself
 *   POST /roles        → {roles: {name, scramSecret, canLogin}[]}: pg_authid as it is now (compute)
 *   PUT  /warm-pages   → body: encoded page runs (compute)
 *   POST /superseded   → {term}: a newer term was met (compute)
 *   POST /horizon      → HorizonRequest: HorizonAnswer (pageserver)
 */
export interface RolesReport {
  roles: { name: string; scramSecret: string | null; canLogin: boolean }[];
  /** Those that users have made. */
  databases?: DatabaseSpec[];
}

/**
 * A pageserver wants to drop history of a timeline below `horizonLsn`. The Project records it before it answers: no branch
 * and no lease is made below a recorded horizon, so what the answer does not retain nobody will ever read.
 */
export interface HorizonRequest {
  timelineId: string;
  /** LSN text; where the retention window begins. */
  horizonLsn: string;
}
export interface HorizonAnswer {
  /** What is recorded now: the newest horizon ever asked for, or an older one where the Project holds it back. */
  horizonLsn: string;
  /** Branch points and leases below it, LSN texts: what a read at one of these needs is kept too. */
  retainedLsns: string[];
  /** As PageserverSpec's, as it is now. */
  historyRetentionMs?: number;
}
