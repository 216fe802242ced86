/**
 * Time travel: endpoints at a past LSN. Each has a hidden branch of its own that begins there; what is written to it is
 * discarded when its compute ends.
 *
 *   a connection names an LSN or a time ──► the endpoint that is there already, or a new one (ephemeral)
 *   its compute ends, or another starts ──► ephemeral: endpoint, branch, safekeepers and layers are removed
 *                                           asked for by the API: the branch begins anew at the same LSN
 */
import { formatLsn } from '../../lib/postgres/lsn.ts';
import type { TimelineSpec } from '../../lib/protocol/specs.ts';
import type { PointText } from '../contracts.ts';
import { Branching, newTimelineId, type BranchingParts, type NewEndpoint } from './branching.ts';
import { parsePoint, type BranchPoint } from './log-points.ts';
import { Refusal } from './refusal.ts';
import type { EndpointRow, TravelRow } from './store.ts';

export interface TravelsParts extends BranchingParts {
  reserve: (names: string[]) => Promise<{ endpointId: string; endpointNumber: number } | null>;
  release: (endpointId: string) => Promise<void>;
}

/** Connections to so many different points of a project at once. */
const TRAVELS_MAX = 16;
/** A compute that nobody uses any more is kept for so long at most. */
const SUSPEND_AFTER_SECONDS_MAX = 60;
/** A client that was told of the endpoint has so long to come. */
const GRACE_MS = 5_000;

const now = () => new Date().toISOString();
const randomName = (prefix: string): string => prefix + crypto.randomUUID().replaceAll('-', '').slice(0, 16);

export class Travels {
  readonly #parts: TravelsParts;
  readonly #branching: Branching;
  /** By what makes them the same: two connections that come at once share one endpoint. */
  readonly #making = new Map<string, Promise<EndpointRow>>();
  /** No client is sent to these any more. */
  readonly #ending = new Set<string>();

  constructor(parts: TravelsParts) {
    this.#parts = parts;
    this.#branching = new Branching(parts);
  }

