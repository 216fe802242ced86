/**
 * WAL page headers: their layout and what must hold of one at a given place.
 *
 * Source: access/xlog_internal.h (XLogPageHeaderData, XLogLongPageHeaderData), the checks of
 * XLogReaderValidatePageHeader in access/transam/xlogreader.c.
 */
import { layout, lsnField, reserved, u16, u32, u64 } from '../layout.ts';
import { formatLsn, type Lsn } from '../lsn.ts';
import { WalError } from './errors.ts';
import { LONG_PAGE_HEADER_BYTES, PAGE_HEADER_BYTES, WAL_PAGE_BYTES } from './geometry.ts';

export const XLogPageHeader = layout('XLogPageHeader', PAGE_HEADER_BYTES, {
  magic: u16,
  info: u16,
  timelineId: u32,
  pageAddress: lsnField,
  remainingLength: u32,
  padding: reserved(4),
});
export const XLogLongPageHeader = layout('XLogLongPageHeader', LONG_PAGE_HEADER_BYTES, {
  magic: u16,
  info: u16,
  timelineId: u32,
  pageAddress: lsnField,
  remainingLength: u32,
  padding: reserved(4),
  systemIdentifier: u64,
  segmentBytes: u32,
  pageBytes: u32,
});

/** xlp_info. */
export const XLP_FIRST_IS_CONTRECORD = 0x0001;
export const XLP_LONG_HEADER = 0x0002;
export const XLP_BKP_REMOVABLE = 0x0004;
export const XLP_FIRST_IS_OVERWRITE_CONTRECORD = 0x0008;
const XLP_ALL_FLAGS = 0x000f;

export interface PageHeaderExpectation {
  pageMagic: number;
  segmentBytes: number;
  /** The timeline that every page must name; undefined: any. */
  timelineId: number | undefined;
  systemIdentifier: bigint | undefined;
}

/**
 * Checks the header at `data[offset]` of the page that should stand at `page`. Needs 40 bytes there on a
 * segment's first page, else 24. Throws WalError.
 */
export function checkPageHeader(
  data: DataView,
  offset: number,
  page: Lsn,
  expected: PageHeaderExpectation,
): void {
  const magic = data.getUint16(offset, true);
  if (magic !== expected.pageMagic) {
    const text = `page magic 0x${magic.toString(16)}: 0x${expected.pageMagic.toString(16)} expected`;
    throw new WalError('pageHeader', page, text);
  }
  const info = data.getUint16(offset + 2, true);
  const long = page % expected.segmentBytes === 0;
  if ((info & ~XLP_ALL_FLAGS) !== 0 || ((info & XLP_LONG_HEADER) !== 0) !== long) {
    const kind = long ? 'a long header' : 'a short header';
    throw new WalError('pageHeader', page, `page flags 0x${info.toString(16)}: ${kind} expected`);
  }
  const addressLow = data.getUint32(offset + 8, true);
  const addressHigh = data.getUint32(offset + 12, true);
  if (addressHigh * 0x1_0000_0000 + addressLow !== page) {
    const address = `${addressHigh.toString(16)}/${addressLow.toString(16)}`.toUpperCase();
    throw new WalError('pageAddress', page, `the page says that it stands at ${address}`);
  }
  const timelineId = data.getUint32(offset + 4, true);
  if (expected.timelineId !== undefined && timelineId !== expected.timelineId) {
    const text = `page of timeline ${timelineId}: ${expected.timelineId} expected`;
    throw new WalError('timeline', page, text);
  }
  if (long) checkLongHeader(data, offset, page, expected);
}

function checkLongHeader(data: DataView, offset: number, page: Lsn, expected: PageHeaderExpectation): void {
  const systemIdentifier = data.getBigUint64(offset + 24, true);
  if (expected.systemIdentifier !== undefined && systemIdentifier !== expected.systemIdentifier) {
    const text = `system identifier ${systemIdentifier}: ${expected.systemIdentifier} expected`;
    throw new WalError('systemIdentifier', page, text);
  }
  const segmentBytes = data.getUint32(offset + 32, true);
  const pageBytes = data.getUint32(offset + 36, true);
  if (segmentBytes !== expected.segmentBytes || pageBytes !== WAL_PAGE_BYTES) {
    const text = `segments of ${segmentBytes} and pages of ${pageBytes} bytes: ${expected.segmentBytes} and ${WAL_PAGE_BYTES} expected`;
    throw new WalError('pageHeader', page, text);
  }
}

/** `timeline 1, 0/3002000, continues a record (212 bytes left)`: a page header for people. */
export function describePageHeader(bytes: Uint8Array, offset = 0): string {
  const { timelineId, pageAddress, info, remainingLength } = XLogPageHeader.decode(bytes, offset);
  const flags = [];
  if (info & XLP_FIRST_IS_CONTRECORD) flags.push(`continues a record (${remainingLength} bytes left)`);
  if (info & XLP_LONG_HEADER) flags.push('long header');
  if (info & XLP_BKP_REMOVABLE) flags.push('images removable');
  if (info & XLP_FIRST_IS_OVERWRITE_CONTRECORD) flags.push('replaces a missing continuation');
  return [`timeline ${timelineId}`, formatLsn(pageAddress), ...flags].join(', ');
}
