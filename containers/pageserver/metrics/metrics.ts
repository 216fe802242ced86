/**
 * Every metric of a pageserver, in one place: whoever counts something adds it here and to docs/METRICS.md (a test
 * compares the two) and gets it by `context.metrics`.
 *
 * Names follow Prometheus: base units (seconds, bytes), `_total` for counters. What is only known when somebody asks, such as
 * how far each timeline has got, is set by a collector just before the metrics are written out.
 */
import { Counter, Gauge, Histogram } from './instruments.ts';

const SECONDS = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30];
/** What a page in memory takes is far below what one from object storage takes. */
const READ_SECONDS = [0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5];
const LAYERS = [0, 1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 50];
const TIMELINE = ['timeline'] as const;

const P = 'ebb_pageserver';

function instruments() {
  return {
    // Ingest
    ingestedRecords: new Counter(`${P}_ingested_records_total`, 'WAL records filed into layers'),
    ingestedBytes: new Counter(`${P}_ingested_wal_bytes_total`, 'Bytes of WAL filed into layers'),
    ingestPausedSeconds: new Counter(
      `${P}_ingest_paused_seconds_total`,
      'Time that ingest waited for room in memory or for compaction',
    ),
    walReconnects: new Counter(
      `${P}_wal_reconnects_total`,
      'Connections to safekeepers that ended and were opened anew',
    ),

    // Timelines, at the moment of the scrape
    timelines: new Gauge(`${P}_timelines`, 'Timelines that are attached'),
    lastRecordLsn: new Gauge(`${P}_last_record_lsn`, 'End of the last record that is ingested', TIMELINE),
    commitLsn: new Gauge(`${P}_commit_lsn`, 'Commit LSN that a safekeeper last told', TIMELINE),
    remoteConsistentLsn: new Gauge(
      `${P}_remote_consistent_lsn`,
      'Everything up to here is in object storage; safekeepers may trim',
      TIMELINE,
    ),
    ingestLagBytes: new Gauge(`${P}_ingest_lag_bytes`, 'Committed WAL that is not ingested yet', TIMELINE),
    uploadLagBytes: new Gauge(
      `${P}_upload_lag_bytes`,
      'Ingested WAL that is not in object storage yet',
      TIMELINE,
    ),
    uploadsPending: new Gauge(`${P}_uploads_pending`, 'Flushed layers that wait to be uploaded', TIMELINE),
    memoryLayerBytes: new Gauge(
      `${P}_memory_layer_bytes`,
      'Bytes in memory of the open and the frozen layers',
      TIMELINE,
    ),
    spilledBytes: new Gauge(
      `${P}_spilled_bytes`,
      'Bytes of the open and the frozen layers that were too many for memory and are in a file',
      TIMELINE,
    ),
    layers: new Gauge(`${P}_layers`, 'Layers of the layer map', ['timeline', 'kind'] as const),
    layerBytes: new Gauge(`${P}_layer_bytes`, 'Bytes of the layers of the layer map', [
      'timeline',
      'kind',
    ] as const),

    // Layers, compaction
    flushedLayers: new Counter(`${P}_flushed_layers_total`, 'Memory layers written as level-0 deltas'),
    flushedBytes: new Counter(`${P}_flushed_bytes_total`, 'Bytes of the level-0 deltas written'),
    compactions: new Counter(`${P}_compactions_total`, 'Compactions by what they make and how they ended', [
      'kind',
      'outcome',
    ] as const),
    compactionReadBytes: new Counter(
      `${P}_compaction_read_bytes_total`,
      'Bytes of the layers that compaction replaced',
    ),
    compactionWrittenBytes: new Counter(
      `${P}_compaction_written_bytes_total`,
      'Bytes of the layers that compaction made',
    ),
    collectedLayers: new Counter(`${P}_collected_layers_total`, 'Layers that garbage collection dropped'),
    collectedBytes: new Counter(`${P}_collected_bytes_total`, 'Bytes of the layers that it dropped'),
    compactionFailures: new Gauge(
      `${P}_compaction_failures`,
      'Compactions that failed in a row; above 0 the circuit breaker pauses them',
      TIMELINE,
    ),
    horizonLsn: new Gauge(`${P}_horizon_lsn`, 'Where the history that is kept begins', TIMELINE),
    compactionSeconds: new Histogram(`${P}_compaction_seconds`, 'Duration of a compaction', SECONDS),

    // Object storage
    storageRequests: new Counter(
      `${P}_storage_requests_total`,
      'Requests to object storage, each attempt for itself; outcome: ok, unavailable, throttled, conflict, refused, malformed',
      ['operation', 'outcome'] as const,
    ),
    storageRequestSeconds: new Histogram(
      `${P}_storage_request_seconds`,
      'Duration of a request to object storage, each attempt for itself',
      SECONDS,
      ['operation'] as const,
    ),
    storageRetries: new Counter(`${P}_storage_retries_total`, 'Requests that were tried again', [
      'operation',
    ] as const),
    storageSentBytes: new Counter(`${P}_storage_sent_bytes_total`, 'Bytes of objects put'),
    storageReceivedBytes: new Counter(`${P}_storage_received_bytes_total`, 'Bytes of objects read'),
    uploads: new Counter(`${P}_uploads_total`, 'Layers by how their upload ended', ['outcome'] as const),
    uploadedBytes: new Counter(`${P}_uploaded_bytes_total`, 'Bytes of the layers uploaded'),
    indexPublishes: new Counter(`${P}_index_publishes_total`, 'Indexes by how their put ended', [
      'outcome',
    ] as const),
    deletedObjects: new Counter(`${P}_deleted_objects_total`, 'Objects of layers that were deleted'),

    // The disk as a cache
    diskBytes: new Gauge(`${P}_disk_bytes`, 'Bytes of layer files on the local disk'),
    diskBytesMax: new Gauge(`${P}_disk_bytes_max`, 'Bound of the layer files on the local disk'),
    downloads: new Counter(`${P}_downloads_total`, 'Layers by how their download ended', [
      'outcome',
    ] as const),
    downloadedBytes: new Counter(`${P}_downloaded_bytes_total`, 'Bytes of the layers downloaded whole'),
    rangeReads: new Counter(`${P}_range_reads_total`, 'Ranges of layers that were read from object storage'),
    layerReads: new Counter(`${P}_layer_reads_total`, 'Reads of layers by where the bytes came from', [
      'from',
    ] as const),
    evictions: new Counter(`${P}_evictions_total`, 'Layer files dropped from the local disk to make room'),
    evictedBytes: new Counter(`${P}_evicted_bytes_total`, 'Bytes of the layer files dropped to make room'),

    // Reads
    pageRequestSeconds: new Histogram(
      `${P}_page_request_seconds`,
      'Duration of a request of the page service, its wait for the LSN included',
      READ_SECONDS,
    ),
    pagesServed: new Counter(`${P}_pages_served_total`, 'Pages that the page service answered with'),
    pageRequestErrors: new Counter(`${P}_page_request_errors_total`, 'Requests of the page service refused', [
      'code',
    ] as const),
    layersVisited: new Histogram(
      `${P}_read_layers_visited`,
      'Layers that the read of a key looked into',
      LAYERS,
    ),
    pageCacheHits: new Counter(`${P}_page_cache_hits_total`, 'Reads that found their page in the page cache'),
    pageCacheMisses: new Counter(`${P}_page_cache_misses_total`, 'Reads that did not'),
    blockCacheHits: new Counter(`${P}_block_cache_hits_total`, 'Blocks of layers found unpacked in memory'),
    blockCacheMisses: new Counter(`${P}_block_cache_misses_total`, 'Blocks of layers that had to be read'),
  };
}

export type Instruments = ReturnType<typeof instruments>;
export interface Metrics extends Instruments {
  /** Called before the metrics are written out, to set what is only known then. */
  readonly collectors: Set<() => void>;
}

export const newMetrics = (): Metrics => ({ ...instruments(), collectors: new Set() });
