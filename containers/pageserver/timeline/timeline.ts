/**
 * A timeline as this pageserver has it: its layers, its place in the WAL, and everything that moves it on.
 *
 *   safekeeper ──► WalReceiver ──► WalIngest ──► LayerStack ──► Flusher ──► object storage
 *                                                    ▲               └──► Compactor
 *                                   page service ──► TimelineReader
 *
 * Attaching reads the index that the last pageserver left, or makes the timeline's first layer of the template; from
 * the index's position on, the WAL is pulled again. The local disk is only a cache in all of this.
 *
 * A branch begins with no layer at all: what is not in its own is read from its ancestor as of the branch point, which
 * is therefore attached first and has ingested that far.
 */
import { assert } from '../../../lib/assert.ts';
import { formatLsn, lsn, lsnPlus, parseLsn, type Lsn } from '../../../lib/postgres/lsn.ts';
import { WAL_PAGE_BYTES, WAL_SEGMENT_BYTES } from '../../../lib/postgres/wal/geometry.ts';
import type { TimelineSpec } from '../../../lib/protocol/specs.ts';
import { ALL_KEYS } from '../../../lib/storage/key.ts';
import { timelinePrefix } from '../../../lib/storage/layers/timeline-index.ts';
import type { StorageView } from '../../../lib/storage/view.ts';
import type { Spill } from '../../../lib/storage/layers/value-slabs.ts';
import { LayerStore } from '../layers/layer-store.ts';
import { openSpillFile } from '../layers/spill-file.ts';
import type { StoredLayer } from '../layers/stored-layer.ts';
import { TimelineReader } from '../read/timeline-reader.ts';
import { bootstrap } from './bootstrap.ts';
import { commitTimeAt, firstCommitAfter } from './commit-times.ts';
import { Compactor } from './compactor.ts';
import { ComputeSession, type Progress } from './compute-session.ts';
import type { PageserverContext } from './context.ts';
import { describeFailure, SupersededError, TimelineError } from './errors.ts';
import { Flusher } from './flusher.ts';
import { GarbageCollector } from './garbage-collector.ts';
import type { Lineage } from './image-parts.ts';
import { WalIngest } from './ingest.ts';
import { LayerRemoval } from './layer-removal.ts';
import { LayerRewriter } from './layer-rewriter.ts';
import { LayerStack, type Position } from './layer-stack.ts';
import { LsnWaiters } from './lsn-waiters.ts';
import { RemoteIndex, type RemoteIndexOptions } from './remote-index.ts';
import {
  measurementsOf,
  statusOf,
  type TimelineMeasurements,
  type TimelineParts,
  type TimelineStatus,
} from './timeline-status.ts';
import { WalReceiver } from './wal-receiver.ts';

/** How long a request waits for an LSN that is not ingested yet. */
export const WAIT_MS_MAX = 10_000;
/** How long an attach waits for the ancestor to ingest the branch point. */
const BRANCH_POINT_WAIT_MS = 60_000;
/** Nothing is published before a timeline is taken over; until then a wake has the processor for itself. */
const TAKE_AFTER_MS = 500;
/** A read waits and nothing has come for so long: another safekeeper is tried. */
const NO_PROGRESS_MS = 1_000;
/** Postgres's times count from 2000, records end at multiples of 8. */
const POSTGRES_EPOCH_MS = Date.UTC(2000, 0, 1);
const RECORD_ALIGNMENT = 8;
/** Layers that are opened before anyone asks for them. */
const OPENED_MAX = 100;

export class Timeline {
  readonly spec: TimelineSpec;
  readonly startLsn: Lsn;
  readonly reader: TimelineReader;
  readonly lineage: Lineage;
  readonly #context: PageserverContext;
  readonly #ancestor: Timeline | null;
  readonly #stack: LayerStack;
  readonly #remote: RemoteIndex;
  readonly #flusher: Flusher;
  readonly #compactor: Compactor;
  readonly #receiver: WalReceiver;
  readonly #waiters = new LsnWaiters();
  readonly #ticker: NodeJS.Timeout;
  readonly #leaveMemory: () => void;
  readonly #computes = new Set<ComputeSession>();
  #freezeAt = Infinity;
  /** When garbage is collected next, and how far the timeline was at the last time. */
  #collectAt: number;
  #collectedLsn: Lsn;
  /** When ingest last got on, and how far it was at the last look. */
  #progressAt = performance.now();
  #seenLsn: Lsn;
  #stopping = false;

