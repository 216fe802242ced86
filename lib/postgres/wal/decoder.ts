/**
 * WAL bytes in, records out: a stream cut anywhere becomes one decoded record after another.
 *
 *   push(bytes) ──► window (raw pages) ──► next(into): page headers checked and taken out, CRC, xl_prev chain,
 *                                          the record copied to the start of one reused buffer and decoded
 *
 * A record is given only when all of its bytes up to `endLsn` have come; for XLOG_SWITCH that is the rest of
 * the segment. `endLsn` is therefore always a position where a log may be cut. Nothing is allocated per record.
 * After an error every further call throws the same: what follows a broken record means nothing.
 *
 * Source: access/transam/xlogreader.c (XLogDecodeNextRecord, ValidXLogRecordHeader).
 */
import { assert } from '../../assert.ts';
import { alignUp, formatLsn, lsn, type Lsn } from '../lsn.ts';
import { recordCrc } from './checksum.ts';
import {
  decodeBody,
  decodeHeader,
  isResourceManager,
  RECORD_BYTES_MAX,
  RECORD_HEADER_BYTES,
  XLR_INFO_MASK,
} from './decode-record.ts';
import { WalError } from './errors.ts';
import { RM, type WalFacts } from './facts.ts';
import { pageHeaderBytes, WAL_PAGE_BYTES, WAL_SEGMENT_BYTES } from './geometry.ts';
import {
  checkPageHeader,
  XLP_FIRST_IS_CONTRECORD,
  XLP_FIRST_IS_OVERWRITE_CONTRECORD,
  type PageHeaderExpectation,
} from './page-header.ts';
import type { WalRecord } from './record.ts';

export interface WalDecoderOptions {
  /**
   * Where the first pushed byte stands: the end of a record, or the start of a page (a segment). At the start of
   * a page in the middle of a record, decoding begins with the record after it.
   */
  startLsn: Lsn;
  facts: WalFacts;
  /** Default 16 MiB. */
  segmentBytes?: number;
  /** When given, every page must name it. */
  timelineId?: number;
  /** When given, every long page header must name it. */
  systemIdentifier?: bigint;
  /** What xl_prev of the first record must be; left out: anything. */
  previous?: Lsn;
  /** A native CRC-32C, continuing `crc`, for large records; left out: the one of this library. */
  crc32c?: (bytes: Uint8Array, crc?: number) => number;
}

const XLOG_SWITCH = 0x40;
const PAGE_MASK = WAL_PAGE_BYTES - 1;
const WINDOW_BYTES = 1 << 18;
const BUFFER_BYTES = 1 << 15;
/** Up to here a loop over words is faster than TypedArray.set with the view that it needs. */
const LOOP_WORDS_MAX = 32;
/** From here on a native CRC is faster, for all that a call of it costs. */
const NATIVE_CRC_BYTES_MIN = 768;

export class WalDecoder {
  readonly #facts: WalFacts;
  readonly #page: PageHeaderExpectation;
  readonly #crc32c: WalDecoderOptions['crc32c'];

  /** Raw WAL from `#windowLsn`, a page start, on. Bytes before the start position are never read. */
  #window = new Uint8Array(WINDOW_BYTES);
  #windowWords = new Int32Array(this.#window.buffer);
  #windowData = new DataView(this.#window.buffer);
  #windowLsn: Lsn;
  /** Offsets into the window: the end of what has come, and where decoding stands. */
  #received: number;
  #at: number;

  /** The record being put together; then the one last given. */
  #record = new Uint8Array(BUFFER_BYTES);
  #recordWords = new Int32Array(this.#record.buffer);
  #recordData = new DataView(this.#record.buffer);
  /** Of a record over several pages: where it starts, and how many of its bytes have been copied; else 0. */
  #partStart: Lsn;
  #partLength = 0;
  /** Of the last call of `next`. */
  #into: WalRecord | null = null;

  /** XLOG_SWITCH is in the record buffer; the segment ends here. */
  #switchEnd: Lsn | undefined;
  /** Looking for the first record that starts after `startLsn`. */
  #skipping: boolean;
  #endLsn: Lsn;
  #lastRecord: Lsn | undefined;
  #failure: WalError | undefined;

