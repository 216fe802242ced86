/**
 * One project: its branches, endpoints, roles and databases, and who else must be told of a change.
 */
import { DurableObject } from 'cloudflare:workers';
import {
  SAFEKEEPER_COUNT,
  TIMELINE_START_LSN,
  type RolesReport,
  type RoleSpec,
  type TimelineSpec,
} from '../../lib/protocol/specs.ts';
import type { Env } from '../../workers/env.ts';
import type {
  ComputeStatus,
  EndpointConfig,
  ProjectRpcForCompute,
  ProjectSpecForCompute,
} from '../contracts.ts';
import {
  ProjectStore,
  type BranchRow,
  type DatabaseRow,
  type EndpointRow,
  type ProjectRow,
  type RoleRow,
} from './store.ts';

export interface NewProject {
  id: string;
  name: string;
  branchId: string;
  branchName: string;
  endpointId: string;
  endpointNumber: number;
  suspendAfterSeconds: number;
  ownerName: string;
  ownerSecret: string;
  databaseName: string;
}
export interface ProjectOverview {
  project: ProjectRow;
  branches: BranchRow[];
  endpoints: (EndpointRow & { status: ComputeStatus })[];
}

const now = () => new Date().toISOString();
const hex = (bytes: number): string =>
  [...crypto.getRandomValues(new Uint8Array(bytes))]
    .map((byte) => byte.toString(16).padStart(2, '0'))
    .join('');

export class Project extends DurableObject<Env> implements ProjectRpcForCompute {
  readonly #store: ProjectStore;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    this.#store = new ProjectStore(ctx.storage.sql);
  }

  // --- life of the project ---------------------------------------------------------------------------------

  /** Makes the project with one branch, one read-write endpoint, an owner and a database. */
  async create(request: NewProject): Promise<ProjectOverview> {
    const at = now();
    this.ctx.storage.transactionSync(() => {
      this.#store.initialise();
      const systemIdentifier = BigInt.asUintN(63, BigInt(`0x${hex(8)}`)).toString();
      this.#store.insertProject({
        id: request.id,
        name: request.name,
        system_identifier: systemIdentifier,
        created_at: at,
        updated_at: at,
      });
      this.#store.insertBranch(
        {
          id: request.branchId,
          name: request.branchName,
          timeline_id: hex(16),
          is_default: 1,
          created_at: at,
          updated_at: at,
        },
        TIMELINE_START_LSN,
        { kind: 'template' },
      );
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
      this.#store.putDatabase(request.branchId, { name: request.databaseName, owner: request.ownerName }, at);
    });
    await this.#configureEndpoint(this.#store.endpoint(request.endpointId)!);
    return this.#overview();
  }

  async overview(): Promise<ProjectOverview | null> {
    return this.#store.exists ? this.#overview() : null;
  }
  async #overview(): Promise<ProjectOverview> {
    const endpoints = await Promise.all(
      this.#store
        .endpoints()
        .map(async (row) => ({ ...row, status: await this.env.COMPUTE.getByName(row.id).status() })),
    );
    return { project: this.#store.project(), branches: this.#store.branches(), endpoints };
  }

  rename(name: string): void {
    this.#store.renameProject(name, now());
  }

  /** Stops everything and deletes the data: computes, pageserver and layers, safekeepers. */
  async remove(): Promise<void> {
    const { id } = this.#store.project();
    await Promise.all(this.#store.endpoints().map((row) => this.env.COMPUTE.getByName(row.id).remove()));
    await this.env.PAGESERVER.getByName(id).remove();
    for (const timelineId of this.#store.timelines()) {
      for (let n = 1; n <= SAFEKEEPER_COUNT; n++) {
        await this.env.SAFEKEEPER.getByName(`${id}/${timelineId}/${n}`).remove();
      }
    }
    await this.ctx.storage.deleteAll();
  }

  timelineSpec(timelineId: string): TimelineSpec | null {
    return this.#store.timelineSpec(timelineId);
  }

  // --- endpoints -------------------------------------------------------------------------------------------

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

  async #configureEndpoint(row: EndpointRow): Promise<void> {
    const branch = this.#store.branch(row.branch_id)!;
    const config: EndpointConfig = {
      projectId: this.#store.project().id,
      branchId: row.branch_id,
      endpointId: row.id,
      endpointNumber: row.number,
      timeline: this.#store.timelineSpec(branch.timeline_id)!,
      suspendAfterMs: row.suspend_after_s * 1000,
      settings: JSON.parse(row.settings) as Record<string, string>,
    };
    await this.env.COMPUTE.getByName(row.id).configure(config);
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
    const endpoints = this.#store.endpoints().filter((row) => row.branch_id === branchId);
    for (const row of endpoints) await this.env.COMPUTE.getByName(row.id).applyRoles();
  }

  // --- what computes ask -----------------------------------------------------------------------------------

  computeSpec(branchId: string): Promise<ProjectSpecForCompute> {
    return Promise.resolve(this.#store.pending(branchId));
  }
  applied(branchId: string, spec: ProjectSpecForCompute): Promise<void> {
    this.ctx.storage.transactionSync(() => this.#store.applied(branchId, spec));
    return Promise.resolve();
  }
  reportRoles(branchId: string, report: RolesReport): Promise<void> {
    this.ctx.storage.transactionSync(() => this.#store.reportRoles(branchId, report, now()));
    return Promise.resolve();
  }
  scramSecret(branchId: string, role: string): Promise<string | null> {
    const row = this.#store.exists ? this.#store.role(branchId, role) : null;
    return Promise.resolve(row?.can_login ? row.secret : null);
  }
  nextTerm(timelineId: string): Promise<number> {
    const term = this.#store.nextTerm(timelineId);
    if (term === null) throw new Error(`project has no timeline ${timelineId}`);
    return Promise.resolve(term);
  }
}
