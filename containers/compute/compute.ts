/**
 * A compute from its boot to its exit: one Postgres, one proposer, one data directory, and what watches them.
 *
 *   booting ──► serving ──suspend()──────────────► stopping ──► exit 0
 *      │           └─superseded, crash, failure──► stopping ──► exit with its code (exit-codes.ts)
 *      └─failure──► stopping ──► exit
 *
 * There is no way back: a compute that stops is replaced by a new one, in a new term, at the end of the durable log.
 */
import { assert } from '../../lib/assert.ts';
import { formatLsn } from '../../lib/postgres/lsn.ts';
import { encodeRuns } from '../../lib/protocol/pages.ts';
import { placeOf } from '../../lib/protocol/safekeepers.ts';
import { HOST, type ComputeActivity } from '../../lib/protocol/specs.ts';
import { boot, type Booted, BootError } from './boot/boot.ts';
import type { ComputeConfig } from './config.ts';
import * as control from './control-client.ts';
import type { Log } from './datadir/types.ts';
import { EXIT, type ExitCode } from './exit-codes.ts';
import { CommitGuard } from './gateway/commit-guard.ts';
import { Gateway } from './gateway/gateway.ts';
import { IdleWatch } from './idle.ts';
import { openSocket as openSocketByHttp, type OpenSocket } from './outbound-socket.ts';
import type { LogLine } from './postgres/server-log.ts';
import { ADMIN_ROLE, socketPath } from './postgres/settings.ts';
import { INGEST_LAG_BYTES_MAX, IngestLag } from './proposer/ingest-lag.ts';
import { Proposer } from './proposer/proposer.ts';
import { applyRoles, readRoles } from './roles/apply.ts';
import type { RolesSpec } from './roles/plan.ts';
import { RoleWatch } from './roles/watch.ts';
import { SqlHandler, type SqlAnswer, type SqlCall } from './sql/handler.ts';

export interface ComputeLog extends Log {
  debug(fields: object, message: string): void;
}

export type ComputeState = 'booting' | 'serving' | 'stopping';

/** Lets the first client's page reads go first. */
const ROLES_REPORT_DELAY_MS = 1000;
/** What is read until then is what the next start should have at hand. */
const WARM_PAGES_AFTER_MS = 2000;
/** For Postgres's shutdown checkpoint to reach the quorum; the Durable Object gives 20 s. */
const SUSPEND_TIMEOUT_MS = 15_000;

export class Compute {
  readonly #config: ComputeConfig;
  readonly #openSocket: OpenSocket;
  readonly #log: ComputeLog;
  readonly #proposer: Proposer;
  readonly #lag: IngestLag;
  readonly #guard: CommitGuard;
  readonly #gateway: Gateway;
  readonly #idle: IdleWatch;
  readonly #roles: RoleWatch;
  readonly #sql: SqlHandler;
  readonly #exited = Promise.withResolvers<ExitCode>();
  readonly #timers = new Set<NodeJS.Timeout>();
  #state: ComputeState = 'booting';
  #booted: Booted | null = null;
  #boot: Promise<Booted> | null = null;
  #suspending: Promise<ExitCode> | null = null;

