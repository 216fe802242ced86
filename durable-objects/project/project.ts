/**
 * One project: its branches, endpoints, roles and databases, and who else must be told of a change.
 *
 * What a caller may meet as an outcome is a value (`Refused`), not an error: refusal.ts. Work that may fail and has to be
 * done all the same (removing a timeline, moving a compute to another one, ending a journey to the past) is a row
 * first, and is repeated by the alarm until it is done; there is no alarm while there is no such row.
 */
import { DurableObject } from 'cloudflare:workers';
import { formatLsn, parseLsn } from '../../lib/postgres/lsn.ts';
import {
  TIMELINE_START_LSN,
  type DatabaseSpec,
  type HorizonAnswer,
  type HorizonRequest,
  type RolesReport,
  type RoleSpec,
  type TimelineOrigin,
  type TimelineSpec,
} from '../../lib/protocol/specs.ts';
import { lineageOf, memberAt, safekeeperName } from '../../lib/protocol/safekeepers.ts';
import type { Env } from '../../workers/env.ts';
import type {
  ComputeStart,
  ComputeStatus,
  EndpointConfig,
  PointText,
  ProjectRpcForCompute,
  ProjectSpecForCompute,
  TravelResult,
} from '../contracts.ts';
import {
  Branching,
  newTimelineId,
  type NewBranch,
  type NewEndpoint,
  type RestoreRequest,
} from './branching.ts';
import { LogPoints, parsePoint } from './log-points.ts';
import { Members } from './members.ts';
import { orRefused, Refusal, type Refused } from './refusal.ts';
import { prepareTables } from './schema.ts';
import {
  ProjectStore,
  type BranchRow,
  type DatabaseRow,
  type EndpointRow,
  type ProjectRow,
  type RoleRow,
  type TravelRow,
} from './store.ts';
import { Timelines } from './timelines.ts';
import { Travels } from './travels.ts';

export interface NewProject {
  id: string;
  name: string;
  branchId: string;
  branchName: string;
  endpointId: string;
  endpointNumber: number;
  suspendAfterSeconds: number;
  historyRetentionSeconds: number;
  ownerName: string;
  ownerSecret: string;
  databaseName: string;
}
/** A project whose timeline is made elsewhere: its roles and databases exist in what will be put. */
export interface ImportedProject {
  id: string;
  name: string;
  branchId: string;
  endpointId: string;
  endpointNumber: number;
  suspendAfterSeconds: number;
  historyRetentionSeconds: number;
  /** u64 in decimal. */
  systemIdentifier: string;
  startLsn: string;
  ownerName: string;
  ownerSecret: string;
  roles: RolesReport['roles'];
  databases: DatabaseSpec[];
}
export interface ProjectOverview {
  project: ProjectRow;
  branches: BranchRow[];
  endpoints: (EndpointRow & { status: ComputeStatus; travel: TravelRow | null })[];
}
export interface CreatedBranch {
  branch: BranchRow;
  endpoints: EndpointRow[];
  roles: RoleRow[];
  databases: DatabaseRow[];
}
/** Who holds a timeline's log; `new_members` while both sets decide. */
export interface SafekeepersOverview {
  generation: number;
  members: readonly number[];
  new_members: readonly number[] | null;
  changing: boolean;
}
type Outcome<T extends object> = Promise<({ ok: true } & T) | Refused>;

/** Between two attempts at what is still to be done. */
const ALARM_MS = 10_000;
/** How long a request to replace a safekeeper waits for it. */
const REPLACE_WAIT_MS = 60_000;
const REPLACE_POLL_MS = 100;

const now = () => new Date().toISOString();
const hex = (bytes: number): string =>
  [...crypto.getRandomValues(new Uint8Array(bytes))]
    .map((byte) => byte.toString(16).padStart(2, '0'))
    .join('');

