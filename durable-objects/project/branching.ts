/**
 * Making, restoring and deleting branches: a few rows each. What they need to know is asked first; then everything is
 * looked at again and written in one transaction, with nothing in between.
 */
import { formatLsn } from '../../lib/postgres/lsn.ts';
import type { TimelineSpec } from '../../lib/protocol/specs.ts';
import type { EndpointConfig, PointText } from '../contracts.ts';
import type { Compute } from '../compute/compute.ts';
import { parsePoint, type BranchPoint, type LogPoints } from './log-points.ts';
import { Refusal } from './refusal.ts';
import type { BranchRow, EndpointRow, ProjectStore } from './store.ts';
import type { Timelines } from './timelines.ts';

export interface BranchingParts {
  store: ProjectStore;
  timelines: Timelines;
  points: LogPoints;
  transaction: <T>(act: () => T) => T;
  compute: (endpointId: string) => DurableObjectStub<Compute>;
  configOf: (row: EndpointRow) => EndpointConfig;
  /** There is something to be done that takes longer. */
  sweepSoon: () => void;
}

export interface NewEndpoint {
  endpointId: string;
  endpointNumber: number;
  suspendAfterSeconds: number;
  settings: Record<string, string>;
}
export interface NewBranch {
  id: string;
  name: string;
  /** The default branch where it is not given. */
  parentId?: string;
  point: PointText;
  isProtected: boolean;
  endpoint: NewEndpoint | null;
}
export interface RestoreRequest {
  sourceBranchId: string;
  point: PointText;
  preserveUnder?: { id: string; name: string };
}

/** A specification is about 300 bytes for each ancestor, and goes in headers and an environment variable. */
const DEPTH_MAX = 200;

const now = () => new Date().toISOString();
/** Ancestors of a timeline. */
function depthOf(spec: TimelineSpec): number {
  let depth = 0;
  for (let { origin } = spec; origin.kind === 'branch'; { origin } = origin.ancestor) depth++;
  return depth;
}
export const newTimelineId = (): string => crypto.randomUUID().replaceAll('-', '');

export class Branching {
  readonly #parts: BranchingParts;

  constructor(parts: BranchingParts) {
    this.#parts = parts;
  }

