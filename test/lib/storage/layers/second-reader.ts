/**
 * A second implementation of docs/formats/layers.md, written from that document: nothing here is imported from Ebb. If it reads
 * what Ebb writes, the document says enough.
 */
import { zstdDecompressSync } from 'node:zlib';

export interface SecondLayer {
  kind: 'delta' | 'image';
  generation: number;
  timelineId: string;
  /** Hexadecimal. */
  firstKey: string;
  lastKey: string;
  startLsn: bigint;
  endLsn: bigint;
  versions: { key: string; lsn: bigint; value: Buffer }[];
  /** Whether the key filter lets a key (hexadecimal) pass. */
  mayHold(key: string): boolean;
}

const FOOTER_BYTES = 40;
const HEADER_BYTES = 96;
const BLOCK_ENTRY_BYTES = 38;
const VERSION_BYTES = 30;

const check = (holds: boolean, what: string): void => {
  if (!holds) throw new Error(`second reader: ${what}`);
};
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

/** CRC-32C, bit by bit. */
function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0x82f63b78 : 0);
  }
  return (crc ^ 0xffffffff) >>> 0;
}

export function readLayer(bytes: Uint8Array): SecondLayer {
  const file = Buffer.from(bytes);
  const footer = file.subarray(file.length - FOOTER_BYTES);
  check(footer.subarray(32).toString('latin1') === 'EBBLAYER', 'magic');
  check(footer.readUInt32LE(28) === crc32c(footer.subarray(0, 28)), 'CRC of the footer');
  check(footer.readUInt16LE(24) === 1, 'version');
  const indexOffset = Number(footer.readBigUInt64LE(0));
  const indexBytes = footer.readUInt32LE(8);
  check(indexOffset + indexBytes + FOOTER_BYTES === file.length, 'size of the file');
  const indexFrame = file.subarray(indexOffset, indexOffset + indexBytes);
  check(footer.readUInt32LE(16) === crc32c(indexFrame), 'CRC of the index');
  const index = zstdDecompressSync(indexFrame);
  check(index.length === footer.readUInt32LE(12) && index.length >= HEADER_BYTES, 'length of the index');
  const blockCount = footer.readUInt32LE(20);

  const versions: SecondLayer['versions'] = [];
  let offset = 0;
  for (let at = 0; at < blockCount; at++) {
    const entry = index.subarray(HEADER_BYTES + at * BLOCK_ENTRY_BYTES);
    const frame = file.subarray(offset, offset + entry.readUInt32LE(26));
    offset += frame.length;
    check(crc32c(frame) === entry.readUInt32LE(34), `CRC of block ${at}`);
    const block = zstdDecompressSync(frame);
    check(block.length === entry.readUInt32LE(30), `length of block ${at}`);
    const found = readBlock(block);
    check(found[0].key === hex(entry.subarray(0, 18)), `first key of block ${at}`);
    check(found[0].lsn === entry.readBigUInt64LE(18), `first LSN of block ${at}`);
    versions.push(...found);
  }
  check(offset === indexOffset, 'the blocks end where the index begins');
  check(BigInt(versions.length) === index.readBigUInt64LE(76), 'number of versions');
  const filterStart = HEADER_BYTES + blockCount * BLOCK_ENTRY_BYTES;
  check(filterStart + index.readUInt32LE(92) === index.length, 'the filter ends the index');
  const filter = index.subarray(filterStart);
  return {
    kind: index[0] === 1 ? 'delta' : 'image',
    generation: index.readUInt32LE(4),
    timelineId: hex(index.subarray(8, 24)),
    firstKey: hex(index.subarray(24, 42)),
    lastKey: hex(index.subarray(42, 60)),
    startLsn: index.readBigUInt64LE(60),
    endLsn: index.readBigUInt64LE(68),
    versions,
    mayHold: (key) => passes(filter, Buffer.from(key, 'hex')),
  };
}

function readBlock(block: Buffer): SecondLayer['versions'] {
  const count = block.readUInt32LE(0);
  check(count >= 1, 'an empty block');
  const values = block.subarray(4 + count * VERSION_BYTES);
  const versions: SecondLayer['versions'] = [];
  let from = 0;
  for (let at = 0; at < count; at++) {
    const entry = block.subarray(4 + at * VERSION_BYTES);
    const to = entry.readUInt32LE(26);
    const value = values.subarray(from, to);
    versions.push({ key: hex(entry.subarray(0, 18)), lsn: entry.readBigUInt64LE(18), value });
    from = to;
  }
  check(from === values.length, 'the last value ends with the block');
  return versions;
}

function passes(filter: Buffer, key: Buffer): boolean {
  if (filter.length === 0) return true;
  const h = crc32c(key);
  const step = ((h >>> 17) | (h << 15)) >>> 0;
  for (let probe = 0; probe < 7; probe++) {
    const bit = Number((BigInt(h) + BigInt(probe) * BigInt(step)) % 2n ** 32n) % (8 * filter.length);
    if ((filter[bit >> 3] & (1 << (bit & 7))) === 0) return false;
  }
  return true;
}

/** What the name of a layer says. */
export function readName(
  name: string,
): Pick<SecondLayer, 'kind' | 'generation' | 'firstKey' | 'lastKey' | 'startLsn' | 'endLsn'> {
  const [keys, rest] = name.split('__');
  const [firstKey, lastKey] = keys.split('-');
  const numbers = rest.split('-');
  const generation = Number.parseInt(numbers.pop()!, 16);
  const [startLsn, endLsn = startLsn] = numbers.map((each) => BigInt(`0x${each}`));
  return { kind: numbers.length === 2 ? 'delta' : 'image', generation, firstKey, lastKey, startLsn, endLsn };
}
