/**
 * What the Durable Objects offer each other and the Worker, by RPC.
 *
 * A Worker that needs an endpoint knows only its name: `env.COMPUTE.getByName(endpointId)`. A Durable Object
 * that was never configured answers `null` and writes nothing, so that guessing names costs no storage.
 *
 *   class        name of the object                          binding
 *   Account      'account' (one)                             ACCOUNT
 *   Project      projectId                                   PROJECT
 *   Compute      endpointId                                  COMPUTE
 *   Safekeeper   `${projectId}/${timelineId}/${number}`      SAFEKEEPER
 *   Pageserver   projectId                                   PAGESERVER
 *
 * Other bindings: BUCKET (R2: `projects/{projectId}/wal/{timelineId}/…` by safekeepers,
 * `projects/{projectId}/layers/…` by pageservers through the S3 endpoint), S3_ENDPOINT, S3_BUCKET,
 * S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY (text).
 */
import type { Configuration } from '../lib/consensus/configuration.ts';
import type { PageErrorCode } from '../lib/protocol/pages.ts';
import type { DatabaseSpec, RoleSpec, RolesReport, TimelineSpec } from '../lib/protocol/specs.ts';

/** Everything the Compute object must know of its endpoint; kept in its own storage, sent by the Project. */
export interface EndpointConfig {
  projectId: string;
  branchId: string;
  endpointId: string;
  /** 31-bit number, unique in the account: the process id in the cancel keys of this endpoint's clients. */
  endpointNumber: number;
  timeline: TimelineSpec;
  suspendAfterMs: number;
  settings: Record<string, string>;
  /** An endpoint at a past LSN: what is written there is discarded when its compute ends. */
  travel?: boolean;
}

/** A point of a branch's history as a person names it; neither: the head. */
export interface PointText {
  /** LSN text. */
  lsn?: string;
  /** ISO 8601 with a time zone. */
  timestamp?: string;
}
/** Where a connection to a point of the past leads: an endpoint that is there for it. */
export type TravelResult =
  | { ok: true; endpointId: string; lsn: string }
  /** `retryable`: another attempt may succeed. */
  | { ok: false; code: string; message: string; retryable: boolean };

/** A wake that did not succeed. `retryable` says whether the proxy should try again with backoff. */
export interface WakeFailure {
  ok: false;
  code: 'unavailable' | 'failed' | 'disabled';
  message: string;
  retryable: boolean;
}
export type WakeResult = { ok: true; coldStart: boolean; wakeMs: number } | WakeFailure;

/** What a client's BackendKeyData carries: Ebb's own key, which names the endpoint and one open connection. */
export interface CancelKey {
  /** 31 bits. */
  pid: number;
  /** 4 bytes (protocol 3.0), as a number. */
  secret: number;
}
export interface BackendKey {
  pid: number;
  /** 4 bytes for protocol 3.0, up to 256 for 3.2. */
  secret: Uint8Array;
}

export interface ComputeRpc {
  /** `Postgres-style SCRAM secret text, or null: unknown endpoint, unknown role, or a role that may not log in. */
  scramSecret(role: string): Promise<string | null>;
  /** Starts a compute unless one runs; resolves when it takes connections. Never throws for expected failures. */
  wake(): Promise<WakeResult>;
  /** Registers a connection that is being opened; its answer goes to the client in place of Postgres's own key. */
  openCancelKey(backend: BackendKey): Promise<CancelKey>;
  closeCancelKey(key: CancelKey): Promise<void>;
  /** Forwards a cancel to exactly the backend behind the key; an unknown key does nothing. */
  cancel(key: CancelKey): Promise<void>;
  configure(config: EndpointConfig): Promise<void>;
  /** The endpoint through which clients of this one reach a point of its branch's history. Never throws for expected failures. */
  travel(point: PointText): Promise<TravelResult>;
  /** Stops the compute, if one runs, and goes on with another configuration: its clients have to connect again. */
  retarget(config: EndpointConfig): Promise<void>;
  /**
   * If no compute runs and nobody is connected: forgets the endpoint, or goes on with another configuration. False,
   * and nothing changes, otherwise.
   */
  release(next: EndpointConfig | null): Promise<boolean>;
  /** Applies roles and databases to a running compute; otherwise they are applied at the next boot. */
  applyRoles(): Promise<void>;
  suspend(): Promise<void>;
  status(): Promise<ComputeStatus>;
  /** Stops everything and forgets the endpoint. */
  remove(): Promise<void>;
  // Besides: `connect(socket)`: bytes to the compute's Postgres, from the StartupMessage on (wakes if needed).
  // `fetch()`: `POST /sql` (already authenticated by the Worker), `GET /status`.
}
export interface ComputeStatus {
  state: 'idle' | 'starting' | 'active' | 'stopping';
  term: number;
  startedAt: string | null;
  suspendedAt: string | null;
  lastActiveAt: string | null;
  lastError: string | null;
}

export interface PageserverRpc {
  /**
   * Starts a pageserver unless one runs, and resolves when it serves. One that is started attaches `timeline` at once.
   * Throws when it cannot.
   */
  wake(projectId: string, timeline?: TimelineSpec): Promise<void>;
  stop(): Promise<void>;
  /**
   * The end of the first commit record after `time` (microseconds since 2000) and up to `to`, an LSN as a number; null where
   * there is none. Wakes the pageserver.
   */
  firstCommitAfter(
    timeline: TimelineSpec,
    range: { time: number; to: number },
  ): Promise<{ ok: true; lsn: number | null } | { ok: false; code: PageErrorCode; message: string }>;
  /** Deletes the layers and the WAL backup of a timeline that nothing reads any more. */
  removeTimeline(projectId: string, timelineId: string): Promise<void>;
  /** Stops it and deletes the project's layers. */
  remove(): Promise<void>;
  // Besides: `fetch()`: `/metrics`, WebSocket `/pages` and `/inspect/…`, passed to the container.
}

/** What the compute needs to boot that only the control plane knows. */
export interface ProjectSpecForCompute {
  roles: RoleSpec[];
  databases: DatabaseSpec[];
  droppedRoles: string[];
  droppedDatabases: string[];
}
/** A compute may start; or the endpoint has another configuration now, to be taken over first. */
export type ComputeStart =
  | { ok: true; term: number; safekeepers: Configuration; spec: ProjectSpecForCompute }
  | { ok: false; config: EndpointConfig | null };

export interface ProjectRpcForCompute {
  /** Gives the term for a compute of this endpoint, strictly larger than any before for its timeline, if `timelineId` is still its timeline; `config: null`: it was deleted. */
  startCompute(endpointId: string, timelineId: string): Promise<ComputeStart>;
  travelEndpoint(branchId: string, point: PointText): Promise<TravelResult>;
  /** The compute of an endpoint at a past LSN has ended. */
  travelEnded(endpointId: string): Promise<void>;
  computeSpec(branchId: string): Promise<ProjectSpecForCompute>;
  /** The specification was applied by a compute: forget the drops. */
  applied(branchId: string, spec: ProjectSpecForCompute): Promise<void>;
  /** Roles as Postgres has them now, so that the proxy knows roles made by SQL. */
  reportRoles(branchId: string, report: RolesReport): Promise<void>;
  scramSecret(branchId: string, role: string): Promise<string | null>;
}

export interface AccountRpc {
  endpointOfNumber(endpointNumber: number): Promise<string | null>;
}
