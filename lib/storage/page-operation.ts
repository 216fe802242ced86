/**
 * Page operations: changes that WAL records make to pages they hold no block reference to. Ingest says exactly
 * what is to be done to one page (or to the checkpoint fields), in a few bytes; reading applies it.
 *
 *   code 1 zero                 nothing: the page is there, all zeros
 *        2 xidStatus            u8 status, n × u16 index
 *        3 multixactOffsets     n × (u16 entry, u32 offset)
 *        4 multixactMembers     u16 first index, n × (u32 xid, u8 status)
 *        5 commitTimestamp      8 bytes time, u16 origin, n × u16 index
 *        6 visibilityClear      n × (u32 heap block, u8 flags)
 *        7 visibilityTruncate   u32 heap blocks that are left
 *        8 nextXid              u64, of the checkpoint fields
 *
 * Integers are little-endian; indexes count within the page (lib/postgres/slru).
 */
import { assertNever } from '../assert.ts';
import { CheckPoint } from '../postgres/checkpoint.ts';
import { initPage, isNewPage, pageOver } from '../postgres/page/page.ts';
import { clearVisibility, truncateVisibility } from '../postgres/page/visibility-map.ts';
import { setXidStatus } from '../postgres/slru/clog.ts';
import { setCommitTimestamp } from '../postgres/slru/commit-ts.ts';
import { setMember, setMultiOffset } from '../postgres/slru/multixact.ts';
import { ByteReader, ByteWriter, MalformedMessage } from '../protocol/bytes.ts';
import { operationValue, type Value } from './value.ts';

export type PageOperation =
  | { kind: 'zero' }
  | { kind: 'xidStatus'; status: number; indexes: number[] }
  | { kind: 'multixactOffsets'; entries: { entry: number; offset: number }[] }
  | { kind: 'multixactMembers'; first: number; members: { xid: number; status: number }[] }
  | { kind: 'commitTimestamp'; time: Uint8Array; origin: number; indexes: number[] }
  | { kind: 'visibilityClear'; blocks: { heapBlock: number; flags: number }[] }
  | { kind: 'visibilityTruncate'; heapBlocks: number }
  | { kind: 'nextXid'; nextXid: number };

const CODES = {
  zero: 1,
  xidStatus: 2,
  multixactOffsets: 3,
  multixactMembers: 4,
  commitTimestamp: 5,
  visibilityClear: 6,
  visibilityTruncate: 7,
  nextXid: 8,
} as const satisfies Record<PageOperation['kind'], number>;
const KINDS: readonly (PageOperation['kind'] | undefined)[] = [
  undefined,
  ...(Object.keys(CODES) as PageOperation['kind'][]),
];

/** Payloads are written here; a value is a copy. */
const scratch = new ByteWriter(256);

/** `fromZero`: upon a page of zeros instead of the older page. */
export function encodeOperation(operation: PageOperation, fromZero: boolean): Value {
  const writer = scratch.reset();
  switch (operation.kind) {
    case 'zero':
      break;
    case 'xidStatus':
      writer.u8(operation.status);
      for (const index of operation.indexes) writer.u16(index);
      break;
    case 'multixactOffsets':
      for (const { entry, offset } of operation.entries) writer.u16(entry).u32(offset);
      break;
    case 'multixactMembers':
      writer.u16(operation.first);
      for (const { xid, status } of operation.members) writer.u32(xid).u8(status);
      break;
    case 'commitTimestamp':
      writer.bytes(operation.time).u16(operation.origin);
      for (const index of operation.indexes) writer.u16(index);
      break;
    case 'visibilityClear':
      for (const { heapBlock, flags } of operation.blocks) writer.u32(heapBlock).u8(flags);
      break;
    case 'visibilityTruncate':
      writer.u32(operation.heapBlocks);
      break;
    case 'nextXid':
      writer.u53(operation.nextXid);
      break;
    default:
      assertNever(operation, 'page operation');
  }
  return operationValue(CODES[operation.kind], writer.done(), fromZero);
}

function repeat<T>(reader: ByteReader, read: () => T): T[] {
  const found: T[] = [];
  while (reader.remaining > 0) found.push(read());
  return found;
}

/** Decodes code and payload: a value's bytes after its tag. Throws MalformedMessage. */
export function decodeOperation(bytes: Uint8Array): PageOperation {
  const reader = new ByteReader(bytes);
  const code = reader.u8();
  const kind = KINDS[code];
  const operation = readOperation(kind, code, reader);
  reader.end();
  return operation;
}
function readOperation(
  kind: PageOperation['kind'] | undefined,
  code: number,
  reader: ByteReader,
): PageOperation {
  switch (kind) {
    case 'zero':
      return { kind };
    case 'xidStatus':
      return { kind, status: reader.u8(), indexes: repeat(reader, () => reader.u16()) };
    case 'multixactOffsets':
      return { kind, entries: repeat(reader, () => ({ entry: reader.u16(), offset: reader.u32() })) };
    case 'multixactMembers': {
      const first = reader.u16();
      return { kind, first, members: repeat(reader, () => ({ xid: reader.u32(), status: reader.u8() })) };
    }
    case 'commitTimestamp': {
      const [time, origin] = [reader.take(8), reader.u16()];
      return { kind, time, origin, indexes: repeat(reader, () => reader.u16()) };
    }
    case 'visibilityClear':
      return { kind, blocks: repeat(reader, () => ({ heapBlock: reader.u32(), flags: reader.u8() })) };
    case 'visibilityTruncate':
      return { kind, heapBlocks: reader.u32() };
    case 'nextXid':
      return { kind, nextXid: reader.u53() };
    case undefined:
      throw new MalformedMessage(`page operation of code ${code}: 1 to ${KINDS.length - 1} known`);
  }
}

/** Changes `content` (a page; for nextXid the checkpoint fields) in place. */
export function applyOperation(operation: PageOperation, content: Uint8Array): void {
  switch (operation.kind) {
    case 'zero':
      content.fill(0);
      return;
    case 'xidStatus':
      for (const index of operation.indexes) setXidStatus(content, index, operation.status);
      return;
    case 'multixactOffsets':
      for (const { entry, offset } of operation.entries) setMultiOffset(content, entry, offset);
      return;
    case 'multixactMembers': {
      let index = operation.first;
      for (const { xid, status } of operation.members) setMember(content, index++, xid, status);
      return;
    }
    case 'commitTimestamp':
      for (const index of operation.indexes) {
        setCommitTimestamp(content, index, operation.time, operation.origin);
      }
      return;
    case 'visibilityClear':
      initMapPage(content);
      for (const { heapBlock, flags } of operation.blocks) clearVisibility(content, heapBlock, flags);
      return;
    case 'visibilityTruncate':
      initMapPage(content);
      truncateVisibility(content, operation.heapBlocks);
      return;
    case 'nextXid':
      CheckPoint.over(content).nextXid = operation.nextXid;
      return;
    default:
      assertNever(operation, 'page operation');
  }
}

/** Whoever reads a map page first gives it its header (vm_readbuf). */
function initMapPage(content: Uint8Array): void {
  const page = pageOver(content);
  if (isNewPage(page)) initPage(page, 0);
}