  /** Throws SupersededError, LayerError, StorageError, StateError. */
  static async attach(
    context: PageserverContext,
    spec: TimelineSpec,
    ancestor: Timeline | null = null,
  ): Promise<Timeline> {
    const startedAt = performance.now();
    const { origin } = spec;
    assert((origin.kind === 'branch') === (ancestor !== null), 'a branch is attached with its ancestor');
    if (origin.kind === 'branch') await ancestor!.waitFor(parseLsn(origin.ancestorLsn), BRANCH_POINT_WAIT_MS);
    const store = await LayerStore.open({
      timelineId: spec.timelineId,
      folder: `${context.diskFolder}/layers/${spec.timelineId}`,
      prefix: timelinePrefix(spec.projectId, spec.timelineId),
      storage: context.storage,
      codec: context.codec,
      blockCache: context.blockCache,
      disk: context.disk,
      ranges: context.ranges,
      metrics: context.metrics,
      download: context.download,
      failpoint: context.failpoint,
      onError: context.onError,
    });
    const remoteOptions = {
      storage: context.storage,
      crc32c: context.codec.crc32c,
      prefix: store.context.prefix,
      spec,
      generation: context.generation,
      owner: context.owner,
      metrics: context.metrics,
      failpoint: context.failpoint,
      sleep: context.sleep,
      onError: context.onError,
    };
    const remote = (await RemoteIndex.open(remoteOptions)) ?? (await newIndex(context, store, remoteOptions));
    const stack = new LayerStack(remote.position, await store.load(remote.index.layers), {
      history: remote.index.history,
      spill: spillOf(context),
    });
    const timeline = new Timeline(context, spec, { store, remote, stack, ancestor });
    timeline.#receiver.start();
    timeline.#takeOver();
    context.onEvent('attached', {
      timelineId: spec.timelineId,
      ms: Math.round(performance.now() - startedAt),
      lsn: formatLsn(timeline.ingestedLsn),
      layers: stack.map.size,
    });
    return timeline;
  }

