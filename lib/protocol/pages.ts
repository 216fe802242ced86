/**
 * The page service: what a compute asks of its pageserver, over one WebSocket of binary messages.
 *
 *   request   u8 tag, u32 id, then       1 getPages: u64 lsn, u32 n, n × run
 *                                        2 boot:     u64 lsn
 *   response  u8 tag, u32 id, then       1 pages:    u32 n, n × u8 found, found pages of 8192 bytes in order
 *                                        2 boot:     u32 length, BootManifest as JSON, then the blobs
 *                                        3 progress: u64 ingestedLsn, u64 remoteConsistentLsn; unasked, id 0
 *                                      255 error:    u32 length, {code, message} as JSON
 *   run       u8 kind, u32 a, u32 b, u32 c, u8 fork, u32 block, u32 count
 *             kind 0 relation: a, b, c = spcOid, dbOid, relNumber
 *             kind 1 SLRU:     a = SlruKind, b = segment number, c = 0; fork 0; block within the segment
 *
 * Integers are little-endian. Pages come back in the order asked for; a page that does not exist at that LSN
 * (beyond the end of its file) has found = 0 and no bytes. Answers may overtake each other; `id` pairs them. `progress`
 * comes after the connection is made and whenever ingest has got on by PROGRESS_BYTES or more.
 */
import type { Lsn } from '../postgres/lsn.ts';
import { ByteReader, ByteWriter, MalformedMessage } from './bytes.ts';

export const PAGE_SIZE = 8192;
/** Pages in one getPages. */
export const PAGES_MAX = 1024;
/** Bytes of WAL. */
export const PROGRESS_BYTES = 1 << 20;
const RUN_BYTES = 22;

/** SLRU directories whose pages the pageserver keeps; the value is the wire's `a`. */
export const SLRU_KINDS = [
  'pg_xact',
  'pg_multixact/offsets',
  'pg_multixact/members',
  'pg_commit_ts',
] as const;
export type SlruKind = (typeof SLRU_KINDS)[number];
export const SLRU_PAGES_PER_SEGMENT = 32;

/** `count` blocks of one file from `block` on. */
export type PageRun =
  | {
      kind: 'relation';
      spcOid: number;
      dbOid: number;
      relNumber: number;
      fork: number;
      block: number;
      count: number;
    }
  | { kind: 'slru'; slru: SlruKind; segment: number; block: number; count: number };

export type PageRequest =
  | { tag: 'getPages'; id: number; lsn: Lsn; runs: PageRun[] }
  | { tag: 'boot'; id: number; lsn: Lsn };

/** `malformed`: the request. `behind`: the LSN was not ingested in time; retry. `belowWindow`: history is gone. */
export type PageErrorCode =
  | 'malformed'
  | 'behind'
  | 'belowWindow'
  | 'notFound'
  | 'redo'
  | 'stopping'
  | 'internal';

export type PageResponse =
  | {
      tag: 'pages';
      id: number;
      /** one entry per page asked for, null where it does not exist */ pages: (Uint8Array | null)[];
    }
  | { tag: 'boot'; id: number; manifest: BootManifest; blobs: Uint8Array }
  | { tag: 'error'; id: number; code: PageErrorCode; message: string }
  | { tag: 'progress'; id: 0; ingestedLsn: Lsn; remoteConsistentLsn: Lsn };

/** Blob reference: offset and length in the bytes after the manifest. */
export type BlobRange = [offset: number, length: number];

/** All that a data directory at an LSN is made of, but for pages. */
export interface BootManifest {
  lsn: string;
  /** Start of the last record that ends at or before `lsn`; `0/0` where there is none. */
  previousLsn: string;
  systemIdentifier: string;
  /** CheckPoint (88 bytes, catalog/pg_control.h) with the fields as of `lsn`; redo and time are the booter's. */
  checkPoint: BlobRange;
  /** pg_control of the template or the last known one (8192 bytes): alignment, sizes, settings. */
  controlFile: BlobRange;
  /** Whole files: PG_VERSION, pg_filenode.map, pg_twophase/…; paths relative to the data directory. */
  files: { path: string; content: BlobRange }[];
  /** Empty directories to be made, base/<oid> among them. */
  directories: string[];
  /** [spcOid, dbOid, relNumber, fork, blocks]. spcOid is 1663 (default) or 1664 (global, dbOid 0). */
  relations: [number, number, number, number, number][];
  slrus: { kind: SlruKind; segment: number; blocks: number }[];
}

export const pageCount = (runs: readonly PageRun[]): number => runs.reduce((sum, run) => sum + run.count, 0);

function writeRun(writer: ByteWriter, run: PageRun): void {
  if (run.kind === 'relation') {
    writer.u8(0).u32(run.spcOid).u32(run.dbOid).u32(run.relNumber).u8(run.fork);
  } else {
    writer.u8(1).u32(SLRU_KINDS.indexOf(run.slru)).u32(run.segment).u32(0).u8(0);
  }
  writer.u32(run.block).u32(run.count);
}

function readRun(reader: ByteReader): PageRun {
  const kind = reader.u8();
  const [a, b, c, fork] = [reader.u32(), reader.u32(), reader.u32(), reader.u8()];
  const [block, count] = [reader.u32(), reader.u32()];
  if (count < 1 || count > PAGES_MAX)
    throw new MalformedMessage(`run of ${count} pages: 1 to ${PAGES_MAX} allowed`);
  if (kind === 0) {
    if (fork > 3) throw new MalformedMessage(`fork ${fork}: 0 to 3 expected`);
    return { kind: 'relation', spcOid: a, dbOid: b, relNumber: c, fork, block, count };
  }
  const slru = SLRU_KINDS[a];
  if (kind !== 1 || slru === undefined) throw new MalformedMessage(`run of kind ${kind}, ${a}`);
  return { kind: 'slru', slru, segment: b, block, count };
}