  constructor(options: WalDecoderOptions) {
    const { startLsn, facts, segmentBytes = WAL_SEGMENT_BYTES } = options;
    const start = alignUp(startLsn, 8);
    this.#facts = facts;
    this.#crc32c = options.crc32c;
    this.#page = {
      pageMagic: facts.pageMagic,
      segmentBytes,
      timelineId: options.timelineId,
      systemIdentifier: options.systemIdentifier,
    };
    this.#windowLsn = lsn(startLsn - (startLsn % WAL_PAGE_BYTES));
    this.#received = startLsn - this.#windowLsn;
    this.#at = start - this.#windowLsn;
    if (this.#at > 0 && this.#at < pageHeaderBytes(this.#windowLsn, segmentBytes)) {
      throw new RangeError(`WAL cannot be decoded from ${formatLsn(startLsn)}: inside a page header`);
    }
    this.#skipping = this.#at === 0;
    this.#partStart = startLsn;
    this.#endLsn = startLsn;
    this.#lastRecord = options.previous;
  }

  /** End of the last record given by `next`; before the first, where its predecessor ended. */
  get endLsn(): Lsn {
    return this.#endLsn;
  }
  /** Start of the last record given by `next`: xl_prev of the one after it. */
  get lastRecordLsn(): Lsn | undefined {
    return this.#lastRecord;
  }
  /** Where the next pushed byte stands. */
  get receivedLsn(): Lsn {
    return lsn(this.#windowLsn + this.#received);
  }

  /** Takes the WAL bytes at `receivedLsn`, of any number; they are copied. */
  push(bytes: Uint8Array): void {
    if (this.#received + bytes.length > this.#window.length) this.#makeRoom(bytes.length);
    this.#window.set(bytes, this.#received);
    this.#received += bytes.length;
  }

  /**
   * Decodes the next record into `into`; false when bytes are missing, and then `into` may hold the beginning of a record: the next
   * call has to bring the same object. What it holds stays until the next call. Throws WalError, and the same one ever after.
   */
  next(into: WalRecord): boolean {
    if (this.#failure !== undefined) throw this.#failure;
    const isBegun = this.#partLength > 0 || this.#switchEnd !== undefined;
    assert(!isBegun || into === this.#into, 'a record is finished in the object that it was begun in');
    this.#into = into;
    into.bytes = this.#record;
    into.data = this.#recordData;
    try {
      return this.#next(into);
    } catch (error) {
      if (error instanceof WalError) this.#failure = error;
      throw error;
    }
  }

  #next(into: WalRecord): boolean {
    if (this.#switchEnd !== undefined) return this.#finishSwitch(into, this.#switchEnd);
    for (;;) {
      if (this.#partLength > 0) {
        const whole = this.#collect(into);
        if (whole === undefined) continue; // a replaced record: look at what stands in its place
        return whole && this.#finish(into);
      }
      if ((this.#at & PAGE_MASK) === 0) {
        const flags = this.#enterPage();
        if (flags === undefined) return false;
        if (this.#skipping && !this.#skipContinuation(flags)) continue;
        if (!this.#skipping && (flags & XLP_FIRST_IS_CONTRECORD) !== 0) {
          throw new WalError(
            'contrecord',
            this.#lsnOf(this.#at & ~PAGE_MASK),
            'the page continues a record: none is open',
          );
        }
        this.#skipping = false;
        if ((this.#at & PAGE_MASK) === 0) continue; // the skipped record ended with its page
      }
      if (this.#received - this.#at < 8) return false;
      const length = this.#recordLength();
      const room = WAL_PAGE_BYTES - (this.#at & PAGE_MASK);
      if (length > room) {
        this.#partStart = this.#lsnOf(this.#at);
        this.#partLength = 0;
        if (!this.#copyPart(length, Math.min(length, room), into)) return false;
        continue;
      }
      if (this.#received - this.#at < ((length + 7) & ~7)) return false;
      const start = this.#at;
      this.#copyRecord(length);
      into.lsn = this.#lsnOf(start);
      this.#checkHeader(into);
      this.#at = start + ((length + 7) & ~7);
      return this.#finish(into);
    }
  }

  #lsnOf(offset: number): Lsn {
    return (this.#windowLsn + offset) as Lsn;
  }

  /** xl_tot_len at the current position, checked. */
  #recordLength(): number {
    const length = this.#windowData.getUint32(this.#at, true);
    if (length >= RECORD_HEADER_BYTES && length <= RECORD_BYTES_MAX) return length;
    const here = this.#lsnOf(this.#at);
    if (length === 0) throw new WalError('endOfLog', here, 'no record: its length is 0');
    throw new WalError('recordHeader', here, `record length ${length}: 24 to ${RECORD_BYTES_MAX} expected`);
  }

  /** Stands at a page start: checks its header and steps behind it. Its flags, or undefined: not all there yet. */
  #enterPage(): number | undefined {
    const page = this.#lsnOf(this.#at);
    const headerBytes = pageHeaderBytes(page, this.#page.segmentBytes);
    if (this.#received - this.#at < headerBytes) return undefined;
    checkPageHeader(this.#windowData, this.#at, page, this.#page);
    const flags = this.#windowData.getUint16(this.#at + 2, true);
    this.#at += headerBytes;
    return flags;
  }

  /** Steps over the rest of a record that began before the start; false when all of this page belongs to it. */
  #skipContinuation(flags: number): boolean {
    if ((flags & XLP_FIRST_IS_CONTRECORD) === 0) return true;
    const page = this.#at & ~PAGE_MASK;
    const remaining = this.#windowData.getUint32(page + 16, true);
    if (remaining === 0) {
      throw new WalError(
        'contrecord',
        this.#lsnOf(page),
        'the page continues a record of which nothing is left',
      );
    }
    const rest = alignUp(remaining, 8);
    const next = page + WAL_PAGE_BYTES;
    if (rest > next - this.#at) {
      this.#at = next;
      // The page's bytes are of no use, but they are part of the window: wait until they have come.
      return false;
    }
    this.#at += rest;
    return true;
  }

  /** Copies a record that lies on one page to the record buffer. */
  #copyRecord(length: number): void {
    const words = (length + 3) >>> 2;
    if (words > LOOP_WORDS_MAX) {
      this.#record.set(this.#window.subarray(this.#at, this.#at + length));
      return;
    }
    const from = this.#windowWords;
    const to = this.#recordWords;
    const start = this.#at >>> 2;
    for (let i = 0; i < words; i++) to[i] = from[start + i];
  }

  /** Copies the next `count` bytes of the open record; false when they have not all come. */
  #copyPart(length: number, count: number, into: WalRecord): boolean {
    if (this.#received - this.#at < count) return false;
    const had = this.#partLength;
    if (had + count > this.#record.length) this.#growRecord(had + count, length);
    this.#record.set(this.#window.subarray(this.#at, this.#at + count), had);
    this.#partLength += count;
    this.#at += count;
    if (had < RECORD_HEADER_BYTES && this.#partLength >= RECORD_HEADER_BYTES) {
      into.lsn = this.#partStart;
      this.#checkHeader(into);
    }
    return true;
  }

  /** Goes on with a record over several pages. True: whole. Undefined: another record replaces it. */
  #collect(into: WalRecord): boolean | undefined {
    const length = this.#recordData.getUint32(0, true);
    for (;;) {
      const rest = length - this.#partLength;
      if (rest === 0) {
        const end = alignUp(this.#at, 8);
        if (this.#received < end) return false;
        this.#at = end;
        into.lsn = this.#partStart;
        this.#partLength = 0;
        return true;
      }
      let at = this.#at;
      if ((at & PAGE_MASK) === 0) {
        const flags = this.#enterPage();
        if (flags === undefined) return false;
        if ((flags & XLP_FIRST_IS_OVERWRITE_CONTRECORD) !== 0) {
          this.#at = at;
          this.#partLength = 0;
          return undefined;
        }
        const remaining = this.#windowData.getUint32(at + 16, true);
        if ((flags & XLP_FIRST_IS_CONTRECORD) === 0 || remaining !== rest) {
          const found = (flags & XLP_FIRST_IS_CONTRECORD) === 0 ? 'none' : `${remaining}`;
          const text = `${rest} more bytes of the record at ${formatLsn(this.#partStart)} expected: the page has ${found}`;
          throw new WalError('contrecord', this.#lsnOf(at), text);
        }
        at = this.#at;
      }
      const room = WAL_PAGE_BYTES - (at & PAGE_MASK);
      if (!this.#copyPart(length, Math.min(rest, room), into)) return false;
    }
  }

  /** What must hold of a header before anything else of its record is believed. */
  #checkHeader(into: WalRecord): void {
    into.bytes = this.#record;
    into.data = this.#recordData;
    decodeHeader(into);
    if (!isResourceManager(into.resourceManager, this.#facts)) {
      throw new WalError('recordHeader', into.lsn, `resource manager ${into.resourceManager} does not exist`);
    }
    const expected = this.#lastRecord;
    if (expected === undefined ? into.previous >= into.lsn : into.previous !== expected) {
      const text = `xl_prev is ${describePrevious(into.previous)}: ${expected === undefined ? 'a smaller LSN' : formatLsn(expected)} expected`;
      throw new WalError('previous', into.lsn, text);
    }
  }

  #crcOf(length: number): number {
    const native = this.#crc32c;
    if (native === undefined || length < NATIVE_CRC_BYTES_MIN) {
      return recordCrc(this.#recordWords, this.#record, length);
    }
    return native(this.#record.subarray(0, 20), native(this.#record.subarray(RECORD_HEADER_BYTES, length)));
  }

  /** The record is whole in the buffer and `#at` behind it. */
  #finish(into: WalRecord): boolean {
    into.bytes = this.#record; // it may have been replaced by a larger one since `next` began
    into.data = this.#recordData;
    const { lsn: start, totalLength } = into;
    const expected = this.#recordData.getUint32(20, true);
    const crc = this.#crcOf(totalLength);
    if (crc !== expected) {
      const text = `CRC of the record's ${totalLength} bytes is ${crc.toString(16)}: ${expected.toString(16)} expected`;
      throw new WalError('crc', start, text);
    }
    decodeBody(into);
    if (into.resourceManager === RM.XLOG && (into.info & ~XLR_INFO_MASK) === XLOG_SWITCH) {
      this.#partStart = start;
      return this.#finishSwitch(into, lsn(alignUp(this.#lsnOf(this.#at), this.#page.segmentBytes)));
    }
    into.endLsn = this.#endLsn = this.#lsnOf(this.#at);
    this.#lastRecord = start;
    return true;
  }

  /** The rest of the segment belongs to XLOG_SWITCH and is nothing, not even page headers. */
  #finishSwitch(into: WalRecord, end: Lsn): boolean {
    this.#switchEnd = end;
    this.#at = end - this.#windowLsn;
    if (this.receivedLsn < end) return false;
    this.#switchEnd = undefined;
    decodeHeader(into);
    decodeBody(into);
    into.lsn = this.#lastRecord = this.#partStart;
    into.endLsn = this.#endLsn = end;
    return true;
  }

  /** Drops the pages that are done with, then grows the window if `more` bytes still do not fit. */
  #makeRoom(more: number): void {
    const done = Math.min(this.#at & ~PAGE_MASK, this.#received & ~PAGE_MASK);
    if (done > 0) {
      this.#window.copyWithin(0, done, this.#received);
      this.#windowLsn = lsn(this.#windowLsn + done);
      this.#received -= done;
      this.#at -= done;
    }
    const needed = this.#received + more;
    if (needed <= this.#window.length) return;
    const window = new Uint8Array(alignUp(Math.max(needed, 2 * this.#window.length), WAL_PAGE_BYTES));
    window.set(this.#window.subarray(0, this.#received));
    this.#window = window;
    this.#windowWords = new Int32Array(window.buffer);
    this.#windowData = new DataView(window.buffer);
  }

  /** Grows with what has come, so that a wrong length costs no memory. */
  #growRecord(needed: number, length: number): void {
    const record = new Uint8Array(alignUp(Math.max(needed, Math.min(length, 2 * this.#record.length)), 8));
    record.set(this.#record.subarray(0, this.#partLength));
    this.#record = record;
    this.#recordWords = new Int32Array(record.buffer);
    this.#recordData = new DataView(record.buffer);
  }
}

const describePrevious = (previous: number): string =>
  Number.isSafeInteger(previous) ? formatLsn(lsn(previous)) : `${previous}`;