  /** Throws Refusal `NOT_FOUND`. */
  branch(id: string): BranchRow {
    const row = this.#parts.store.branch(id);
    if (row === null || row.hidden === 1) throw new Refusal('NOT_FOUND', `branch ${id} not found`);
    return row;
  }
  #checkName(name: string, except?: string): void {
    const taken = this.#parts.store.branchNamed(name);
    if (taken !== null && taken.id !== except)
      throw new Refusal('BRANCH_NAME_EXISTS', `a branch named ${JSON.stringify(name)} exists already`);
  }

  async create(request: NewBranch): Promise<{ branch: BranchRow; endpoint: EndpointRow | null }> {
    const { store, points, transaction } = this.#parts;
    const parent = request.parentId === undefined ? store.defaultBranch() : this.branch(request.parentId);
    this.#checkName(request.name);
    const found = await points.find(parent.timeline_id, parsePoint(request.point));
    return transaction(() => {
      const parentNow = this.branch(parent.id);
      this.#checkName(request.name);
      const at = now();
      const timeline = this.insertTimeline(found, at);
      store.putBranch({
        id: request.id,
        name: request.name,
        timeline_id: timeline.timelineId,
        is_default: 0,
        created_at: at,
        updated_at: at,
        parent_id: parentNow.id,
        parent_lsn: formatLsn(found.lsn),
        parent_timestamp: request.point.timestamp ?? null,
        protected: request.isProtected ? 1 : 0,
        hidden: 0,
      });
      store.copyRoles(parentNow.id, request.id, this.isPast(request.point, parentNow));
      const endpoint = request.endpoint === null ? null : this.addEndpoint(request.id, request.endpoint);
      return { branch: store.branch(request.id)!, endpoint };
    });
  }

  /** A point of a history that was never written to holds what the control plane wants, and nothing else. */
  isPast(point: PointText, branch: BranchRow): boolean {
    const { store, timelines } = this.#parts;
    const { origin } = timelines.get(branch.timeline_id)!.spec;
    const isFresh = store.term(branch.timeline_id) === 0 && origin.kind !== 'branch';
    return (point.lsn !== undefined || point.timestamp !== undefined) && !isFresh;
  }

  /** In a transaction: the timeline of a branch at `point`. Throws Refusal where its history is not kept any more. */
  insertTimeline(point: BranchPoint, at: string): TimelineSpec {
    const { timelines } = this.#parts;
    const ancestor = timelines.get(point.timeline.spec.timelineId);
    if (ancestor === null) throw new Refusal('NOT_FOUND', 'the branch was restored or deleted meanwhile');
    if (point.lsn < ancestor.horizonLsn)
      throw new Refusal(
        'LSN_BELOW_HISTORY',
        `${formatLsn(point.lsn)} is below the history that is kept, which begins at ${formatLsn(ancestor.horizonLsn)}`,
      );
    if (depthOf(ancestor.spec) >= DEPTH_MAX)
      throw new Refusal('BRANCH_TOO_DEEP', `a branch has at most ${DEPTH_MAX} ancestors, one below another`);
    const startLsn = formatLsn(point.lsn);
    const spec: TimelineSpec = {
      ...ancestor.spec,
      timelineId: newTimelineId(),
      startLsn,
      origin: {
        kind: 'branch',
        ancestor: ancestor.spec,
        ancestorLsn: startLsn,
        previousLsn: formatLsn(point.previousLsn),
      },
    };
    timelines.insert(spec, at, point.isSettled);
    return spec;
  }

  addEndpoint(branchId: string, request: NewEndpoint): EndpointRow {
    const { store } = this.#parts;
    this.branch(branchId);
    const existing = store.endpointsOf(branchId)[0];
    if (existing !== undefined)
      throw new Refusal(
        'ENDPOINT_EXISTS',
        `branch ${branchId} has its read-write endpoint already: ${existing.id}`,
      );
    const at = now();
    store.putEndpoint({
      id: request.endpointId,
      branch_id: branchId,
      number: request.endpointNumber,
      suspend_after_s: request.suspendAfterSeconds,
      settings: JSON.stringify(request.settings),
      created_at: at,
      updated_at: at,
    });
    return store.endpoint(request.endpointId)!;
  }

  update(branchId: string, change: { name?: string; isProtected?: boolean }): BranchRow {
    const { store } = this.#parts;
    const row = this.branch(branchId);
    if (change.name !== undefined) this.#checkName(change.name, branchId);
    store.putBranch({
      ...row,
      name: change.name ?? row.name,
      protected: (change.isProtected ?? row.protected === 1) ? 1 : 0,
      updated_at: now(),
    });
    return this.branch(branchId);
  }

  /** The branch, if it may be deleted. Throws Refusal. */
  deletable(branchId: string): BranchRow {
    const row = this.branch(branchId);
    if (row.is_default === 1)
      throw new Refusal(
        'BRANCH_IS_DEFAULT',
        `branch ${row.name} is the default branch: make another one the default first`,
      );
    if (row.protected === 1)
      throw new Refusal('BRANCH_PROTECTED', `branch ${row.name} is protected: take its protection off first`);
    const children = this.#parts.store.children(row);
    if (children.length > 0)
      throw new Refusal(
        'BRANCH_HAS_CHILDREN',
        `branch ${row.name} has children: ${children.map(({ name }) => name).join(', ')}; delete them first`,
      );
    return row;
  }
  /** Its endpoints' computes have ended, and nobody travels in it. */
  delete(branchId: string): void {
    const { store, timelines, transaction } = this.#parts;
    transaction(() => {
      const row = this.deletable(branchId);
      for (const endpoint of store.endpointsOf(branchId)) store.deleteEndpoint(endpoint.id);
      store.deleteBranch(branchId);
      if (!timelines.isAncestor(row.timeline_id)) timelines.doom(row.timeline_id);
    });
  }

  /** The branch goes on with the source's data at a point; what it had goes to the branch `preserveUnder`, or away. */
  async restore(branchId: string, request: RestoreRequest): Promise<BranchRow> {
    const { store, timelines, points, transaction } = this.#parts;
    const source = this.branch(request.sourceBranchId);
    const isSelf = source.id === branchId;
    const point = parsePoint(request.point);
    this.branch(branchId);
    if (isSelf && point.kind === 'head')
      throw new Refusal('BAD_REQUEST', 'restoring a branch from itself needs source_lsn or source_timestamp');
    const check = (): BranchRow => {
      const row = this.branch(branchId);
      if (row.protected === 1) throw new Refusal('BRANCH_PROTECTED', `branch ${row.name} is protected`);
      if (request.preserveUnder !== undefined) this.#checkName(request.preserveUnder.name);
      else if (isSelf || store.children(row).length > 0 || timelines.isAncestor(row.timeline_id))
        throw new Refusal(
          'PRESERVE_NAME_REQUIRED',
          'preserve_under_name is needed: the branch has children, or its own history is the source',
        );
      return row;
    };
    check();
    const found = await points.find(source.timeline_id, point);
    transaction(() => {
      const row = check();
      const at = now();
      const timeline = this.insertTimeline(found, at);
      const isPast = this.isPast(request.point, source);
      if (request.preserveUnder !== undefined) {
        const { id, name } = request.preserveUnder;
        store.putBranch({ ...row, id, name, is_default: 0, updated_at: at });
        store.copyRoles(branchId, id, false);
        store.moveChildren(branchId, id);
      }
      store.replaceRoles(branchId, source.id, isPast);
      const parentId = isSelf ? request.preserveUnder!.id : source.id;
      store.putBranch({
        ...row,
        timeline_id: timeline.timelineId,
        parent_id: parentId,
        parent_lsn: formatLsn(found.lsn),
        parent_timestamp: request.point.timestamp ?? null,
        updated_at: at,
      });
      if (request.preserveUnder === undefined) timelines.doom(row.timeline_id);
      for (const endpoint of store.endpointsOf(branchId)) store.setStale(endpoint.id, true);
    });
    return this.branch(branchId);
  }
}