  /** Some compute may have written something that is still to be discarded. */
  get areOpen(): boolean {
    return this.#parts.store.travels().some((row) => row.ephemeral === 1 || this.#isDirty(row));
  }
  #isDirty(row: TravelRow): boolean {
    const { store } = this.#parts;
    const endpoint = store.endpoint(row.endpoint_id);
    const branch = endpoint === null ? null : store.branch(endpoint.branch_id);
    return branch !== null && (store.term(branch.timeline_id) ?? 0) > 0;
  }

  /** The endpoint through which a client reaches `point` of the branch. Throws Refusal. */
  async endpoint(branchId: string, text: PointText): Promise<{ endpointId: string; lsn: string }> {
    const { store, points } = this.#parts;
    const branch = this.#branching.branch(branchId);
    const found = await points.find(branch.timeline_id, parsePoint(text));
    const timelineId = found.timeline.spec.timelineId;
    const lsn = formatLsn(found.lsn);
    const known = store
      .travels()
      .find(
        (row) =>
          row.ephemeral === 1 &&
          row.source_branch_id === branchId &&
          row.timeline_id === timelineId &&
          row.lsn === lsn &&
          !this.#ending.has(row.endpoint_id),
      );
    if (known !== undefined) {
      store.putTravel({ ...known, used_at: Date.now() });
      return { endpointId: known.endpoint_id, lsn };
    }
    const key = `${branchId}/${timelineId}/${lsn}`;
    let making = this.#making.get(key);
    if (making === undefined) {
      making = this.#makeEphemeral(branchId, found, text).finally(() => this.#making.delete(key));
      this.#making.set(key, making);
    }
    return { endpointId: (await making).id, lsn };
  }

  async #makeEphemeral(branchId: string, found: BranchPoint, text: PointText): Promise<EndpointRow> {
    const { store, reserve, sweepSoon } = this.#parts;
    if (store.travels().filter((row) => row.ephemeral === 1).length >= TRAVELS_MAX)
      throw new Refusal(
        'TOO_MANY_TIME_TRAVELS',
        `connections to ${TRAVELS_MAX} points of the past are open already`,
      );
    const reserved = await reserve(Array.from({ length: 4 }, () => randomName('ep-at-')));
    if (reserved === null) throw new Refusal('NAMES_EXHAUSTED', 'no free endpoint name was found; try again');
    const like = store.endpointsOf(branchId)[0];
    const wanted = like?.suspend_after_s ?? 0;
    const suspendAfterSeconds =
      wanted > 0 ? Math.min(wanted, SUSPEND_AFTER_SECONDS_MAX) : SUSPEND_AFTER_SECONDS_MAX;
    const settings = JSON.parse(like?.settings ?? '{}') as Record<string, string>;
    const endpoint = await this.#insert(
      branchId,
      { ...reserved, suspendAfterSeconds, settings },
      found,
      text,
      true,
    );
    sweepSoon(); // sets the alarm that ends it if its compute does not
    return endpoint;
  }

  /** An endpoint at a point of the past that stays until it is deleted. Throws Refusal. */
  async pin(branchId: string, request: NewEndpoint, text: PointText): Promise<EndpointRow> {
    const branch = this.#branching.branch(branchId);
    const found = await this.#parts.points.find(branch.timeline_id, parsePoint(text));
    return this.#insert(branchId, request, found, text, false);
  }

  async #insert(
    branchId: string,
    request: NewEndpoint,
    found: BranchPoint,
    text: PointText,
    isEphemeral: boolean,
  ): Promise<EndpointRow> {
    const { store, transaction, compute, configOf } = this.#parts;
    const endpoint = transaction(() => {
      const source = this.#branching.branch(branchId);
      const at = now();
      const timeline = this.#branching.insertTimeline(found, at);
      const hiddenId = randomName('br-at-');
      store.putBranch({
        id: hiddenId,
        name: hiddenId,
        timeline_id: timeline.timelineId,
        is_default: 0,
        created_at: at,
        updated_at: at,
        parent_id: source.id,
        parent_lsn: formatLsn(found.lsn),
        parent_timestamp: text.timestamp ?? null,
        protected: 0,
        hidden: 1,
      });
      store.copyRoles(source.id, hiddenId, this.#branching.isPast(text, source));
      store.putEndpoint({
        id: request.endpointId,
        branch_id: hiddenId,
        number: request.endpointNumber,
        suspend_after_s: request.suspendAfterSeconds,
        settings: JSON.stringify(request.settings),
        created_at: at,
        updated_at: at,
      });
      store.putTravel({
        endpoint_id: request.endpointId,
        source_branch_id: source.id,
        timeline_id: found.timeline.spec.timelineId,
        lsn: formatLsn(found.lsn),
        timestamp: text.timestamp ?? null,
        ephemeral: isEphemeral ? 1 : 0,
        used_at: Date.now(),
      });
      return store.endpoint(request.endpointId)!;
    });
    await compute(endpoint.id).configure(configOf(endpoint));
    return endpoint;
  }

  /** Its compute has ended: what was written is discarded, unless somebody has come meanwhile. */
  async ended(endpointId: string): Promise<void> {
    const row = this.#parts.store.travel(endpointId);
    if (row === null || this.#ending.has(endpointId)) return;
    this.#ending.add(endpointId);
    try {
      if (row.ephemeral === 1) await this.#discard(row);
      else if (this.#isDirty(row)) await this.#renew(row);
    } finally {
      this.#ending.delete(endpointId);
    }
  }
  async #discard(row: TravelRow): Promise<void> {
    if (await this.#parts.compute(row.endpoint_id).release(null)) await this.#forget(row);
  }
  async #renew(row: TravelRow): Promise<void> {
    const { store, timelines, compute, configOf } = this.#parts;
    const endpoint = store.endpoint(row.endpoint_id)!;
    const { timeline_id: timelineId } = store.branch(endpoint.branch_id)!;
    const term = store.term(timelineId);
    const spec = { ...timelines.get(timelineId)!.spec, timelineId: newTimelineId() };
    if (!(await compute(row.endpoint_id).release({ ...configOf(endpoint), timeline: spec }))) return;
    // Where a compute has started meanwhile it began anew by itself, and has another timeline.
    if (store.term(timelineId) === term) this.#replaceTimeline(row, spec);
  }

  /** A compute of the endpoint is about to start: true when there is another timeline now, with nothing written to it. */
  beginAnew(endpointId: string): boolean {
    const { store, timelines } = this.#parts;
    const row = store.travel(endpointId);
    if (row === null || !this.#isDirty(row)) return false;
    const { timeline_id: timelineId } = store.branch(store.endpoint(endpointId)!.branch_id)!;
    this.#replaceTimeline(row, { ...timelines.get(timelineId)!.spec, timelineId: newTimelineId() });
    return true;
  }
  #replaceTimeline(row: TravelRow, spec: TimelineSpec): void {
    const { store, timelines, transaction } = this.#parts;
    transaction(() => {
      const before = store.branch(store.endpoint(row.endpoint_id)!.branch_id)!;
      const old = timelines.get(before.timeline_id)!;
      // First: until the new one is a row, the old one is what keeps the history at its start.
      timelines.insert(spec, now(), old.isSettled);
      store.putBranch({ ...before, timeline_id: spec.timelineId, updated_at: now() });
      store.replaceRoles(before.id, row.source_branch_id, true);
      timelines.doom(before.timeline_id);
    });
  }

  /** Those whose compute has ended without telling: it crashed, or everything did. */
  async endIdle(): Promise<void> {
    const { store, compute } = this.#parts;
    for (const row of store.travels()) {
      if (row.ephemeral === 1 ? Date.now() - row.used_at < GRACE_MS : !this.#isDirty(row)) continue;
      const { state } = await compute(row.endpoint_id).status();
      if (state === 'idle') await this.ended(row.endpoint_id);
    }
  }

  /** Ends all journeys into the branch, with whoever is connected. */
  async endAll(branchId: string): Promise<void> {
    for (const row of this.#parts.store.travels())
      if (row.source_branch_id === branchId) await this.remove(row.endpoint_id);
  }
  async remove(endpointId: string): Promise<void> {
    const row = this.#parts.store.travel(endpointId);
    if (row === null) return;
    this.#ending.add(endpointId);
    try {
      await this.#parts.compute(endpointId).remove();
      await this.#forget(row);
    } finally {
      this.#ending.delete(endpointId);
    }
    this.#parts.sweepSoon();
  }
  /** The endpoint is gone; so are its rows, and its timeline soon. */
  async #forget(row: TravelRow): Promise<void> {
    const { store, timelines, transaction, release } = this.#parts;
    transaction(() => {
      const endpoint = store.endpoint(row.endpoint_id);
      const hidden = endpoint === null ? null : store.branch(endpoint.branch_id);
      store.deleteTravel(row.endpoint_id);
      store.deleteEndpoint(row.endpoint_id);
      if (hidden === null) return;
      store.deleteBranch(hidden.id);
      timelines.doom(hidden.timeline_id);
    });
    await release(row.endpoint_id);
  }
}