  constructor(config: ComputeConfig, log: ComputeLog, openSocket: OpenSocket = openSocketByHttp) {
    const { spec, folders } = config;
    this.#config = config;
    this.#log = log;
    this.#openSocket = openSocket;
    this.#lag = new IngestLag({
      bytesMax: spec.ingestLagBytesMax ?? INGEST_LAG_BYTES_MAX,
      onChange: () => this.#proposer.pace(),
      connect: () => this.#booted?.pages.warmUp(),
      log: (fields, message) => log.warn(fields, message),
    });
    this.#proposer = new Proposer({
      timeline: spec.timeline,
      term: spec.term,
      configuration: spec.safekeepers,
      connect: (n) => openSocket(`ws://${HOST.safekeeper(placeOf(n))}/${n}`),
      holds: (streamedLsn) => this.#lag.holds(streamedLsn),
      onRecord: (record) => this.#roles.observe(record),
      log: (message) => log.info({}, message),
    });
    this.#proposer.on('superseded', (term) => void this.#stopSuperseded(term));
    this.#proposer.on('failed', (error) => void this.#stopFailed(EXIT.failed, error, 'proposer'));
    this.#guard = new CommitGuard({
      flushLsn: () => this.#whenBooted().superuser.flushLsn(),
      waitForCommit: (lsn, timeoutMs) => this.#proposer.waitForCommit(lsn, timeoutMs),
    });
    const path = socketPath(folders);
    this.#sql = new SqlHandler({ socketPath: path, guard: this.#guard });
    this.#idle = new IdleWatch({
      suspendAfterMs: spec.suspendAfterMs,
      activeQueries: () => this.#activeQueries(),
      mayStop: control.mayStop,
      stop: () => void this.suspend(),
      onError: (err) => log.warn({ err }, 'looking whether the compute is idle'),
    });
    this.#gateway = new Gateway({
      sessionToken: spec.sessionToken,
      socketPath: path,
      guard: this.#guard,
      refusal: () => (this.#state === 'serving' ? null : `the compute is ${this.#state}`),
      onOpen: () => this.#idle.enter(),
      onClose: () => this.#idle.leave(),
    });
    this.#roles = new RoleWatch({
      read: () => readRoles(this.#whenBooted().superuser),
      report: control.reportRoles,
      onError: (err) => log.warn({ err }, 'reporting roles'),
    });
  }

  get state(): ComputeState {
    return this.#state;
  }
  /** Resolves with the code that the process should exit with, when everything is stopped. */
  get exited(): Promise<ExitCode> {
    return this.#exited.promise;
  }
  get gateway(): Gateway {
    return this.#gateway;
  }

  /** Boots, once. Throws BootError; `exited` resolves then too. */
  start(): Promise<Booted> {
    return (this.#boot ??= this.#start());
  }

  async #start(): Promise<Booted> {
    const { spec } = this.#config;
    let booted: Booted;
    try {
      booted = await boot({
        config: this.#config,
        proposer: this.#proposer,
        lag: this.#lag,
        openSocket: this.#openSocket,
        log: this.#log,
        onPostgresLog: (line) => this.#onPostgresLog(line),
        onCancelledWait: (pid) => this.#guard.suspect(pid),
      });
    } catch (error) {
      if (!(error instanceof BootError)) throw error;
      this.#log.error({ err: error, code: error.code }, 'boot failed');
      this.#state = 'stopping';
      this.#exited.resolve(error.code === 'failed' ? EXIT.failed : EXIT[error.code]);
      throw error;
    }
    this.#booted = booted;
    assert(this.#state === 'booting', `a compute that is ${this.#state} has booted`);
    this.#state = 'serving';
    void booted.postmaster.exited.then(({ crashed, code, signal }) => {
      if (crashed)
        void this.#stopFailed(EXIT.crashed, new Error(`postgres exited with ${code ?? signal}`), 'crash');
    });
    booted.directory.failure.catch(
      (error: unknown) => void this.#stopFailed(EXIT.crashed, error, 'data directory'),
    );
    booted.streaming.catch((error: unknown) => void this.#stopFailed(EXIT.failed, error, 'WAL stream'));
    this.#idle.start();
    this.#after(booted.rolesApplied.length > 0 ? 0 : ROLES_REPORT_DELAY_MS, () => this.#roles.refresh());
    this.#after(WARM_PAGES_AFTER_MS, () => this.#keepWarmPages(booted));
    this.#log.info({ term: spec.term }, 'serving');
    return booted;
  }

  // --- what its Durable Object asks ------------------------------------------------------------------------

  /** Makes the roles and databases so. Throws RolesError, ServerError, or an Error when not serving. */
  async apply(spec: RolesSpec): Promise<void> {
    const { superuser } = this.#whenBooted();
    const steps = await applyRoles(superuser, spec);
    this.#log.info({ steps }, 'roles applied');
    await this.#roles.refresh();
  }

  /** Runs `POST /sql`. */
  async sql(call: SqlCall): Promise<SqlAnswer> {
    if (this.#state !== 'serving')
      return { status: 503, body: JSON.stringify({ message: `the compute is ${this.#state}` }) };
    this.#idle.enter();
    try {
      return await this.#sql.handle(call);
    } finally {
      this.#idle.leave();
    }
  }

  async activity(): Promise<ComputeActivity> {
    const activeQueries = this.#state === 'serving' ? await this.#activeQueries() : 0;
    return { connections: this.#idle.users, activeQueries, idleMs: this.#idle.idleMs };
  }

  /** Everything that a person looking at a compute wants to know. */
  status(): object {
    const { spec } = this.#config;
    const booted = this.#booted;
    return {
      state: this.#state,
      endpointId: spec.endpointId,
      timelineId: spec.timeline.timelineId,
      term: spec.term,
      bootLsn: booted === null ? null : formatLsn(booted.lsn),
      bootMs: booted?.bootMs ?? null,
      bootSpans: booted?.bootSpans() ?? null,
      processStartedAtMs: performance.timeOrigin,
      rolesApplied: booted?.rolesApplied ?? [],
      proposer: this.#proposer.describe(),
      pageserver: this.#describeLag(),
      postgres: booted === null ? null : { pid: booted.postmaster.pid },
      dataDirectory:
        booted === null ? null : { mode: booted.directory.mode, ...booted.directory.statistics() },
      connections: this.#gateway.connections,
      sqlConnections: this.#sql.connections,
      idleMs: this.#idle.idleMs,
    };
  }

  #describeLag(): object {
    const { ingestedLsn, ...rest } = this.#lag.status();
    return { ingestedLsn: ingestedLsn === null ? null : formatLsn(ingestedLsn), ...rest };
  }

  // --- the ways out ----------------------------------------------------------------------------------------

  /**
   * Stops cleanly: Postgres writes its shutdown checkpoint, and all WAL is at the quorum. Resolves with the exit code;
   * `exited` resolves with it too.
   */
  suspend(): Promise<ExitCode> {
    return (this.#suspending ??= this.#suspend());
  }

  async #suspend(): Promise<ExitCode> {
    await this.#boot?.catch(() => undefined);
    await this.#booted?.streaming.catch(() => undefined); // the shutdown checkpoint is to reach the quorum
    if (this.#state === 'stopping' || this.#booted === null) return this.exited;
    this.#beginStop();
    const { postmaster } = this.#booted;
    const begin = performance.now();
    const late = setTimeout(() => void postmaster.stop('immediate'), SUSPEND_TIMEOUT_MS);
    const { code } = await postmaster.stop('fast');
    clearTimeout(late);
    let exit: ExitCode = code === 0 ? EXIT.suspended : EXIT.suspendIncomplete;
    try {
      await this.#proposer.close();
    } catch (err) {
      this.#log.error({ err }, 'the last WAL did not reach the quorum');
      exit = EXIT.suspendIncomplete;
    }
    await this.#release();
    this.#log.info({ exit, suspendMs: Math.round(performance.now() - begin) }, 'suspended');
    this.#exited.resolve(exit);
    return exit;
  }

  async #stopSuperseded(term: number): Promise<void> {
    if (this.#state === 'booting') return; // the boot fails by it
    this.#log.warn({ term }, 'superseded by a newer term');
    await this.#stopNow(EXIT.superseded, () => control.reportSuperseded(term));
  }

  async #stopFailed(exit: ExitCode, err: unknown, what: string): Promise<void> {
    if (this.#state !== 'serving') return;
    this.#log.error({ err }, `${what}: the compute stops`);
    await this.#stopNow(exit, () => Promise.resolve());
  }

  /** Nothing is acknowledged any more: sessions end at once. */
  async #stopNow(exit: ExitCode, report: () => Promise<void>): Promise<void> {
    if (this.#state === 'stopping') return;
    this.#beginStop();
    await Promise.all([
      report().catch((err: unknown) => this.#log.warn({ err }, 'telling the Durable Object')),
      this.#booted?.postmaster.stop('immediate'),
    ]);
    await this.#proposer.close().catch(() => undefined); // what it could not commit was acknowledged to nobody
    await this.#release();
    this.#exited.resolve(exit);
  }

  #beginStop(): void {
    this.#state = 'stopping';
    this.#lag.close();
    this.#idle.close();
    this.#roles.close();
    for (const timer of this.#timers) clearTimeout(timer);
    this.#sql.close();
  }

  async #release(): Promise<void> {
    void this.#gateway.close();
    await this.#booted?.superuser.close();
    this.#booted?.pages.close();
    await this.#booted?.directory.close();
  }

  // --- what goes on while serving --------------------------------------------------------------------------

  #whenBooted(): Booted {
    if (this.#booted === null || this.#state === 'stopping') throw new Error(`the compute is ${this.#state}`);
    return this.#booted;
  }

  /** The reserved superuser's own connections are not a user's. */
  async #activeQueries(): Promise<number> {
    const [{ rows }] = await this.#whenBooted().superuser.query(
      `select count(*) from pg_stat_activity
       where backend_type = 'client backend' and state <> 'idle' and usename <> '${ADMIN_ROLE}'`,
    );
    return Number(rows[0][0]);
  }

  #onPostgresLog(line: LogLine): void {
    const { pid, severity, text } = line;
    if (severity === 'LOG') this.#log.info({ pid }, text);
    else if (severity === 'FATAL' || severity === 'PANIC') this.#log.warn({ pid, severity }, text);
    else this.#log.debug({ pid, severity }, text);
  }

  async #keepWarmPages(booted: Booted): Promise<void> {
    const runs = booted.directory.takeWarmPages();
    if (runs.length > 0) await control.keepWarmPages(encodeRuns(runs));
  }

  /** Runs `task` later, unless the compute stops before; a failure is logged. */
  #after(ms: number, task: () => Promise<void>): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      task().catch((err: unknown) => this.#log.warn({ err }, 'a task after the boot'));
    }, ms);
    this.#timers.add(timer);
  }
}
