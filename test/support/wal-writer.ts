/**
 * Writes WAL as Postgres 18 lays it out, for tests that need to know every byte: records over pages and segments,
 * XLOG_SWITCH, and a record that was left unfinished and replaced.
 */
import { formatLsn, lsn, type Lsn } from '../../lib/postgres/lsn.ts';
import { storedRecordCrc } from '../../lib/postgres/wal/decode-record.ts';
import { pageHeaderBytes, WAL_PAGE_BYTES, WAL_SEGMENT_BYTES } from '../../lib/postgres/wal/geometry.ts';
import {
  XLogLongPageHeader,
  XLogPageHeader,
  XLP_FIRST_IS_CONTRECORD,
  XLP_FIRST_IS_OVERWRITE_CONTRECORD,
  XLP_LONG_HEADER,
} from '../../lib/postgres/wal/page-header.ts';

export interface WrittenBlock {
  id: number;
  relation: [spcOid: number, dbOid: number, relNumber: number];
  fork?: number;
  block: number;
  willInit?: boolean;
  data?: Uint8Array;
  /** A whole page (less where `info` says compressed), to be compared with only, or to be restored. */
  image?: { page: Uint8Array; apply: boolean; /** More bits of bimg_info. */ info?: number };
}
export interface WrittenRecord {
  resourceManager: number;
  info?: number;
  xid?: number;
  main?: Uint8Array;
  blocks?: WrittenBlock[];
  originId?: number;
  toplevelXid?: number;
}

const concat = (parts: (Uint8Array | number[])[]): Uint8Array =>
  Uint8Array.from(parts.flatMap((part) => [...part]));
const u16 = (value: number) => [value & 0xff, (value >>> 8) & 0xff];
const u32 = (value: number) => [...u16(value & 0xffff), ...u16(value >>> 16)];

/** A record's bytes: header with CRC, block headers, images and data, main data. */
export function encodeRecord(record: WrittenRecord, previous: Lsn): Uint8Array {
  const blocks = record.blocks ?? [];
  const main = record.main ?? new Uint8Array(0);
  const headers: number[] = [];
  const payload: (Uint8Array | number[])[] = [];
  for (const { id, relation, fork = 0, block, willInit, data, image } of blocks) {
    const flags = fork | (image ? 0x10 : 0) | (data?.length ? 0x20 : 0) | (willInit ? 0x40 : 0);
    headers.push(id, flags, ...u16(data?.length ?? 0));
    if (image)
      headers.push(...u16(image.page.length), ...u16(0), (image.apply ? 0x02 : 0) | (image.info ?? 0));
    for (const part of relation) headers.push(...u32(part));
    headers.push(...u32(block));
    if (image) payload.push(image.page);
    if (data) payload.push(data);
  }
  if (record.originId !== undefined) headers.push(253, ...u16(record.originId));
  if (record.toplevelXid !== undefined) headers.push(252, ...u32(record.toplevelXid));
  if (main.length > 255) headers.push(254, ...u32(main.length));
  else if (main.length > 0) headers.push(255, main.length);
  const body = concat([headers, ...payload, main]);
  const bytes = new Uint8Array(24 + body.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, bytes.length, true);
  view.setUint32(4, record.xid ?? 0, true);
  view.setBigUint64(8, BigInt(previous), true);
  view.setUint8(16, record.info ?? 0);
  view.setUint8(17, record.resourceManager);
  bytes.set(body, 24);
  view.setUint32(20, storedRecordCrc(bytes, bytes.length), true);
  return bytes;
}

export class WalWriter {
  readonly start: Lsn;
  readonly #segmentBytes: number;
  #bytes = new Uint8Array(1 << 16);
  #length = 0;
  #previous: Lsn;
  /** Starts and ends of the records written, as a decoder should give them. */
  readonly records: { lsn: Lsn; endLsn: Lsn; previous: Lsn }[] = [];

  /** Begins at `start`, a page's first byte. */
  constructor(start: Lsn, options: { segmentBytes?: number; previous?: Lsn } = {}) {
    if (start % WAL_PAGE_BYTES !== 0) throw new Error(`${formatLsn(start)} is no page start`);
    this.start = start;
    this.#segmentBytes = options.segmentBytes ?? WAL_SEGMENT_BYTES;
    this.#previous = options.previous ?? lsn(0);
  }

  get position(): Lsn {
    return lsn(this.start + this.#length);
  }
  /** Everything written so far. */
  get bytes(): Uint8Array {
    return this.#bytes.slice(0, this.#length);
  }

  append(record: WrittenRecord): Lsn {
    return this.#appendBytes(encodeRecord(record, this.#previous));
  }

  /** XLOG_SWITCH, and zeros up to the next segment. */
  switchSegment(): void {
    this.append({ resourceManager: 0, info: 0x40 });
    const end = Math.ceil(this.position / this.#segmentBytes) * this.#segmentBytes;
    this.#put(new Uint8Array(end - this.position));
    const last = this.records[this.records.length - 1];
    last.endLsn = this.position;
  }

  /** Begins a record of `length` bytes that ends with its first page; what follows stands in its place. */
  abandonRecord(length: number): void {
    if (this.position % WAL_PAGE_BYTES === 0) this.#pageHeader(0, 0);
    const room = WAL_PAGE_BYTES - (this.position % WAL_PAGE_BYTES);
    if (length <= room) throw new Error(`a record of ${length} bytes fits into ${room}`);
    const main = new Uint8Array(length - 24 - 5);
    this.#put(encodeRecord({ resourceManager: 10, main }, this.#previous).subarray(0, room));
    this.#pageHeader(XLP_FIRST_IS_OVERWRITE_CONTRECORD, 0);
  }

  #appendBytes(bytes: Uint8Array): Lsn {
    if (this.position % WAL_PAGE_BYTES === 0) this.#pageHeader(0, 0);
    const start = this.position;
    for (let at = 0; at < bytes.length;) {
      if (this.position % WAL_PAGE_BYTES === 0) this.#pageHeader(XLP_FIRST_IS_CONTRECORD, bytes.length - at);
      const count = Math.min(bytes.length - at, WAL_PAGE_BYTES - (this.position % WAL_PAGE_BYTES));
      this.#put(bytes.subarray(at, at + count));
      at += count;
    }
    this.#put(new Uint8Array((8 - (this.position % 8)) % 8));
    this.records.push({ lsn: start, endLsn: this.position, previous: this.#previous });
    this.#previous = start;
    return start;
  }

  #pageHeader(info: number, remainingLength: number): void {
    const page = this.position;
    const fields = { magic: 0xd118, timelineId: 1, pageAddress: page, remainingLength };
    if (pageHeaderBytes(page, this.#segmentBytes) === PAGE_HEADER) {
      this.#put(XLogPageHeader.encode({ ...fields, info }));
      return;
    }
    const long = { systemIdentifier: 42n, segmentBytes: this.#segmentBytes, pageBytes: WAL_PAGE_BYTES };
    this.#put(XLogLongPageHeader.encode({ ...fields, ...long, info: info | XLP_LONG_HEADER }));
  }

  #put(bytes: Uint8Array): void {
    if (this.#length + bytes.length > this.#bytes.length) {
      const bigger = new Uint8Array(2 * (this.#length + bytes.length));
      bigger.set(this.#bytes.subarray(0, this.#length));
      this.#bytes = bigger;
    }
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
  }
}
const PAGE_HEADER = 24;
