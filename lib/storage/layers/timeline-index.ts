/**
 * The index object: which layers a timeline consists of, as one generation of pageserver sees it.
 *
 *   projects/{projectId}/layers/{timelineId}/index-{generation, 8 hexadecimal digits}.json
 *   projects/{projectId}/layers/{timelineId}/index-{generation}.fence       empty: the generation has begun
 *   projects/{projectId}/layers/{timelineId}/{layer name}
 *
 *   line 1   the index as JSON
 *   line 2   {"crc32c":"…"}: of line 1's bytes without its newline, 8 hexadecimal digits
 *
 * A layer counts only once an index names it; layers are therefore put first. The truth is the index of the
 * highest generation. A pageserver reads the newest of a generation up to its own and writes only its own, so one
 * that was superseded writes where nobody looks. (docs/formats/timeline-index.md)
 */
import { formatLsn, INVALID_LSN, parseLsn, type Lsn } from '../../postgres/lsn.ts';
import { layerName, parseLayerName, type LayerDescriptor } from './descriptor.ts';
import { LayerError } from './format.ts';

export const INDEX_FORMAT = 2;
/** Without `history`; read as if nothing had been dropped. */
const INDEX_FORMAT_1 = 1;
/** Bytes of an index object that are read: about a million layers. */
export const INDEX_BYTES_MAX = 256 << 20;

export interface IndexedLayer {
  descriptor: LayerDescriptor;
  /** Bytes of the file. */
  size: number;
}
/** Somebody reads at an LSN for as long as they live (a compute reads at the LSN it was started at). */
export interface ReadLease {
  lsn: Lsn;
  /** Milliseconds since 1970; nobody has been seen since, and nobody will be after. */
  untilMs: number;
}
/** Which of the past can be read. */
export interface IndexedHistory {
  /** At this LSN and above everything can be read; 0/0 while nothing has been dropped. */
  horizonLsn: Lsn;
  /** Below it, what can be read too: at exactly these LSNs. */
  retainedLsns: Lsn[];
  leases: ReadLease[];
}
export const WHOLE_HISTORY: IndexedHistory = {
  horizonLsn: INVALID_LSN,
  retainedLsns: [],
  leases: [],
};

export interface TimelineIndex {
  timelineId: string;
  generation: number;
  postgresMajor: number;
  /** u64 in decimal. */
  systemIdentifier: string;
  /** Every record up to here is in the layers; it is the end of a record. */
  diskConsistentLsn: Lsn;
  /** Start of the last record that ends at or before it; 0/0 when there is none yet. */
  previousLsn: Lsn;
  history: IndexedHistory;
  layers: IndexedLayer[];
}

export const timelinePrefix = (projectId: string, timelineId: string): string =>
  `projects/${projectId}/layers/${timelineId}/`;
export const indexName = (generation: number): string =>
  `index-${generation.toString(16).padStart(8, '0')}.json`;

export const fenceName = (generation: number): string =>
  `index-${generation.toString(16).padStart(8, '0')}.fence`;

/** Generation of a fence's name; null for any other name. */
export function parseFenceName(name: string): number | null {
  const match = /^index-([0-9a-f]{8})\.fence$/.exec(name);
  return match === null ? null : Number.parseInt(match[1], 16);
}

/** Generation of an index object's name; null for any other name. */
export function parseIndexName(name: string): number | null {
  const match = /^index-([0-9a-f]{8})\.json$/.exec(name);
  return match === null ? null : Number.parseInt(match[1], 16);
}

export function encodeIndex(index: TimelineIndex, crc32c: (bytes: Uint8Array) => number): Uint8Array {
  const body = JSON.stringify({
    format: INDEX_FORMAT,
    timelineId: index.timelineId,
    generation: index.generation,
    postgresMajor: index.postgresMajor,
    systemIdentifier: index.systemIdentifier,
    diskConsistentLsn: formatLsn(index.diskConsistentLsn),
    previousLsn: formatLsn(index.previousLsn),
    history: {
      horizonLsn: formatLsn(index.history.horizonLsn),
      retainedLsns: index.history.retainedLsns.map(formatLsn),
      leases: index.history.leases.map(({ lsn, untilMs }) => ({ lsn: formatLsn(lsn), untilMs })),
    },
    layers: index.layers.map(({ descriptor, size }) => ({ name: layerName(descriptor), size })),
  });
  const crc = crc32c(new TextEncoder().encode(body)).toString(16).padStart(8, '0');
  return new TextEncoder().encode(`${body}\n${JSON.stringify({ crc32c: crc })}\n`);
}

/** Throws LayerError: `corrupt`, `version`. */
export function decodeIndex(bytes: Uint8Array, crc32c: (bytes: Uint8Array) => number): TimelineIndex {
  const corrupt = (what: string) => new LayerError('corrupt', `timeline index: ${what}`);
  if (bytes.length > INDEX_BYTES_MAX) throw corrupt(`${bytes.length} bytes`);
  const end = bytes.indexOf(0x0a);
  if (end < 0) throw corrupt('one line only');
  const trailer = new TextDecoder().decode(bytes.subarray(end + 1));
  const crc = crc32c(bytes.subarray(0, end)).toString(16).padStart(8, '0');
  if (trailer !== `{"crc32c":"${crc}"}\n`)
    throw corrupt(`checksum ${crc}, the trailer is ${trailer.slice(0, 40)}`);
  return parseBody(JSON.parse(new TextDecoder().decode(bytes.subarray(0, end))) as Body, corrupt);
}

interface Body {
  format: unknown;
  timelineId: string;
  generation: number;
  postgresMajor: number;
  systemIdentifier: string;
  diskConsistentLsn: string;
  previousLsn: string;
  /** Of format 2. */
  history?: {
    horizonLsn: string;
    retainedLsns: string[];
    leases: { lsn: string; untilMs: number }[];
  };
  layers: { name: string; size: number }[];
}

/** The checksum held, so some version of Ebb wrote this; what is still checked is that it was this one. */
function parseBody(body: Body, corrupt: (what: string) => LayerError): TimelineIndex {
  const { format, timelineId, generation, postgresMajor, systemIdentifier } = body;
  if (format !== INDEX_FORMAT && format !== INDEX_FORMAT_1)
    throw new LayerError('version', `timeline index: format ${String(format)}, ${INDEX_FORMAT} expected`);
  return {
    timelineId,
    generation,
    postgresMajor,
    systemIdentifier,
    diskConsistentLsn: parseLsn(body.diskConsistentLsn),
    previousLsn: parseLsn(body.previousLsn),
    history: body.history === undefined ? WHOLE_HISTORY : parseHistory(body.history),
    layers: body.layers.map(({ name, size }) => {
      const descriptor = parseLayerName(name);
      if (descriptor === null || !Number.isSafeInteger(size)) throw corrupt(`layer ${name} of ${size} bytes`);
      return { descriptor, size };
    }),
  };
}

const parseHistory = (history: NonNullable<Body['history']>): IndexedHistory => ({
  horizonLsn: parseLsn(history.horizonLsn),
  retainedLsns: history.retainedLsns.map(parseLsn),
  leases: history.leases.map(({ lsn, untilMs }) => ({ lsn: parseLsn(lsn), untilMs })),
});