export class Project extends DurableObject<Env> implements ProjectRpcForCompute {
  readonly #store: ProjectStore;
  readonly #timelines: Timelines;
  readonly #points: LogPoints;
  readonly #members: Members;
  readonly #branching: Branching;
  readonly #travels: Travels;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    const { sql } = ctx.storage;
    this.#store = new ProjectStore(sql);
    if (this.#store.exists) prepareTables(sql);
    this.#timelines = new Timelines(sql);
    this.#members = new Members({
      sql: ctx.storage.sql,
      configure: async (timelineId, n, configuration) =>
        this.#safekeeper(timelineId, n).configure(configuration),
      retire: async (timelineId, n) =>
        this.#safekeeper(timelineId, n).retire(this.#members.configurationOf(timelineId)),
      propose: (timelineId) => this.#propose(timelineId),
    });
    this.#points = new LogPoints({
      timelines: this.#timelines,
      safekeeper: (spec, place) => {
        const configuration = this.#members.configurationOf(spec.timelineId);
        // A quorum is one of both sets then: three answers do not tell what is committed.
        if (configuration.newMembers !== null)
          throw new Refusal('HEAD_UNKNOWN', 'the safekeepers are being replaced');
        return env.SAFEKEEPER.getByName(safekeeperName(spec, memberAt(configuration, place)));
      },
      pageserver: () => env.PAGESERVER.getByName(this.#store.project().id),
    });
    const shared = {
      store: this.#store,
      timelines: this.#timelines,
      points: this.#points,
      transaction: <T>(act: () => T): T => ctx.storage.transactionSync(act),
      compute: (endpointId: string) => env.COMPUTE.getByName(endpointId),
      configOf: (row: EndpointRow) => this.#configOf(row),
      sweepSoon: () => this.#sweepSoon(),
    };
    this.#branching = new Branching(shared);
    this.#travels = new Travels({
      ...shared,
      reserve: (names) => env.ACCOUNT.getByName('account').reserveEndpoint(this.#store.project().id, names),
      release: (endpointId) => env.ACCOUNT.getByName('account').removeEndpoint(endpointId),
    });
  }

  // --- life of the project ---------------------------------------------------------------------------------

  /** Makes the project with one branch, one read-write endpoint, an owner and a database. */
  async create(request: NewProject): Promise<ProjectOverview> {
    const at = now();
    this.ctx.storage.transactionSync(() => {
      const systemIdentifier = BigInt.asUintN(63, BigInt(`0x${hex(8)}`)).toString();
      const origin = { kind: 'template' } as const;
      this.#insert({ ...request, systemIdentifier, startLsn: TIMELINE_START_LSN, origin }, at);
      this.#store.putDatabase(request.branchId, { name: request.databaseName, owner: request.ownerName }, at);
    });
    await this.#configureEndpoint(this.#store.endpoint(request.endpointId)!);
    return this.#overview();
  }

  /** Makes the project of a cluster whose layers are about to be put. A compute applies only what makes its owner an owner. */
  async createImported(request: ImportedProject): Promise<ProjectOverview> {
    const { branchId, databases } = request;
    const at = now();
    this.ctx.storage.transactionSync(() => {
      this.#insert({ ...request, branchName: 'main', origin: { kind: 'import' } }, at);
      this.#store.reportRoles(branchId, { roles: request.roles }, at);
      for (const database of databases) this.#store.putDatabase(branchId, database, at);
      this.#store.applied(branchId, { roles: [], databases, droppedRoles: [], droppedDatabases: [] });
    });
    await this.#configureEndpoint(this.#store.endpoint(request.endpointId)!);
    return this.#overview();
  }

  #insert(
    request: Omit<NewProject, 'databaseName'> & {
      systemIdentifier: string;
      startLsn: string;
      origin: TimelineOrigin;
    },
    at: string,
  ): void {
    prepareTables(this.ctx.storage.sql);
    const { systemIdentifier, startLsn, origin } = request;
    this.#store.insertProject({
      id: request.id,
      name: request.name,
      system_identifier: systemIdentifier,
      created_at: at,
      updated_at: at,
      history_retention_s: request.historyRetentionSeconds,
    });
    const timeline: TimelineSpec = {
      projectId: request.id,
      timelineId: newTimelineId(),
      postgresMajor: 18,
      systemIdentifier,
      startLsn,
      origin,
    };
    this.#timelines.insert(timeline, at, true);
    this.#store.putBranch({
      id: request.branchId,
      name: request.branchName,
      timeline_id: timeline.timelineId,
      is_default: 1,
      created_at: at,
      updated_at: at,
      parent_id: null,
      parent_lsn: null,
      parent_timestamp: null,
      protected: 0,
      hidden: 0,
    });
    this.#store.putEndpoint({
      id: request.endpointId,
      branch_id: request.branchId,
      number: request.endpointNumber,
      suspend_after_s: request.suspendAfterSeconds,
      settings: '{}',
      created_at: at,
      updated_at: at,
    });
    const owner: RoleSpec = { name: request.ownerName, scramSecret: request.ownerSecret, owner: true };
    this.#store.putRole(request.branchId, owner, at);
  }

  async overview(): Promise<ProjectOverview | null> {
    return this.#store.exists ? this.#overview() : null;
  }
  async #overview(): Promise<ProjectOverview> {
    const travels = new Map(this.#store.travels().map((row) => [row.endpoint_id, row]));
    const seen = this.#store.endpoints().filter((row) => travels.get(row.id)?.ephemeral !== 1);
    const endpoints = await Promise.all(
      seen.map(async (row) => ({
        ...row,
        travel: travels.get(row.id) ?? null,
        status: await this.env.COMPUTE.getByName(row.id).status(),
      })),
    );
    return { project: this.#store.project(), branches: this.#store.branches(), endpoints };
  }

  update(change: { name?: string; historyRetentionSeconds?: number }): void {
    this.#store.updateProject(change, now());
  }

  /** Stops everything and deletes the data: computes, pageserver and layers, safekeepers. */
  async remove(): Promise<void> {
    const { id } = this.#store.project();
    await Promise.all(this.#store.endpoints().map((row) => this.env.COMPUTE.getByName(row.id).remove()));
    await this.env.PAGESERVER.getByName(id).remove();
    for (const timelineId of this.#timelines.all()) await this.#removeSafekeepers(timelineId);
    await this.ctx.storage.deleteAlarm();
    await this.ctx.storage.deleteAll();
  }
  async #removeSafekeepers(timelineId: string): Promise<void> {
    const { members, newMembers } = this.#members.configurationOf(timelineId);
    const all = new Set([...members, ...(newMembers ?? [])].flatMap(lineageOf));
    for (const n of all) await this.#safekeeper(timelineId, n).remove();
    this.#members.forget(timelineId);
  }
  #safekeeper(timelineId: string, n: number) {
    const projectId = this.#store.project().id;
    return this.env.SAFEKEEPER.getByName(safekeeperName({ projectId, timelineId }, n));
  }

  // --- safekeepers -----------------------------------------------------------------------------------------

  safekeepers(timelineId: string): SafekeepersOverview {
    const { generation, members, newMembers } = this.#members.configurationOf(timelineId);
    const changing = this.#members.phaseOf(timelineId) !== 'stable';
    return { generation, members, new_members: newMembers, changing };
  }
  /** The present safekeeper at a place (lib/protocol/safekeepers.ts); null where there is no such timeline. */
  safekeeperAt(timelineId: string, place: number): number | null {
    if (!this.#store.exists || this.#timelines.get(timelineId) === null) return null;
    return memberAt(this.#members.configurationOf(timelineId), place);
  }
  /**
   * Another safekeeper takes over a place. Answers when it has, or after a while: then it goes on by the alarm, until
   * the new one has the log.
   */
  replaceSafekeeper(timelineId: string, place: number): Outcome<{ safekeepers: SafekeepersOverview }> {
    return orRefused(async () => {
      if (this.#timelines.get(timelineId) === null)
        throw new Refusal('NOT_FOUND', `timeline ${timelineId} not found`);
      if (this.#store.endpointsOfTimeline(timelineId).length === 0)
        throw new Refusal('ENDPOINT_NEEDED', 'a branch without an endpoint has nobody to copy the log');
      this.#members.replace(timelineId, place);
      await this.ctx.storage.setAlarm(Date.now() + ALARM_MS);
      const giveUpAt = Date.now() + REPLACE_WAIT_MS;
      while (this.safekeepers(timelineId).changing && Date.now() < giveUpAt) {
        await this.#members.advance(timelineId);
        await new Promise((resolve) => setTimeout(resolve, REPLACE_POLL_MS));
      }
      this.#sweepSoon();
      return { safekeepers: this.safekeepers(timelineId) };
    });
  }
  async #propose(timelineId: string): Promise<void> {
    const [endpoint] = this.#store.endpointsOfTimeline(timelineId);
    if (endpoint !== undefined) await this.env.COMPUTE.getByName(endpoint.id).wake();
  }

  timelineSpec(timelineId: string): TimelineSpec | null {
    return this.#timelines.get(timelineId)?.spec ?? null;
  }

  // --- branches --------------------------------------------------------------------------------------------

  createBranch(request: NewBranch): Outcome<CreatedBranch> {
    return orRefused(async () => {
      const { branch, endpoint } = await this.#branching.create(request);
      if (endpoint !== null) await this.#configureEndpoint(endpoint);
      return {
        branch,
        endpoints: endpoint === null ? [] : [endpoint],
        roles: this.#store.roles(branch.id),
        databases: this.#store.databases(branch.id),
      };
    });
  }
  updateBranch(
    branchId: string,
    change: { name?: string; isProtected?: boolean },
  ): Outcome<{ branch: BranchRow }> {
    return orRefused(() => ({ branch: this.#branching.update(branchId, change) }));
  }
  setDefaultBranch(branchId: string): Outcome<{ branch: BranchRow }> {
    return orRefused(() => {
      this.#branching.branch(branchId);
      this.#store.setDefault(branchId, now());
      return { branch: this.#branching.branch(branchId) };
    });
  }
  /** The branch, its endpoints and its data. */
  deleteBranch(branchId: string): Outcome<{ branch: BranchRow; endpointIds: string[] }> {
    return orRefused(async () => {
      const branch = this.#branching.deletable(branchId);
      await this.#travels.endAll(branchId);
      const endpointIds = this.#store.endpointsOf(branchId).map((row) => row.id);
      await Promise.all(endpointIds.map((id) => this.env.COMPUTE.getByName(id).remove()));
      this.#branching.delete(branchId);
      this.#sweepSoon();
      return { branch, endpointIds };
    });
  }
  /** Endpoints stay: they go on with the restored data, and their clients connect again. */
  restoreBranch(branchId: string, request: RestoreRequest): Outcome<{ branch: BranchRow }> {
    return orRefused(async () => {
      if (request.preserveUnder === undefined) await this.#travels.endAll(branchId); // they read what goes away
      const branch = await this.#branching.restore(branchId, request);
      await this.#retargetStale();
      this.#sweepSoon();
      return { branch };
    });
  }
  /** Keeps a point of a branch's history readable until a time, whatever the retention. */
  lease(branchId: string, point: PointText, seconds: number): Outcome<{ lsn: string; until: string }> {
    return orRefused(async () => {
      const branch = this.#branching.branch(branchId);
      const { timeline, lsn } = await this.#points.find(branch.timeline_id, parsePoint(point));
      const untilMs = Date.now() + seconds * 1000;
      const lease = { id: crypto.randomUUID(), timelineId: timeline.spec.timelineId, at: lsn, untilMs };
      if (!this.#timelines.lease(lease))
        throw new Refusal('LSN_BELOW_HISTORY', `${formatLsn(lsn)} is below the history that is kept`);
      return { lsn: formatLsn(lsn), until: new Date(untilMs).toISOString() };
    });
  }
  /** A pageserver asks what it may drop. */
  recordHorizon(request: HorizonRequest): Promise<HorizonAnswer | null> {
    const answer = this.#store.exists
      ? this.#timelines.recordHorizon(request.timelineId, parseLsn(request.horizonLsn), Date.now())
      : null;
    if (answer === null) return Promise.resolve(null);
    return Promise.resolve({
      ...answer,
      historyRetentionMs: this.#store.project().history_retention_s * 1000,
    });
  }
  historyRetentionSeconds(): number | null {
    return this.#store.exists ? this.#store.project().history_retention_s : null;
  }

  // --- endpoints -------------------------------------------------------------------------------------------

  createEndpoint(
    branchId: string,
    request: NewEndpoint,
    point: PointText,
  ): Outcome<{ endpoint: EndpointRow }> {
    return orRefused(async () => {
      const isPast = point.lsn !== undefined || point.timestamp !== undefined;
      if (isPast) return { endpoint: await this.#travels.pin(branchId, request, point) };
      const endpoint = this.#branching.addEndpoint(branchId, request);
      await this.#configureEndpoint(endpoint);
      return { endpoint };
    });
  }

  async updateEndpoint(
    endpointId: string,
    change: { suspendAfterSeconds?: number; settings?: Record<string, string> },
  ): Promise<void> {
    const row = this.#store.endpoint(endpointId);
    if (!row) return;
    this.#store.putEndpoint({
      ...row,
      suspend_after_s: change.suspendAfterSeconds ?? row.suspend_after_s,
      settings: change.settings ? JSON.stringify(change.settings) : row.settings,
      updated_at: now(),
    });
    await this.#configureEndpoint(this.#store.endpoint(endpointId)!);
  }

  async deleteEndpoint(endpointId: string): Promise<void> {
    if (this.#store.travel(endpointId) !== null) return this.#travels.remove(endpointId);
    await this.env.COMPUTE.getByName(endpointId).remove();
    this.#store.deleteEndpoint(endpointId);
  }

  async #configureEndpoint(row: EndpointRow): Promise<void> {
    await this.env.COMPUTE.getByName(row.id).configure(this.#configOf(row));
  }
  #configOf(row: EndpointRow): EndpointConfig {
    const branch = this.#store.branch(row.branch_id)!;
    return {
      projectId: this.#store.project().id,
      branchId: row.branch_id,
      endpointId: row.id,
      endpointNumber: row.number,
      timeline: this.#timelines.get(branch.timeline_id)!.spec,
      suspendAfterMs: row.suspend_after_s * 1000,
      settings: JSON.parse(row.settings) as Record<string, string>,
      ...(branch.hidden === 1 ? { travel: true } : {}),
    };
  }

  // --- roles and databases ---------------------------------------------------------------------------------

  roles(branchId: string): RoleRow[] {
    return this.#store.roles(branchId);
  }
  async putRole(branchId: string, role: RoleSpec): Promise<RoleRow> {
    this.#store.putRole(branchId, role, now());
    await this.#applyNow(branchId);
    return this.#store.role(branchId, role.name)!;
  }
  async dropRole(branchId: string, name: string): Promise<RoleRow | null> {
    const row = this.#store.role(branchId, name);
    if (row) {
      this.#store.dropRole(branchId, name);
      await this.#applyNow(branchId);
    }
    return row;
  }
  databases(branchId: string): DatabaseRow[] {
    return this.#store.databases(branchId);
  }
  async putDatabase(branchId: string, database: { name: string; owner: string }): Promise<DatabaseRow> {
    const row = this.#store.putDatabase(branchId, database, now());
    await this.#applyNow(branchId);
    return row;
  }
  async dropDatabase(branchId: string, name: string): Promise<DatabaseRow | null> {
    const row = this.#store.database(branchId, name);
    if (row) {
      this.#store.dropDatabase(branchId, name);
      await this.#applyNow(branchId);
    }
    return row;
  }
  /** A compute that runs applies a change at once; otherwise the next one does when it boots. */
  async #applyNow(branchId: string): Promise<void> {
    for (const row of this.#store.endpointsOf(branchId))
      await this.env.COMPUTE.getByName(row.id).applyRoles();
  }

  // --- what computes ask -----------------------------------------------------------------------------------

  startCompute(endpointId: string, timelineId: string): Promise<ComputeStart> {
    const row = this.#store.exists ? this.#store.endpoint(endpointId) : null;
    if (row === null) return Promise.resolve({ ok: false, config: null });
    const branch = this.#store.branch(row.branch_id)!;
    if (branch.hidden === 1 && this.#travels.beginAnew(endpointId))
      return Promise.resolve({ ok: false, config: this.#configOf(row) });
    if (branch.timeline_id !== timelineId) return Promise.resolve({ ok: false, config: this.#configOf(row) });
    if (branch.hidden === 1) this.#sweepLater();
    this.#settle(timelineId);
    const term = this.#store.nextTerm(timelineId)!;
    const safekeepers = this.#members.configurationOf(timelineId);
    return Promise.resolve({ ok: true, term, safekeepers, spec: this.#store.pending(branch.id) });
  }
  /** A branch point that was committed without the safekeepers knowing is told to them: the pageserver waits for it. */
  #settle(timelineId: string): void {
    const timeline = this.#timelines.get(timelineId)!;
    const { origin } = timeline.spec;
    if (origin.kind !== 'branch') return;
    this.#settle(origin.ancestor.timelineId);
    if (timeline.isSettled) return;
    const taught = this.#points.teach(origin.ancestor, parseLsn(origin.ancestorLsn));
    this.ctx.waitUntil(
      taught.then((isKnown) => {
        if (isKnown) this.#timelines.settled(timelineId);
      }),
    );
  }
  computeSpec(branchId: string): Promise<ProjectSpecForCompute> {
    return Promise.resolve(this.#store.pending(branchId));
  }
  applied(branchId: string, spec: ProjectSpecForCompute): Promise<void> {
    this.ctx.storage.transactionSync(() => this.#store.applied(branchId, spec));
    return Promise.resolve();
  }
  reportRoles(branchId: string, report: RolesReport): Promise<void> {
    this.ctx.storage.transactionSync(() => {
      this.#store.reportRoles(branchId, report, now());
      if (report.databases !== undefined) this.#store.reportDatabases(branchId, report.databases, now());
    });
    return Promise.resolve();
  }
  scramSecret(branchId: string, role: string): Promise<string | null> {
    const row = this.#store.exists ? this.#store.role(branchId, role) : null;
    return Promise.resolve(row?.can_login ? row.secret : null);
  }
  async travelEndpoint(branchId: string, point: PointText): Promise<TravelResult> {
    const found = await orRefused(() => this.#travels.endpoint(branchId, point));
    if (found.ok) return found;
    const retryable = ['HEAD_UNKNOWN', 'PAGESERVER_UNAVAILABLE'].includes(found.code);
    return { ...found, retryable };
  }
  async travelEnded(endpointId: string): Promise<void> {
    await this.#travels.ended(endpointId);
    this.#sweepSoon();
  }

  // --- what is still to be done ----------------------------------------------------------------------------

  override async alarm(): Promise<void> {
    if (this.#store.exists) await this.#sweep();
  }
  #sweepSoon(): void {
    this.ctx.waitUntil(this.#sweep());
  }
  #sweepLater(): void {
    this.ctx.waitUntil(this.ctx.storage.setAlarm(Date.now() + ALARM_MS));
  }
  /** Does what it can; the alarm is set before, so that a crash loses nothing. */
  async #sweep(): Promise<void> {
    const isLeft = () =>
      this.#timelines.doomed().length > 0 ||
      this.#store.stale().length > 0 ||
      this.#travels.areOpen ||
      this.#members.changing().length > 0;
    if (!isLeft()) return;
    await this.ctx.storage.setAlarm(Date.now() + ALARM_MS);
    try {
      await this.#retargetStale();
      await this.#travels.endIdle();
      for (const timelineId of this.#timelines.doomed()) await this.#removeTimeline(timelineId);
      for (const timelineId of this.#members.changing()) await this.#members.advance(timelineId);
    } catch (error) {
      console.warn(JSON.stringify({ event: 'sweep of a project is repeated', error: String(error) }));
      return;
    }
    if (!isLeft()) await this.ctx.storage.deleteAlarm();
  }
  async #removeTimeline(timelineId: string): Promise<void> {
    await this.#removeSafekeepers(timelineId); // first: they would go on backing up
    await this.env.PAGESERVER.getByName(this.#store.project().id).removeTimeline(
      this.#store.project().id,
      timelineId,
    );
    this.#timelines.removed(timelineId);
  }
  /** Computes of restored branches end, and their endpoints go on with the new timeline. */
  async #retargetStale(): Promise<void> {
    await Promise.all(
      this.#store.stale().map(async (endpointId) => {
        const row = this.#store.endpoint(endpointId);
        if (row !== null) await this.env.COMPUTE.getByName(endpointId).retarget(this.#configOf(row));
        this.#store.setStale(endpointId, false);
      }),
    );
  }
}
