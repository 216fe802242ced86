/**
 * Garbage collection: history that nobody may read any more is dropped.
 *
 *   LSN ▲   ────────────── head
 *       │   kept: younger than the retention time, or within the last retention bytes
 *       ├── horizon ─────── recorded by the project first: no branch and no lease is made below it from then on
 *       │     ·  branch point, lease, compute, running read: what a read at exactly this LSN needs is kept
 *       │   dropped
 *
 *   1 ask the project, which answers with the horizon it has recorded and what it wants retained below
 *   2 refuse reads elsewhere below it (history.ts), and say so in the index: also the next pageserver refuses them
 *   3 where the oldest reads left would go through many bytes of deltas, make an image for them
 *   4 drop the layers that no permitted read looks into (LayerMap.needed): index first, then objects
 *
 * Whatever fails on the way, what is still readable stays whole: nothing is dropped before 4, and 4 only by what 2 has said.
 */
import { formatLsn, type Lsn } from '../../../lib/postgres/lsn.ts';
import type { ReadLease } from '../../../lib/storage/layers/timeline-index.ts';
import { tilesAt } from '../../../lib/storage/compaction/plan.ts';
import { newestLsn } from '../../../lib/storage/layers/descriptor.ts';
import { CompactionError } from '../maintenance/job.ts';
import type { Metrics } from '../metrics/metrics.ts';
import type { Horizon, TimelineSettings } from './context.ts';
import type { LayerRemoval } from './layer-removal.ts';
import type { LayerRewriter } from './layer-rewriter.ts';
import type { LayerStack } from './layer-stack.ts';
import type { RemoteIndex } from './remote-index.ts';

export interface GarbageCollectorOptions {
  stack: LayerStack;
  remote: RemoteIndex;
  rewriter: LayerRewriter;
  removal: LayerRemoval;
  settings: TimelineSettings;
  metrics: Metrics;
  /** Where attached computes read. */
  computeLsns: () => Lsn[];
  /** An LSN all of whose commits are older than a time (milliseconds since 1970), the newest there is. */
  lsnBefore: (timeMs: number) => Promise<Lsn>;
  /** What the project says to a wish to drop history. */
  horizon: (wanted: Lsn) => Promise<Horizon>;
  /** Milliseconds since 1970. */
  clock: () => number;
  onEvent: (what: string, details: Record<string, unknown>) => void;
}

const RECORD_ALIGNMENT = 8;
/** What a compute reads at is kept for so long after it was last seen: it may only have lost its connection. */
const LEASE_MS = 3_600_000;

export class GarbageCollector {
  readonly #options: GarbageCollectorOptions;
  /** Images over which redo refuses a page, by name. */
  readonly #refused = new Set<string>();

  constructor(options: GarbageCollectorOptions) {
    this.#options = options;
  }

  /** Throws what the project's answer fails with, CompactionError, SupersededError, StorageError, LayerError. */
  async run(): Promise<void> {
    const { stack, removal, remote, onEvent, settings } = this.#options;
    const orphans = await removal.findOrphans();
    await removal.sweep();
    const wanted = await this.#wantedHorizon();
    if (orphans > 0) onEvent('orphans deleted', { orphans });
    // What was retained below the horizon may not be any more: then it is asked though the horizon stays.
    const isWorthIt = wanted - stack.history.horizonLsn >= settings.gcBytesMin;
    if (!isWorthIt && stack.history.retainedLsns.length === 0) return;
    const points = await this.#advance(wanted);
    for (const point of points) await this.#imagesAt(point);
    const needed = stack.map.needed(points);
    const garbage = [...stack.map.values()].filter((layer) => !needed.has(layer) && layer.isUploaded);
    if (garbage.length > 0) {
      await remote.publish({ remove: garbage });
      stack.map.replace({ remove: garbage });
    }
    await removal.retire(garbage);
    await removal.sweep();
    const bytes = garbage.reduce((sum, { size }) => sum + size, 0);
    this.#options.metrics.collectedLayers.inc(garbage.length);
    this.#options.metrics.collectedBytes.inc(bytes);
    const horizonLsn = formatLsn(stack.history.horizonLsn);
    onEvent('garbage collected', { horizonLsn, retained: points.length - 1, layers: garbage.length, bytes });
  }

  /** Where the window begins: older than the time, and further back than the bytes; all of it in object storage. */
  async #wantedHorizon(): Promise<Lsn> {
    const { stack, remote, settings, clock, lsnBefore } = this.#options;
    const back = stack.position.lsn - settings.retentionBytes;
    const byBytes = Math.min(remote.position.lsn, back - (back % RECORD_ALIGNMENT));
    if (byBytes - stack.history.horizonLsn < settings.gcBytesMin) return stack.history.horizonLsn;
    const byTime = await lsnBefore(clock() - settings.retentionMs);
    return Math.max(stack.history.horizonLsn, Math.min(byBytes, byTime)) as Lsn;
  }

  /** Every LSN at which reads are still permitted, ascending; the last is the horizon. */
  async #advance(wanted: Lsn): Promise<Lsn[]> {
    const { stack, remote, clock, computeLsns, horizon } = this.#options;
    const answer = await horizon(wanted);
    const now = clock();
    const leases = renewed(remote.index.history.leases, computeLsns(), now);
    const agreed = Math.min(wanted, answer.horizonLsn) as Lsn;
    const retained = [...answer.retainedLsns, ...leases.map(({ lsn }) => lsn)];
    const retainedLsns = stack.history.advance(agreed, retained);
    const { horizonLsn } = stack.history;
    await remote.publish({ history: { horizonLsn, retainedLsns, leases } });
    return [...retainedLsns, horizonLsn];
  }

  /** Images for reads at `point`, where they save more than they cost: the deltas below it can go then. */
  async #imagesAt(point: Lsn): Promise<void> {
    const { stack, rewriter, settings } = this.#options;
    for (;;) {
      const tile = tilesAt(stack.map, point).find(({ image, deltas }) => {
        if (image === null || this.#refused.has(image.name)) return false;
        const below = deltas.filter(({ layer }) => newestLsn(layer.descriptor) <= point);
        return below.reduce((sum, { bytes }) => sum + bytes, 0) > image.size * settings.gcBytesRatio;
      });
      if (tile === undefined) return;
      try {
        if (!(await rewriter.image(tile.keys, point))) return;
      } catch (error) {
        if (!(error instanceof CompactionError) || error.code !== 'refused') throw error;
        this.#refused.add(tile.image!.name);
      }
    }
  }
}

/** Leases of those who read now, and of those who did not long ago. */
function renewed(leases: readonly ReadLease[], reading: readonly Lsn[], now: number): ReadLease[] {
  const untilMs = now + LEASE_MS;
  const current = new Map(leases.filter((lease) => lease.untilMs > now).map((lease) => [lease.lsn, lease]));
  for (const lsn of reading) current.set(lsn, { lsn, untilMs });
  return [...current.values()];
}
