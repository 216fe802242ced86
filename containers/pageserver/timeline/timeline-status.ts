/** What is said of a timeline: to a person (`ebb inspect layers`, GET /inspect/timelines/{id}), and to the metrics. */
import { formatLsn, type Lsn } from '../../../lib/postgres/lsn.ts';
import type { BreakerStatus } from '../maintenance/circuit-breaker.ts';
import type { StoredLayer } from '../layers/stored-layer.ts';
import type { Compactor } from './compactor.ts';
import type { Flusher } from './flusher.ts';
import type { LayerStack } from './layer-stack.ts';
import type { RemoteIndex } from './remote-index.ts';
import type { WalReceiver } from './wal-receiver.ts';

/** What of a timeline is looked at. */
export interface TimelineParts {
  stack: LayerStack;
  receiver: WalReceiver;
  remote: RemoteIndex;
  flusher: Flusher;
  compactor: Compactor;
}

export interface TimelineMeasurements {
  lastRecordLsn: Lsn;
  commitLsn: Lsn;
  remoteConsistentLsn: Lsn;
  uploadsPending: number;
  horizonLsn: Lsn;
  compactionFailures: number;
  /** Of the open and the frozen layers: in memory, and in their files. */
  memoryBytes: number;
  spilledBytes: number;
  layers: Iterable<StoredLayer>;
}

/** LSNs as text; memory layers oldest first, stored ones by name. */
export interface TimelineStatus {
  timelineId: string;
  ancestor: string | null;
  startLsn: string;
  generation: number;
  computes: number;
  lastRecordLsn: string;
  previousLsn: string;
  commitLsn: string;
  remoteConsistentLsn: string;
  safekeeper: number;
  connected: boolean;
  lastError: string | null;
  memory: { startLsn: string; endLsn: string; bytes: number }[];
  uploadsPending: number;
  horizonLsn: string;
  retainedLsns: string[];
  compaction: BreakerStatus;
  layers: { name: string; size: number; isLocal: boolean; isUploaded: boolean }[];
}

export function measurementsOf({
  stack,
  receiver,
  remote,
  flusher,
  compactor,
}: TimelineParts): TimelineMeasurements {
  const { position, open, frozen, map } = stack;
  return {
    lastRecordLsn: position.lsn,
    commitLsn: receiver.commitLsn,
    remoteConsistentLsn: remote.position.lsn,
    uploadsPending: flusher.uploadsPending,
    horizonLsn: stack.history.horizonLsn,
    compactionFailures: compactor.breaker.failures,
    memoryBytes: stack.residentBytes,
    spilledBytes: frozen.reduce((sum, { memory }) => sum + memory.spilledBytes, open.spilledBytes),
    layers: map.values(),
  };
}

export function statusOf({
  stack,
  receiver,
  remote,
  flusher,
  compactor,
  ancestorId,
  startLsn,
  ...rest
}: TimelineParts & {
  timelineId: string;
  ancestorId: string | null;
  startLsn: Lsn;
  generation: number;
  computes: number;
}): TimelineStatus {
  const { position, open, frozen, map, history } = stack;
  return {
    ...rest,
    ancestor: ancestorId,
    startLsn: formatLsn(startLsn),
    lastRecordLsn: formatLsn(position.lsn),
    previousLsn: formatLsn(position.previousLsn),
    commitLsn: formatLsn(receiver.commitLsn),
    remoteConsistentLsn: formatLsn(remote.position.lsn),
    safekeeper: receiver.safekeeper,
    connected: receiver.isConnected,
    lastError: receiver.lastError?.message ?? null,
    memory: [...frozen.map(({ memory }) => memory), open].map((layer) => ({
      startLsn: formatLsn(layer.startLsn),
      endLsn: formatLsn(layer.endLsn),
      bytes: layer.bytes,
    })),
    uploadsPending: flusher.uploadsPending,
    horizonLsn: formatLsn(history.horizonLsn),
    retainedLsns: history.retainedLsns.map(formatLsn),
    compaction: compactor.breaker,
    layers: [...map.values()]
      .map(({ name, size, isLocal, isUploaded }) => ({ name, size, isLocal, isUploaded }))
      .sort((a, b) => (a.name < b.name ? -1 : 1)),
  };
}
