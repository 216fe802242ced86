/**
 * A folder of WAL segments: a pg_wal, an archive, whatever holds files with the names of segments.
 *
 * Where the log ends cannot be told from one record: what follows the last one is zeros, or the bytes of a recycled
 * segment. So a record that does not decode is the end only if no page after it belongs to this log.
 */
import { closeSync, openSync, readdirSync, readSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { formatLsn, lsn, type Lsn } from '../../lib/postgres/lsn.ts';
import type { WalFacts } from '../../lib/postgres/wal/facts.ts';
import {
  LONG_PAGE_HEADER_BYTES,
  parseSegmentFileName,
  segmentFileName,
  WAL_PAGE_BYTES,
} from '../../lib/postgres/wal/geometry.ts';
import { XLogLongPageHeader } from '../../lib/postgres/wal/page-header.ts';

/** A folder that cannot be read as WAL: a message for the person who named it. */
export class WalFolderError extends Error {
  override readonly name = 'WalFolderError';
}

interface Segment {
  path: string;
  number: number;
  start: Lsn;
}

const CHUNK_BYTES = 4 << 20;

export class WalFolder {
  readonly segmentBytes: number;
  readonly systemIdentifier: bigint;
  /** In order and without gaps. */
  readonly #segments: Segment[] = [];
  readonly #facts: WalFacts;

  /** Reads the folder's names and the first page header. Throws WalFolderError. */
  constructor(folder: string, facts: WalFacts) {
    this.#facts = facts;
    const names = readdirSync(folder).filter((name) => /^[0-9A-F]{24}$/.test(name));
    if (names.length === 0) throw new WalFolderError(`${folder} holds no WAL segments`);
    const header = firstHeader(join(folder, names.toSorted()[0]), facts);
    this.segmentBytes = header.segmentBytes;
    this.systemIdentifier = header.systemIdentifier;
    // Of a segment that several timelines have, the newest holds all of it.
    const newest = new Map<number, { timelineId: number; start: Lsn }>();
    for (const name of names) {
      const parsed = parseSegmentFileName(name, this.segmentBytes);
      if (parsed === null) continue;
      const known = newest.get(parsed.segment);
      if (known === undefined || known.timelineId < parsed.timelineId) newest.set(parsed.segment, parsed);
    }
    for (const [number, { timelineId, start }] of [...newest].toSorted(([a], [b]) => a - b)) {
      const last = this.#segments.at(-1);
      if (last !== undefined && number !== last.number + 1) {
        const missing = segmentFileName(timelineId, last.number + 1, this.segmentBytes);
        throw new WalFolderError(`${folder}: segment ${missing} is missing, with later ones there`);
      }
      const path = join(folder, segmentFileName(timelineId, number, this.segmentBytes));
      this.#segments.push({ path, number, start });
    }
  }

  get start(): Lsn {
    return this.#segments[0].start;
  }
  /** Bytes of all segments, recycled ones among them. */
  get bytes(): number {
    return this.#segments.length * this.segmentBytes;
  }

  /** The bytes from `from` on; each chunk is valid until the next. */
  *read(from: Lsn): Generator<Uint8Array> {
    const chunk = new Uint8Array(CHUNK_BYTES);
    for (const segment of this.#segments) {
      if (segment.start + this.segmentBytes <= from) continue;
      const file = openSync(segment.path, 'r');
      try {
        const size = Math.min(statSync(segment.path).size, this.segmentBytes);
        for (let at = Math.max(0, from - segment.start); at < size;) {
          const count = readSync(file, chunk, 0, Math.min(CHUNK_BYTES, size - at), at);
          if (count === 0) break;
          yield chunk.subarray(0, count);
          at += count;
        }
        if (size < this.segmentBytes) return; // being written, or cut off
      } finally {
        closeSync(file);
      }
    }
  }

  /** Whether a page after the one of `position` belongs to this log: then `position` is not its end. */
  goesOnAfter(position: Lsn): boolean {
    const page = lsn(position - (position % WAL_PAGE_BYTES) + WAL_PAGE_BYTES);
    const segment = this.#segments.find(({ start }) => page >= start && page < start + this.segmentBytes);
    if (segment === undefined) return false;
    const header = new Uint8Array(LONG_PAGE_HEADER_BYTES);
    const file = openSync(segment.path, 'r');
    try {
      if (readSync(file, header, 0, header.length, page - segment.start) < header.length) return false;
    } finally {
      closeSync(file);
    }
    const data = new DataView(header.buffer);
    return (
      data.getUint16(0, true) === this.#facts.pageMagic &&
      data.getUint32(12, true) * 0x1_0000_0000 + data.getUint32(8, true) === page
    );
  }
}

function firstHeader(path: string, facts: WalFacts): { segmentBytes: number; systemIdentifier: bigint } {
  const bytes = new Uint8Array(LONG_PAGE_HEADER_BYTES);
  const file = openSync(path, 'r');
  try {
    if (readSync(file, bytes, 0, bytes.length, 0) < bytes.length) {
      throw new WalFolderError(`${path} is shorter than a page header`);
    }
  } finally {
    closeSync(file);
  }
  const header = XLogLongPageHeader.over(bytes);
  if (header.magic !== facts.pageMagic) {
    const expected = `0x${facts.pageMagic.toString(16)} of Postgres ${facts.major}`;
    throw new WalFolderError(`${path} has page magic 0x${header.magic.toString(16)}: ${expected} expected`);
  }
  const { segmentBytes, systemIdentifier } = header;
  if (segmentBytes < 1 << 20 || segmentBytes > 1 << 30 || (segmentBytes & (segmentBytes - 1)) !== 0) {
    throw new WalFolderError(`${path} says that segments have ${segmentBytes} bytes`);
  }
  return { segmentBytes, systemIdentifier };
}

/** `0/3000000 to 0/5A01230 (42 MB)`. */
export const describeRange = (from: Lsn, to: Lsn): string =>
  `${formatLsn(from)} to ${formatLsn(to)} (${Math.round((to - from) / (1 << 20))} MB)`;
