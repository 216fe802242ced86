/** What a timeline is like at the moment of a scrape. */
import type { Lsn } from '../../../lib/postgres/lsn.ts';
import { isLevel0, type LayerDescriptor } from '../../../lib/storage/layers/descriptor.ts';
import type { Metrics } from './metrics.ts';

export interface MeasuredTimeline {
  readonly spec: { timelineId: string };
  readonly measurements: {
    lastRecordLsn: Lsn;
    commitLsn: Lsn;
    remoteConsistentLsn: Lsn;
    uploadsPending: number;
    horizonLsn: Lsn;
    compactionFailures: number;
    memoryBytes: number;
    spilledBytes: number;
    layers: Iterable<{ descriptor: LayerDescriptor; size: number }>;
  };
}

/** Before the timelines that there are now are set: one that was detached is not shown with its last values. */
export function clearTimelineGauges(metrics: Metrics): void {
  for (const gauge of [
    metrics.lastRecordLsn,
    metrics.commitLsn,
    metrics.remoteConsistentLsn,
    metrics.ingestLagBytes,
    metrics.uploadLagBytes,
    metrics.uploadsPending,
    metrics.horizonLsn,
    metrics.compactionFailures,
    metrics.memoryLayerBytes,
    metrics.spilledBytes,
    metrics.layers,
    metrics.layerBytes,
  ])
    gauge.clear();
}

const kindOf = (descriptor: LayerDescriptor): string =>
  descriptor.kind === 'image' ? 'image' : isLevel0(descriptor) ? 'level0' : 'delta';

export function collectTimeline(metrics: Metrics, { spec, measurements: of }: MeasuredTimeline): void {
  const timeline = spec.timelineId;
  const labels = { timeline };
  metrics.lastRecordLsn.set(of.lastRecordLsn, labels);
  metrics.commitLsn.set(of.commitLsn, labels);
  metrics.remoteConsistentLsn.set(of.remoteConsistentLsn, labels);
  metrics.ingestLagBytes.set(Math.max(0, of.commitLsn - of.lastRecordLsn), labels);
  metrics.uploadLagBytes.set(of.lastRecordLsn - of.remoteConsistentLsn, labels);
  metrics.uploadsPending.set(of.uploadsPending, labels);
  metrics.horizonLsn.set(of.horizonLsn, labels);
  metrics.compactionFailures.set(of.compactionFailures, labels);
  metrics.memoryLayerBytes.set(of.memoryBytes, labels);
  metrics.spilledBytes.set(of.spilledBytes, labels);
  for (const kind of ['level0', 'delta', 'image']) {
    metrics.layers.set(0, { timeline, kind });
    metrics.layerBytes.set(0, { timeline, kind });
  }
  for (const { descriptor, size } of of.layers) {
    const kind = kindOf(descriptor);
    metrics.layers.add(1, { timeline, kind });
    metrics.layerBytes.add(size, { timeline, kind });
  }
}