/** Runs alone, as kept for `warmPages`. */
export function encodeRuns(runs: readonly PageRun[]): Uint8Array {
  const writer = new ByteWriter(4 + runs.length * RUN_BYTES).u32(runs.length);
  for (const run of runs) writeRun(writer, run);
  return writer.done();
}
function readRuns(reader: ByteReader): PageRun[] {
  const count = reader.u32();
  if (count > PAGES_MAX) throw new MalformedMessage(`${count} runs: at most ${PAGES_MAX} allowed`);
  const runs: PageRun[] = [];
  for (let i = 0; i < count; i++) runs.push(readRun(reader));
  if (pageCount(runs) > PAGES_MAX)
    throw new MalformedMessage(`${pageCount(runs)} pages: at most ${PAGES_MAX}`);
  return runs;
}
export function decodeRuns(bytes: Uint8Array): PageRun[] {
  const reader = new ByteReader(bytes);
  const runs = readRuns(reader);
  reader.end();
  return runs;
}

export function encodePageRequest(request: PageRequest): Uint8Array {
  if (request.tag === 'boot') return new ByteWriter(16).u8(2).u32(request.id).u53(request.lsn).done();
  const writer = new ByteWriter(17 + request.runs.length * RUN_BYTES);
  writer.u8(1).u32(request.id).u53(request.lsn).u32(request.runs.length);
  for (const run of request.runs) writeRun(writer, run);
  return writer.done();
}

/** Throws MalformedMessage. */
export function decodePageRequest(bytes: Uint8Array): PageRequest {
  const reader = new ByteReader(bytes);
  const tag = reader.u8();
  const id = reader.u32();
  const lsn = reader.lsn();
  if (tag === 2) {
    reader.end();
    return { tag: 'boot', id, lsn };
  }
  if (tag !== 1) throw new MalformedMessage(`page request of tag ${tag}`);
  const runs = readRuns(reader);
  reader.end();
  return { tag: 'getPages', id, lsn, runs };
}

/**
 * A `pages` response whose pages are put in one by one, each into its place: what is sent is what they were first copied to. `found`
 * says which there are; `allocate` gives memory, whatever is in it.
 */
export class PagesResponse {
  readonly bytes: Uint8Array;
  readonly #offsets: Float64Array;

  constructor(id: number, found: readonly boolean[], allocate: (bytes: number) => Uint8Array) {
    const start = 9 + found.length;
    let end = start;
    this.#offsets = new Float64Array(found.length);
    for (let i = 0; i < found.length; i++) {
      this.#offsets[i] = end;
      if (found[i]) end += PAGE_SIZE;
    }
    this.bytes = allocate(end);
    const data = new DataView(this.bytes.buffer, this.bytes.byteOffset, 9);
    data.setUint8(0, 1);
    data.setUint32(1, id, true);
    data.setUint32(5, found.length, true);
    for (let i = 0; i < found.length; i++) this.bytes[9 + i] = found[i] ? 1 : 0;
  }
  /** Copies page `index`, which was found. */
  put(index: number, page: Uint8Array): void {
    this.bytes.set(page, this.#offsets[index]);
  }
}

export function encodePageResponse(response: PageResponse): Uint8Array {
  switch (response.tag) {
    case 'pages': {
      const writer = new ByteWriter(9 + response.pages.length * (PAGE_SIZE + 1));
      writer.u8(1).u32(response.id).u32(response.pages.length);
      for (const page of response.pages) writer.u8(page === null ? 0 : 1);
      for (const page of response.pages) if (page !== null) writer.bytes(page);
      return writer.done();
    }
    case 'boot':
      return new ByteWriter(1024 + response.blobs.length)
        .u8(2)
        .u32(response.id)
        .text(JSON.stringify(response.manifest))
        .bytes(response.blobs)
        .done();
    case 'progress':
      return new ByteWriter(21)
        .u8(3)
        .u32(response.id)
        .u53(response.ingestedLsn)
        .u53(response.remoteConsistentLsn)
        .done();
    case 'error':
      return new ByteWriter()
        .u8(255)
        .u32(response.id)
        .text(JSON.stringify({ code: response.code, message: response.message }))
        .done();
  }
}

/** Throws MalformedMessage. Pages are views of `bytes`. */
export function decodePageResponse(bytes: Uint8Array): PageResponse {
  const reader = new ByteReader(bytes);
  const tag = reader.u8();
  const id = reader.u32();
  if (tag === 1) {
    const count = reader.u32();
    if (count > PAGES_MAX) throw new MalformedMessage(`${count} pages: at most ${PAGES_MAX} allowed`);
    const found = reader.take(count);
    const pages: (Uint8Array | null)[] = [];
    for (let i = 0; i < count; i++) pages.push(found[i] ? reader.take(PAGE_SIZE) : null);
    reader.end();
    return { tag: 'pages', id, pages };
  }
  if (tag === 2) {
    const manifest = JSON.parse(reader.text(256 << 20)) as BootManifest;
    return { tag: 'boot', id, manifest, blobs: reader.rest() };
  }
  if (tag === 3) {
    if (id !== 0) throw new MalformedMessage(`progress with id ${id}: 0 expected`);
    const [ingestedLsn, remoteConsistentLsn] = [reader.lsn(), reader.lsn()];
    reader.end();
    return { tag: 'progress', id, ingestedLsn, remoteConsistentLsn };
  }
  if (tag !== 255) throw new MalformedMessage(`page response of tag ${tag}`);
  const error = JSON.parse(reader.text(1 << 20)) as { code: PageErrorCode; message: string };
  return { tag: 'error', id, code: error.code, message: error.message };
}