  private constructor(
    context: PageserverContext,
    spec: TimelineSpec,
    parts: { store: LayerStore; remote: RemoteIndex; stack: LayerStack; ancestor: Timeline | null },
  ) {
    const { stack, store, remote, ancestor } = parts;
    const { generation, settings, onError, onEvent, onSuperseded, sleep, pageCache, metrics, failpoint } =
      context;
    this.spec = spec;
    this.startLsn = parseLsn(spec.startLsn);
    this.#context = context;
    this.#stack = stack;
    this.#seenLsn = stack.position.lsn;
    this.#remote = remote;
    this.#ancestor = ancestor;
    this.reader = new TimelineReader({
      stack,
      pageCache,
      metrics,
      ancestor: ancestor === null ? undefined : { reader: ancestor.reader, lsn: this.startLsn },
    });
    const lineage: Lineage = {
      stack,
      ancestor: ancestor === null ? null : { lineage: ancestor.lineage, lsn: this.startLsn },
    };
    this.lineage = lineage;
    const { prefix } = store.context;
    const removal = new LayerRemoval({ storage: context.storage, prefix, generation, remote });
    const rewriter = new LayerRewriter({
      lineage,
      store,
      remote,
      removal,
      reader: this.reader,
      runner: context.compaction,
      generation,
      settings,
      metrics,
      failpoint,
      onEvent,
    });
    const collector = new GarbageCollector({
      stack,
      remote,
      rewriter,
      removal,
      settings,
      metrics,
      computeLsns: () => [...this.#computes].map((session) => session.lsn).filter((each) => each !== null),
      lsnBefore: (timeMs) => this.#lsnBefore(timeMs),
      horizon: (wanted) => context.horizon(spec.timelineId, wanted),
      clock: context.clock,
      onEvent: (what, details) => onEvent(what, { timelineId: spec.timelineId, ...details }),
    });
    this.#compactor = new Compactor({ lineage, rewriter, collector, settings, onError, onSuperseded });
    this.#collectedLsn = stack.position.lsn;
    this.#collectAt = performance.now() + settings.gcPeriodMs;
    this.#flusher = new Flusher({
      stack,
      store,
      remote,
      generation,
      metrics,
      failpoint,
      onRemote: () => {
        this.#receiver.report();
        this.#compactor.kick();
      },
      onEvent,
      onError,
      onSuperseded,
      sleep,
    });
    this.#receiver = new WalReceiver({
      connect: (n, from) => context.openWal(n, spec, from),
      sink: () => this.#openIngest(),
      ingestedLsn: () => stack.position.lsn,
      remoteConsistentLsn: () => remote.position.lsn,
      onReconnect: () => metrics.walReconnects.inc(),
      onError,
    });
    this.#leaveMemory = context.memory.join({
      get openBytes() {
        return stack.open.residentBytes;
      },
      get residentBytes() {
        return stack.residentBytes;
      },
      freeze: () => this.#freeze(),
    });
    this.#ticker = setInterval(() => this.#tick(), settings.tickMs);
    this.#ticker.unref();
  }

  /** Opens the layers that reads of the head will need, and takes the timeline over when the first reads are done. */
  #takeOver(): void {
    const { onError, onSuperseded, sleep } = this.#context;
    const take = async () => {
      await sleep(TAKE_AFTER_MS);
      // A branch without layers has nothing to be taken over; its first layer does it.
      if (this.#stack.map.size > 0) await this.#remote.take();
    };
    take().catch((error: unknown) => {
      if (this.#stopping) return;
      if (error instanceof SupersededError) onSuperseded(error);
      else onError(error, 'taking the timeline over');
    });
    const layers = new Set<StoredLayer>();
    for (const { layers: found } of this.#stack.searchRange(ALL_KEYS, this.ingestedLsn)) {
      for (const layer of found.deltas) layers.add(layer);
      if (found.image !== null) layers.add(found.image);
    }
    for (const layer of [...layers].slice(0, OPENED_MAX))
      layer.reader().catch((error: unknown) => onError(error, `opening ${layer.name}`));
  }

  #openIngest(): Promise<WalIngest> {
    return WalIngest.load({
      spec: this.spec,
      stack: this.#stack,
      view: (at) => this.view(at),
      onAdvance: () => this.#advanced(),
      pause: () => this.#flusher.room() ?? this.#compactor.room() ?? this.#context.memory.room(),
      metrics: this.#context.metrics,
    });
  }
  #advanced(): void {
    const { settings } = this.#context;
    this.#waiters.reached(this.#stack.position.lsn);
    if (this.#stack.open.bytes >= settings.openLayerBytesMax) this.#freeze();
    else if (this.#freezeAt === Infinity) this.#freezeAt = performance.now() + settings.openLayerMsMax;
  }
  #freeze(): void {
    if (!this.#stack.freeze()) return;
    this.#freezeAt = Infinity;
    this.#flusher.kick();
  }

  /** What time brings: an open layer that is old is frozen, also a small one when no compute writes any more. */
  #tick(): void {
    const now = performance.now();
    this.#context.memory.look();
    for (const session of this.#computes) session.progressed(this.#progress);
    if (this.ingestedLsn !== this.#seenLsn || this.#receiver.isBusy) this.#progressAt = now;
    this.#seenLsn = this.ingestedLsn;
    const isQuiet = this.#computes.size === 0 && now - this.#progressAt > this.#context.settings.quietMs;
    if (now >= this.#freezeAt || isQuiet) this.#freeze();
    const isUploaded = this.#remote.position.lsn === this.ingestedLsn;
    if (this.ingestedLsn !== this.#collectedLsn && (now >= this.#collectAt || (isQuiet && isUploaded))) {
      this.#collectAt = now + this.#context.settings.gcPeriodMs;
      this.#collectedLsn = this.ingestedLsn;
      this.#compactor.collectGarbage();
    }
    if (this.#waiters.count > 0 && now - this.#progressAt > NO_PROGRESS_MS) {
      this.#progressAt = now;
      this.#receiver.tryAnother();
    }
  }

  /** The newest LSN up to which no commit is younger than a time (milliseconds since 1970), as far as history is kept. */
  async #lsnBefore(timeMs: number): Promise<Lsn> {
    const time = (timeMs - POSTGRES_EPOCH_MS) * 1_000;
    const from = this.#historyStart;
    const oldest = await commitTimeAt(this.reader, from);
    if (oldest !== null && oldest > time) return from;
    const first = await firstCommitAfter(this.reader, time, { from, to: this.ingestedLsn });
    return first === null ? this.ingestedLsn : lsnPlus(first, -RECORD_ALIGNMENT);
  }
  /** Everything from here on can be read. */
  get #historyStart(): Lsn {
    return lsn(Math.max(this.startLsn, this.#stack.history.horizonLsn));
  }

  /** A compute is served from now on, until its session is closed. */
  computeAttached(tell: (progress: Progress) => void): ComputeSession {
    const onClose = () => this.#computes.delete(session);
    const session = new ComputeSession(this.#stack.history, { tell, onClose });
    this.#computes.add(session);
    session.progressed(this.#progress);
    return session;
  }
  get #progress(): Progress {
    return { ingestedLsn: this.ingestedLsn, remoteConsistentLsn: this.#remote.position.lsn };
  }
  /** What a read at `at` needs stays until the returned function is called. Throws TimelineError `belowWindow`. */
  hold(at: Lsn): () => void {
    return this.#stack.history.hold(at);
  }
  /** No compute, and everything that a safekeeper told to be committed is in object storage. */
  get isIdle(): boolean {
    const { lsn } = this.#stack.position;
    return (
      this.#computes.size === 0 &&
      this.#receiver.commitLsn <= lsn &&
      this.#remote.position.lsn === lsn &&
      this.#flusher.isIdle &&
      this.#compactor.isIdle
    );
  }

  get ingestedLsn(): Lsn {
    return this.#stack.position.lsn;
  }

  /**
   * Waits until everything up to `at` is ingested; returns the LSN to read at. Throws TimelineError `behind` after
   * WAIT_MS_MAX, `belowWindow` where the timeline has no history, `stopping`.
   */
  async waitFor(at: Lsn, timeoutMs = WAIT_MS_MAX): Promise<Lsn> {
    if (this.#stopping)
      throw new TimelineError('stopping', `timeline ${this.spec.timelineId} is being stopped`);
    const wanted = recordEnd(at);
    if (wanted < this.startLsn) {
      const message = `${formatLsn(at)} is before the start of the timeline at ${formatLsn(this.startLsn)}`;
      throw new TimelineError('belowWindow', message);
    }
    this.#stack.history.assertReadable(wanted);
    if (wanted > this.ingestedLsn) {
      if (this.#waiters.count === 0) this.#progressAt = performance.now();
      try {
        await this.#waiters.wait(wanted, timeoutMs, () => this.ingestedLsn);
      } catch (error) {
        throw this.#explained(error as TimelineError);
      }
    }
    return wanted;
  }
  /** A wait that failed because ingest does not get on says why. */
  #explained(error: TimelineError): TimelineError {
    const cause = this.#receiver.lastError;
    if (cause === null || error.code !== 'behind') return error;
    return new TimelineError('behind', `${error.message}; ${describeFailure(cause).message}`, cause);
  }

  /** The timeline as of `at`, which has been ingested. */
  view(at: Lsn): StorageView {
    const { lsn, previousLsn } = this.#stack.position;
    return {
      lsn: at,
      previousLsn: at >= lsn ? previousLsn : (0 as Lsn),
      get: (key) => this.reader.get(key, at),
      scan: (range) => this.reader.scan(range, at),
    };
  }

  /** For the metrics, when they are asked for. */
  get measurements(): TimelineMeasurements {
    return measurementsOf(this.#parts);
  }

  /**
   * The end of the first commit record after `time` (microseconds since 2000) up to `to`, which has been ingested; null
   * when there is none. The history of a branch goes on in its ancestors. Throws TimelineError `belowWindow` when all
   * that is kept is after `time`.
   */
  async firstCommitAfter(time: number, to: Lsn): Promise<Lsn | null> {
    const from = Math.max(this.startLsn, this.#stack.history.horizonLsn) as Lsn;
    const newest = await commitTimeAt(this.reader, from);
    if (newest === null || newest <= time) return firstCommitAfter(this.reader, time, { from, to });
    if (this.#ancestor !== null && from === this.startLsn) return this.#ancestor.firstCommitAfter(time, from);
    throw new TimelineError(
      'belowWindow',
      `the history of timeline ${this.spec.timelineId} begins after that time`,
    );
  }

  /** For `GET /inspect/timelines/{id}`. */
  status(): TimelineStatus {
    return statusOf({
      ...this.#parts,
      timelineId: this.spec.timelineId,
      ancestorId: this.#ancestor === null ? null : this.#ancestor.spec.timelineId,
      startLsn: this.startLsn,
      generation: this.#context.generation,
      computes: this.#computes.size,
    });
  }
  get #parts(): TimelineParts {
    return {
      stack: this.#stack,
      receiver: this.#receiver,
      remote: this.#remote,
      flusher: this.#flusher,
      compactor: this.#compactor,
    };
  }

  /** Ingests nothing more and uploads everything it has. Rejects when it was superseded. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.#waiters.fail(new TimelineError('stopping', `timeline ${this.spec.timelineId} is being stopped`));
    const compaction = this.#compactor.stop(); // first, for ingest may be waiting for it
    await this.#receiver.stop();
    this.#freeze();
    await Promise.all([this.#flusher.drained(), compaction]);
    this.abandon();
  }
  /** Stops at once, and resolves when nothing of it is being written any more: it is being deleted. */
  async detach(): Promise<void> {
    this.abandon();
    await Promise.all([this.#receiver.stop(), this.#compactor.stop(), this.#flusher.quiet()]);
  }
  /** Stops at once, whatever is not uploaded. */
  abandon(): void {
    this.#stopping = true;
    clearInterval(this.#ticker);
    this.#leaveMemory();
    const error = new TimelineError('stopping', `timeline ${this.spec.timelineId} is being stopped`);
    this.#waiters.fail(error);
    this.#flusher.stop(error);
    this.#remote.close();
    void this.#compactor.stop();
    void this.#receiver.stop().then(() => {
      for (const layer of this.#stack.map.values()) layer.close();
      this.reader.close();
      void this.#flusher.quiet().then(() => this.#stack.close());
    });
  }
}

const spillOf = ({ settings, diskFolder, codec }: PageserverContext): Spill => ({
  bytesMax: settings.layerMemoryBytesMax,
  open: () => openSpillFile(`${diskFolder}/spill`, codec),
});

/** Of a timeline that no pageserver has published yet. */
async function newIndex(
  context: PageserverContext,
  store: LayerStore,
  options: RemoteIndexOptions,
): Promise<RemoteIndex> {
  const { origin, timelineId } = options.spec;
  switch (origin.kind) {
    case 'template':
      return bootstrap(context, store, options);
    case 'branch':
      return RemoteIndex.unpublished(options, branchPoint(origin));
    case 'import':
      throw new TimelineError('notFound', `timeline ${timelineId} was imported, and its index is not there`);
  }
}

const branchPoint = (origin: { ancestorLsn: string; previousLsn: string }): Position => ({
  lsn: parseLsn(origin.ancestorLsn),
  previousLsn: parseLsn(origin.previousLsn),
});

/**
 * The end of the last record at or before an LSN: records end MAXALIGNed, and a position just behind a WAL page's header
 * (as pg_current_wal_insert_lsn gives) is the page's start to a record that ends there.
 */
function recordEnd(at: Lsn): Lsn {
  const aligned = at - (at % 8);
  const headerBytes = aligned % WAL_SEGMENT_BYTES < WAL_PAGE_BYTES ? 40 : 24;
  return lsn(aligned % WAL_PAGE_BYTES === headerBytes ? aligned - headerBytes : aligned);
}
