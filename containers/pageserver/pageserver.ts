/**
 * The pageserver of one project: its timelines, attached when first asked for, and its end.
 *
 *   serving ──stop()──► stopping (uploads everything) ──► stopped
 *      └──── a newer generation is met ────► superseded (writes and reports nothing more)
 *
 * A branch is attached after its ancestors, which its specification holds. A timeline that was deleted is not attached again.
 *
 * It serves one project only: a timeline of another is refused whatever the caller says.
 */
import type { PageserverSpec, TimelineSpec } from '../../lib/protocol/specs.ts';
import { clearTimelineGauges, collectTimeline } from './metrics/timeline-gauges.ts';
import type { PageserverContext } from './timeline/context.ts';
import { TimelineError } from './timeline/errors.ts';
import { Timeline } from './timeline/timeline.ts';

export class Pageserver {
  readonly spec: PageserverSpec;
  readonly #context: PageserverContext;
  readonly #timelines = new Map<string, Promise<Timeline>>();
  readonly #attached = new Set<Timeline>();
  readonly #deleted = new Set<string>();
  #stopping: Promise<void> | null = null;

  constructor(spec: PageserverSpec, context: PageserverContext) {
    this.spec = spec;
    this.#context = context;
    context.metrics.collectors.add(() => this.#collect());
  }
  get isStopping(): boolean {
    return this.#stopping !== null;
  }

  /** The timeline, attached if need be. Throws TimelineError, SupersededError, LayerError, StorageError. */
  async timeline(spec: TimelineSpec): Promise<Timeline> {
    if (spec.projectId !== this.spec.projectId)
      throw new TimelineError('notFound', `timeline ${spec.timelineId} is not one of this project`);
    if (this.#stopping !== null) throw new TimelineError('stopping', 'the pageserver is stopping');
    const known = this.#timelines.get(spec.timelineId);
    if (known !== undefined) return known;
    if (this.#deleted.has(spec.timelineId))
      throw new TimelineError('notFound', `timeline ${spec.timelineId} was deleted`);
    const attached = this.#attach(spec);
    this.#timelines.set(spec.timelineId, attached);
    attached.then(
      (timeline) => this.#attached.add(timeline),
      () => this.#timelines.delete(spec.timelineId),
    );
    return attached;
  }

  /** Sets what is only known at a scrape: positions, layers, and what the caches count themselves. */
  #collect(): void {
    const { metrics, pageCache, blockCache } = this.#context;
    metrics.pageCacheHits.set(pageCache.hits);
    metrics.pageCacheMisses.set(pageCache.misses);
    metrics.blockCacheHits.set(blockCache.hits);
    metrics.blockCacheMisses.set(blockCache.misses);
    metrics.timelines.set(this.#attached.size);
    clearTimelineGauges(metrics);
    for (const timeline of this.#attached) collectTimeline(metrics, timeline);
  }

  async #attach(spec: TimelineSpec): Promise<Timeline> {
    const { origin } = spec;
    const ancestor = origin.kind === 'branch' ? await this.timeline(origin.ancestor) : null;
    return Timeline.attach(this.#context, spec, ancestor);
  }

  /** The timeline is being deleted: resolves when this pageserver reads and writes nothing of it any more. */
  async forget(timelineId: string): Promise<void> {
    this.#deleted.add(timelineId);
    const attached = this.#timelines.get(timelineId);
    this.#timelines.delete(timelineId);
    const timeline = (await attached?.catch(() => null)) ?? null;
    if (timeline === null) return;
    this.#attached.delete(timeline);
    await timeline.detach();
  }

  /** No compute is attached anywhere, and everything is uploaded. */
  async isIdle(): Promise<boolean> {
    if (this.#stopping !== null) return false;
    for (const attached of this.#timelines.values()) {
      const timeline = await attached.catch(() => null);
      if (timeline !== null && !timeline.isIdle) return false;
    }
    return true;
  }

  /** Uploads everything; resolves when nothing would be lost. Rejects when superseded meanwhile. */
  stop(): Promise<void> {
    this.#stopping ??= this.#each((timeline) => timeline.stop());
    return this.#stopping;
  }
  /** Ends all work without waiting for anything. */
  async abandon(): Promise<void> {
    this.#stopping ??= Promise.resolve();
    await this.#each((timeline) => timeline.abandon());
  }
  async #each(action: (timeline: Timeline) => void | Promise<void>): Promise<void> {
    await Promise.all(
      [...this.#timelines.values()].map(async (attached) => {
        const timeline = await attached.catch(() => null);
        if (timeline !== null) await action(timeline);
      }),
    );
  }
}
