/**
 * Writes WAL as Postgres 18 does, for tests without a Postgres: records of two kinds, on pages with headers, cut by page
 * and segment ends.
 *
 *   page()     XLOG_FPI: one block's image. The fork grows over it if need be.
 *   commit()   XLOG_XACT_COMMIT: an operation on a page of pg_xact, and nextXid.
 */
import { crc32c } from '../../../../lib/postgres/crc32c.ts';
import { lsn, lsnPlus, type Lsn } from '../../../../lib/postgres/lsn.ts';
import { postgres18 } from '../../../../lib/postgres/v18/wal.ts';
import { RM } from '../../../../lib/postgres/wal/facts.ts';
import { pageHeaderBytes, WAL_PAGE_BYTES, WAL_SEGMENT_BYTES } from '../../../../lib/postgres/wal/geometry.ts';
import {
  XLogLongPageHeader,
  XLogPageHeader,
  XLP_FIRST_IS_CONTRECORD,
  XLP_LONG_HEADER,
} from '../../../../lib/postgres/wal/page-header.ts';
import { ByteWriter } from '../../../../lib/protocol/bytes.ts';

const XLOG_FPI = 0xb0;
const XLOG_XACT_COMMIT = 0x00;
const BLOCK_HAS_IMAGE = 0x10;
const IMAGE_APPLY = 0x02;

export class WalBuilder {
  readonly startLsn: Lsn;
  readonly #systemIdentifier: bigint;
  #bytes = new Uint8Array(1 << 20);
  #length = 0;
  #previous = 0 as Lsn;
  /** Ends of all records. */
  readonly ends: Lsn[] = [];

  /** `previous`: start of the record before `startLsn`, where the log goes on from another. */
  constructor(startLsn: Lsn, systemIdentifier: bigint, previous = 0 as Lsn) {
    this.startLsn = startLsn;
    this.#previous = previous;
    this.#systemIdentifier = systemIdentifier;
  }
  /** Start of the last record. */
  get previousLsn(): Lsn {
    return this.#previous;
  }
  get endLsn(): Lsn {
    return lsnPlus(this.startLsn, this.#length);
  }
  bytes(from: Lsn, to: Lsn): Uint8Array {
    return this.#bytes.subarray(from - this.startLsn, to - this.startLsn);
  }

  /** A page whose bytes follow from `seed`; about a third of it does not compress. */
  page(relNumber: number, block: number, seed: number): Lsn {
    const content = new Uint8Array(8192);
    const data = new DataView(content.buffer);
    data.setUint16(12, 24, true);
    data.setUint16(14, 8192, true);
    data.setUint16(16, 8192, true);
    data.setUint16(18, 8192 | 4, true);
    let state = seed;
    for (let at = 24; at < 8192; at += 3) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      content[at] = state >>> 24;
    }
    const body = new ByteWriter(8300)
      .u8(0)
      .u8(BLOCK_HAS_IMAGE)
      .u16(0)
      .u16(8192)
      .u16(0)
      .u8(IMAGE_APPLY)
      .u32(1663)
      .u32(5)
      .u32(relNumber)
      .u32(block)
      .bytes(content)
      .done();
    return this.#append(RM.XLOG, XLOG_FPI, 0, body);
  }
  /** `time`: xact_time, microseconds since 2000. */
  commit(xid: number, time = 0): Lsn {
    const main = new Uint8Array(8);
    new DataView(main.buffer).setBigInt64(0, BigInt(time), true);
    const body = new ByteWriter(10).u8(255).u8(8).bytes(main).done();
    return this.#append(RM.XACT, XLOG_XACT_COMMIT, xid, body);
  }

  #append(resourceManager: number, info: number, xid: number, body: Uint8Array): Lsn {
    const record = new Uint8Array(24 + body.length);
    const data = new DataView(record.buffer);
    data.setUint32(0, record.length, true);
    data.setUint32(4, xid, true);
    data.setBigUint64(8, BigInt(this.#previous), true);
    record[16] = info;
    record[17] = resourceManager;
    record.set(body, 24);
    data.setUint32(20, crc32c(record, crc32c(record, 0, 24), 0, 20), true);
    this.#pageHeader(0);
    this.#previous = this.endLsn;
    for (let written = 0; written < record.length;) {
      this.#pageHeader(record.length - written);
      const room = WAL_PAGE_BYTES - (this.endLsn % WAL_PAGE_BYTES);
      const part = record.subarray(written, written + room);
      this.#write(part);
      written += part.length;
    }
    this.#write(new Uint8Array((8 - (this.endLsn % 8)) % 8));
    this.ends.push(this.endLsn);
    return this.endLsn;
  }
  #pageHeader(remainingLength: number): void {
    const page = this.endLsn;
    if (page % WAL_PAGE_BYTES !== 0) return;
    const isContinued = remainingLength > 0 && this.#previous !== page && this.#length > 0;
    const common = {
      magic: postgres18.pageMagic,
      timelineId: 1,
      pageAddress: page,
      remainingLength: isContinued ? remainingLength : 0,
    };
    const info = isContinued ? XLP_FIRST_IS_CONTRECORD : 0;
    if (pageHeaderBytes(page) === XLogPageHeader.size) {
      this.#write(XLogPageHeader.encode({ ...common, info }));
      return;
    }
    const identity = { systemIdentifier: this.#systemIdentifier, segmentBytes: WAL_SEGMENT_BYTES };
    this.#write(
      XLogLongPageHeader.encode({
        ...common,
        info: info | XLP_LONG_HEADER,
        ...identity,
        pageBytes: WAL_PAGE_BYTES,
      }),
    );
  }
  #write(bytes: Uint8Array): void {
    if (this.#length + bytes.length > this.#bytes.length) {
      const larger = new Uint8Array(this.#bytes.length * 2);
      larger.set(this.#bytes.subarray(0, this.#length));
      this.#bytes = larger;
    }
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
  }
}

/** A chunk's worth of `[from, to)`. */
export const chunkEnd = (from: Lsn, to: Lsn, bytesMax: number): Lsn => lsn(Math.min(to, from + bytesMax));
