/**
 * Puts layers in the place of others:
 *
 *   files of the layers ──► job on another thread ──► new files ──► objects ──► index ──► layer map
 *
 * A failure on the way leaves everything as it was: files that were made are dropped, and objects that were put are deleted once an
 * index has been put without them.
 */
import { closeSync } from 'node:fs';
import type { Lsn } from '../../../lib/postgres/lsn.ts';
import type { Merge } from '../../../lib/storage/compaction/plan.ts';
import type { KeyRange } from '../../../lib/storage/key.ts';
import type { LayerStore } from '../layers/layer-store.ts';
import type { StoredLayer } from '../layers/stored-layer.ts';
import type { ReachFailpoint } from '../failpoints.ts';
import {
  CompactionError,
  type CompactionJob,
  type CompactionRunner,
  type ImageJob,
  type JobLayer,
} from '../maintenance/job.ts';
import type { Metrics } from '../metrics/metrics.ts';
import type { TimelineReader } from '../read/timeline-reader.ts';
import type { TimelineSettings } from './context.ts';
import { imageParts, type LayerInput, type Lineage } from './image-parts.ts';
import type { LayerRemoval } from './layer-removal.ts';
import { liveSizes } from './live-sizes.ts';
import type { RemoteIndex } from './remote-index.ts';

export interface LayerRewriterOptions {
  lineage: Lineage;
  store: LayerStore;
  remote: RemoteIndex;
  removal: LayerRemoval;
  reader: TimelineReader;
  runner: CompactionRunner;
  generation: number;
  settings: TimelineSettings;
  metrics: Metrics;
  failpoint: ReachFailpoint;
  onEvent: (what: string, details: Record<string, unknown>) => void;
}

let jobNumber = 0;

export class LayerRewriter {
  readonly #options: LayerRewriterOptions;
  readonly #stopping = new AbortController();

  constructor(options: LayerRewriterOptions) {
    this.#options = options;
  }
  get isStopped(): boolean {
    return this.#stopping.signal.aborted;
  }
  /** What is under way ends soon, with CompactionError `cancelled`. */
  stop(): void {
    this.#stopping.abort();
  }

  /** Throws CompactionError, SupersededError, StorageError, LayerError. */
  async merge({ inputs, startLsn, endLsn }: Merge<StoredLayer>): Promise<void> {
    await this.#rewrite('delta', inputs, inputs, (layers) => ({
      ...this.#output(layers),
      kind: 'merge',
      startLsn,
      endLsn,
    }));
  }

  /**
   * Images of `keys` as of `lsn`, or of the first part of them when they are many. False where some of what they are made of is
   * only in memory. Throws as `merge` does; CompactionError `refused` when redo refuses a page.
   */
  async image(keys: KeyRange, lsn: Lsn): Promise<boolean> {
    const { lineage, reader, settings } = this.#options;
    const parts = imageParts(lineage, keys, lsn);
    if (parts === null) return false;
    const inputs = [...new Set(parts.flatMap((part) => part.inputs.map(({ layer }) => layer)))];
    const numbers = new Map(inputs.map((layer, i) => [layer, i]));
    const numbered = ({ layer, after, upTo }: LayerInput) => ({ layer: numbers.get(layer)!, after, upTo });
    await this.#rewrite('image', inputs, [], async (layers): Promise<ImageJob> => ({
      ...this.#output(layers),
      kind: 'image',
      lsn,
      parts: parts.map((part) => ({ keys: part.keys, inputs: part.inputs.map(numbered) })),
      sizes: await liveSizes(reader, keys, lsn),
      filesMax: settings.imageFilesMax,
    }));
    return true;
  }

  #output(layers: JobLayer[]) {
    const { store, generation, settings } = this.#options;
    const { folder, timelineId } = store.context;
    const pathPrefix = `${folder}/compaction-${jobNumber++}-`;
    return { timelineId, generation, pathPrefix, fileBytesTarget: settings.layerBytesTarget, layers };
  }

  async #rewrite(
    kind: 'delta' | 'image',
    inputs: readonly StoredLayer[],
    replaced: readonly StoredLayer[],
    job: (layers: JobLayer[]) => CompactionJob | Promise<CompactionJob>,
  ): Promise<void> {
    const { metrics, onEvent } = this.#options;
    const startedAt = performance.now();
    let outputs: StoredLayer[];
    try {
      outputs = await this.#make(inputs, job);
      await this.#swap(outputs, replaced);
    } catch (error) {
      const outcome = error instanceof CompactionError ? error.code : 'failed';
      metrics.compactions.inc(1, { kind, outcome });
      throw error;
    }
    const ms = performance.now() - startedAt;
    const bytes = outputs.reduce((sum, { size }) => sum + size, 0);
    metrics.compactions.inc(1, { kind, outcome: 'done' });
    metrics.compactionSeconds.observe(ms / 1000);
    metrics.compactionReadBytes.inc(inputs.reduce((sum, { size }) => sum + size, 0));
    metrics.compactionWrittenBytes.inc(bytes);
    onEvent('compacted', { kind, inputs: inputs.length, outputs: outputs.length, bytes, ms: Math.round(ms) });
    await this.#options.removal.retire(replaced);
    await this.#options.removal.sweep();
  }

  async #make(
    inputs: readonly StoredLayer[],
    job: (layers: JobLayer[]) => CompactionJob | Promise<CompactionJob>,
  ): Promise<StoredLayer[]> {
    const { store, runner } = this.#options;
    const layers: JobLayer[] = [];
    for (const layer of inputs) layer.acquire();
    try {
      for (const layer of inputs) {
        const { descriptor, size, timelineId } = layer;
        layers.push({ file: await layer.openFile(), timelineId, descriptor, size });
      }
      const files = await runner.run(await job(layers), this.#stopping.signal);
      const outputs: StoredLayer[] = [];
      for (const { path, descriptor, size } of files) outputs.push(await store.adopt(path, descriptor, size));
      return outputs;
    } finally {
      for (const { file } of layers) closeSync(file);
      for (const layer of inputs) layer.release();
    }
  }

  async #swap(outputs: readonly StoredLayer[], replaced: readonly StoredLayer[]): Promise<void> {
    const { store, remote, removal, lineage, failpoint } = this.#options;
    try {
      await remote.take();
      await failpoint('compaction.before-upload');
      for (const output of outputs) {
        if (this.isStopped) throw new CompactionError('cancelled', 'compaction is not wanted any more');
        await store.upload(output);
      }
      await failpoint('compaction.before-index');
      await remote.publish({ insert: outputs, remove: replaced });
      await failpoint('compaction.before-swap');
    } catch (error) {
      await removal.retire(outputs);
      throw error;
    }
    lineage.stack.map.replace({ remove: replaced, insert: outputs });
  }
}
