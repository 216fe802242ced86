/**
 * Reads a layer by ranges of its file: footer and index once, then the blocks that a key needs.
 *
 * Nothing is believed that its checksum does not cover: a block is decompressed only after its CRC held, and the
 * index must name the layer that was asked for. Blocks go through a cache that readers of all layers share, as
 * promises, so that two who need one block fetch it once.
 */
import { formatLsn, type Lsn } from '../../postgres/lsn.ts';
import type { Key, KeyRange } from '../key.ts';
import { startsChain, type Version } from '../value.ts';
import { Block } from './block.ts';
import { formatLayer, type LayerDescriptor } from './descriptor.ts';
import {
  BlockEntry,
  LAYER_KIND,
  LAYER_VERSION,
  LayerError,
  LayerFooter,
  LayerHeader,
  MAGIC,
  RAW_BYTES_MAX,
  type LayerCodec,
} from './format.ts';
import { LayerCursor, type VersionRange } from './cursor.ts';
import { keyHash, mayHold } from './key-filter.ts';
import type { LayerEntry } from './merge.ts';

/** Where the bytes of a layer file come from. */
export interface LayerSource {
  /** Bytes `[offset, offset + length)`, exactly. */
  read(offset: number, length: number): Uint8Array | Promise<Uint8Array>;
}

/** A block, or the promise of one that is being fetched. */
export type PendingBlock = Block | Promise<Block>;

/** Blocks by layer and number; it may forget any at any time. */
export interface BlockCache {
  get(id: string): PendingBlock | undefined;
  set(id: string, block: PendingBlock, bytes: number): void;
  delete(id: string): void;
}

/** One key of a read, and what has been found of it so far. */
export interface Wanted {
  readonly key: Key;
  /** Versions with `after` < LSN ≤ `upTo` are wanted. */
  after: Lsn;
  upTo: Lsn;
  /** Newest first. */
  readonly versions: Version[];
  /** The last of them starts a chain: nothing older is wanted. */
  isWhole: boolean;
}

export interface LayerIdentity {
  descriptor: LayerDescriptor;
  timelineId: string;
  /** Bytes of the file. */
  size: number;
}

/** What the footer and the index say, checked. */
interface LayerIndex {
  entryCount: number;
  rawBytes: number;
  firstKeys: Key[];
  firstLsns: Lsn[];
  offsets: number[];
  lengths: number[];
  rawLengths: number[];
  crcs: number[];
  filter: Uint8Array;
}

/** The last bytes of a file that are fetched at first; most indexes are within. */
const TAIL_BYTES = 64 << 10;

const ALL_VERSIONS: VersionRange = { after: -1 as Lsn, upTo: Number.MAX_SAFE_INTEGER as Lsn };

export class LayerReader {
  readonly identity: LayerIdentity;
  readonly #source: LayerSource;
  readonly #codec: LayerCodec;
  readonly #cache: BlockCache;
  readonly #cacheId: string;
  readonly #index: LayerIndex;

  /** Reads footer and index. Throws LayerError, or what the source throws. */
  static async open(
    identity: LayerIdentity,
    source: LayerSource,
    codec: LayerCodec,
    cache: BlockCache,
    cacheId: string,
  ): Promise<LayerReader> {
    const index = await readIndex(identity, source, codec);
    return new LayerReader(identity, source, codec, cache, cacheId, index);
  }

  private constructor(
    identity: LayerIdentity,
    source: LayerSource,
    codec: LayerCodec,
    cache: BlockCache,
    cacheId: string,
    index: LayerIndex,
  ) {
    this.identity = identity;
    this.#source = source;
    this.#codec = codec;
    this.#cache = cache;
    this.#cacheId = cacheId;
    this.#index = index;
  }
  get blockCount(): number {
    return this.#index.firstKeys.length;
  }
  get entryCount(): number {
    return this.#index.entryCount;
  }
  /** Bytes before compression. */
  get rawBytes(): number {
    return this.#index.rawBytes;
  }

  /** False: no version of `key` is here. Costs no I/O. */
  mayHold(key: Key): boolean {
    return mayHold(this.#index.filter, keyHash(key));
  }

  /**
   * Appends to `into` the versions of `key` with `after` < LSN ≤ `upTo`, newest first, down to one that starts a
   * chain; true when it met one.
   */
  async collect(key: Key, after: Lsn, upTo: Lsn, into: Version[]): Promise<boolean> {
    const want: Wanted = { key, after, upTo, versions: into, isWhole: false };
    await this.collectAll([want]);
    return want.isWhole;
  }

  /**
   * `collect` for each of `wanted`, which come in the order of their keys: each block is visited once. A promise only where
   * blocks have to be fetched; then all of those that the keys lie in are fetched at once.
   */
  collectAll(wanted: readonly Wanted[]): void | Promise<void> {
    // From the last key on, so that versions that go back over several blocks meet the blocks in order too.
    return this.#collectFrom(wanted, wanted.length - 1, { at: -1, block: null });
  }
  #collectFrom(wanted: readonly Wanted[], from: number, last: VisitedBlock): void | Promise<void> {
    for (let i = from; i >= 0; i--) {
      const want = wanted[i];
      if (want.isWhole || !this.mayHold(want.key)) continue;
      for (let at = this.#blockAtOrBefore(want.key, want.upTo); at >= 0; at--) {
        const block = at === last.at ? last.block! : this.block(at);
        if (block instanceof Promise) {
          this.#fetchFor(wanted, i - 1);
          return this.#collectLater(wanted, i, { at, block });
        }
        last = { at, block };
        if (!collectFromBlock(block, want)) break;
      }
    }
  }
  async #collectLater(
    wanted: readonly Wanted[],
    from: number,
    fetched: { at: number; block: Promise<Block> },
  ): Promise<void> {
    const block = await fetched.block;
    // Again from the block that has come: what was found of the key lies in blocks above it.
    const want = wanted[from];
    let last: VisitedBlock = { at: fetched.at, block };
    for (let { at } = fetched; at >= 0; at--) {
      last = { at, block: at === last.at ? last.block : await this.block(at) };
      if (!collectFromBlock(last.block!, want)) break;
    }
    await this.#collectFrom(wanted, from - 1, last);
  }
  /** Begins to fetch the blocks of the keys up to `from`; whoever needs one waits for it by the cache. */
  #fetchFor(wanted: readonly Wanted[], from: number): void {
    let last = -1;
    for (let i = from; i >= 0; i--) {
      const { key, upTo, isWhole } = wanted[i];
      if (isWhole || !this.mayHold(key)) continue;
      const at = this.#blockAtOrBefore(key, upTo);
      if (at >= 0 && at !== last) void this.block(at);
      last = at;
    }
  }

  /** Every entry of the range, ascending. Holds one block at a time; `remember` leaves them in the cache. */
  async *scan(range: KeyRange, remember: boolean): AsyncGenerator<LayerEntry> {
    const first = Math.max(0, this.#blockAtOrBefore(range.first, 0 as Lsn));
    for (let at = first; at < this.blockCount && this.#index.firstKeys[at] <= range.last; at++) {
      const block = await (remember
        ? this.block(at)
        : (this.#cache.get(this.#blockId(at)) ?? this.#readBlock(at)));
      const from = block.lastAtOrBefore(range.first, -1 as Lsn) + 1;
      for (let entry = from; entry < block.count; entry++) {
        const key = block.key(entry);
        if (key > range.last) return;
        yield { key, lsn: block.lsn(entry), value: block.value(entry) };
      }
    }
  }

  /** As `scan`, for those who read on by themselves and leave no trace in the cache. */
  cursor(range: KeyRange, versions: VersionRange = ALL_VERSIONS): LayerCursor {
    const firstBlock = Math.max(0, this.#blockAtOrBefore(range.first, 0 as Lsn));
    return new LayerCursor({ range, versions }, firstBlock, (at) =>
      at < this.blockCount && this.#index.firstKeys[at] <= range.last ? this.#readBlock(at) : null,
    );
  }
  /** Bytes in the file of the blocks that may hold keys of `range`. */
  bytesOf(range: KeyRange): number {
    const { firstKeys, lengths } = this.#index;
    let bytes = 0;
    const first = Math.max(0, this.#blockAtOrBefore(range.first, 0 as Lsn));
    for (let at = first; at < firstKeys.length && firstKeys[at] <= range.last; at++) bytes += lengths[at];
    return bytes;
  }

  /** Block number `at`, by the cache. Throws LayerError `corrupt`, or what the source throws; a promise rejects with them. */
  block(at: number): PendingBlock {
    const id = this.#blockId(at);
    const cached = this.#cache.get(id);
    if (cached !== undefined) return cached;
    const bytes = this.#index.rawLengths[at];
    const block = this.#readBlock(at);
    this.#cache.set(id, block, bytes);
    if (block instanceof Promise)
      block.then(
        (fetched) => this.#cache.set(id, fetched, bytes),
        () => this.#cache.delete(id),
      );
    return block;
  }

  #blockId(at: number): string {
    return `${this.#cacheId}/${at}`;
  }

  #readBlock(at: number): PendingBlock {
    const frame = this.#source.read(this.#index.offsets[at], this.#index.lengths[at]);
    return frame instanceof Promise
      ? frame.then((bytes) => this.#unpack(at, bytes))
      : this.#unpack(at, frame);
  }
  #unpack(at: number, frame: Uint8Array): Block {
    const { lengths, rawLengths, crcs } = this.#index;
    const what = () => `block ${at} of ${formatLayer(this.identity.descriptor)}`;
    checkFrame(frame, lengths[at], crcs[at], this.#codec, what);
    return new Block(inflate(frame, rawLengths[at], this.#codec, what));
  }

  /** The last block whose first entry is at or before (`key`, `lsn`); -1 when there is none. */
  #blockAtOrBefore(key: Key, lsn: Lsn): number {
    const { firstKeys, firstLsns } = this.#index;
    let low = 0;
    let high = firstKeys.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const first = firstKeys[middle];
      if (first < key || (first === key && firstLsns[middle] <= lsn)) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }
}

/** The block that was looked into last: the next key may be in it too. */
interface VisitedBlock {
  at: number;
  block: Block | null;
}

/** Versions of `want` in one block; true when older ones may be in the block before it. */
function collectFromBlock(block: Block, want: Wanted): boolean {
  const { key, after, upTo, versions } = want;
  for (let entry = block.lastAtOrBefore(key, upTo); entry >= 0; entry--) {
    if (block.compareKey(entry, key) !== 0) return false;
    const lsn = block.lsn(entry);
    if (lsn <= after) return false;
    const value = block.value(entry);
    versions.push({ lsn, value });
    if (!startsChain(value)) continue;
    want.isWhole = true;
    return false;
  }
  return true;
}

function checkFrame(
  frame: Uint8Array,
  length: number,
  crc: number,
  codec: LayerCodec,
  what: () => string,
): void {
  if (frame.length !== length)
    throw new LayerError('corrupt', `${what()}: ${frame.length} bytes instead of ${length}`);
  const found = codec.crc32c(frame);
  if (found !== crc)
    throw new LayerError(
      'corrupt',
      `${what()}: checksum ${found.toString(16)}, ${crc.toString(16)} expected`,
    );
}

function inflate(frame: Uint8Array, rawLength: number, codec: LayerCodec, what: () => string): Uint8Array {
  let raw: Uint8Array;
  try {
    raw = codec.decompress(frame, rawLength);
  } catch (cause) {
    throw new LayerError('corrupt', `${what()} does not decompress`, cause);
  }
  if (raw.length === rawLength) return raw;
  throw new LayerError('corrupt', `${what()} gives ${raw.length} bytes, ${rawLength} expected`);
}

async function readIndex(
  identity: LayerIdentity,
  source: LayerSource,
  codec: LayerCodec,
): Promise<LayerIndex> {
  const { size } = identity;
  const what = () => formatLayer(identity.descriptor);
  if (size < LayerFooter.size)
    throw new LayerError('corrupt', `${what()}: a file of ${size} bytes has no footer`);
  const tailStart = Math.max(0, size - TAIL_BYTES);
  const tail = await source.read(tailStart, size - tailStart);
  if (tail.length !== size - tailStart)
    throw new LayerError('corrupt', `${what()}: ${tail.length} bytes instead of ${size - tailStart}`);
  const footer = readFooter(tail.subarray(tail.length - LayerFooter.size), codec, what);
  if (footer.indexOffset + footer.indexLength + LayerFooter.size !== size)
    throw new LayerError('corrupt', `${what()}: index and footer do not end at ${size}`);
  const frame =
    footer.indexOffset >= tailStart
      ? tail.subarray(footer.indexOffset - tailStart, tail.length - LayerFooter.size)
      : await source.read(footer.indexOffset, footer.indexLength);
  const indexOf = () => `index of ${what()}`;
  checkFrame(frame, footer.indexLength, footer.indexCrc, codec, indexOf);
  const raw = inflate(frame, footer.indexRawLength, codec, indexOf);
  checkIdentity(raw, identity, what);
  return parseEntries(raw, footer.blockCount, footer.indexOffset, what);
}

function readFooter(bytes: Uint8Array, codec: LayerCodec, what: () => string) {
  // Magic and checksum first: the fields are numbers only once these hold.
  const data = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const { magicLow, magicHigh, crc } = LayerFooter.offsets;
  if (data.getUint32(magicLow, true) !== MAGIC[0] || data.getUint32(magicHigh, true) !== MAGIC[1])
    throw new LayerError('corrupt', `${what()}: no layer file, the magic is missing`);
  if (data.getUint32(crc, true) !== codec.crc32c(bytes.subarray(0, crc)))
    throw new LayerError('corrupt', `${what()}: the footer's checksum does not hold`);
  const footer = LayerFooter.decode(bytes);
  if (footer.version !== LAYER_VERSION)
    throw new LayerError('version', `${what()}: layer format ${footer.version}, ${LAYER_VERSION} expected`);
  if (footer.indexRawLength > RAW_BYTES_MAX || footer.indexRawLength < LayerHeader.size)
    throw new LayerError('corrupt', `${what()}: index of ${footer.indexRawLength} bytes`);
  return footer;
}

function checkIdentity(raw: Uint8Array, identity: LayerIdentity, what: () => string): void {
  const header = LayerHeader.decode(raw);
  const { descriptor } = identity;
  const [startLsn, endLsn] =
    descriptor.kind === 'delta' ? [descriptor.startLsn, descriptor.endLsn] : [descriptor.lsn, descriptor.lsn];
  const same =
    header.kind === LAYER_KIND[descriptor.kind] &&
    header.timelineId === identity.timelineId &&
    header.generation === descriptor.generation &&
    header.firstKey === descriptor.keys.first &&
    header.lastKey === descriptor.keys.last &&
    header.startLsn === startLsn &&
    header.endLsn === endLsn;
  if (same) return;
  const found = `kind ${header.kind} (${formatLsn(header.startLsn)}, ${formatLsn(header.endLsn)}] generation ${header.generation} of timeline ${header.timelineId}`;
  throw new LayerError('mismatch', `${what()} of timeline ${identity.timelineId}: the file is ${found}`);
}

function parseEntries(raw: Uint8Array, count: number, end: number, what: () => string): LayerIndex {
  const header = LayerHeader.decode(raw);
  const entriesEnd = LayerHeader.size + count * BlockEntry.size;
  if (entriesEnd + header.filterBytes !== raw.length)
    throw new LayerError('corrupt', `${what()}: index of ${raw.length} bytes for ${count} blocks`);
  const index: LayerIndex = {
    entryCount: header.entryCount,
    rawBytes: header.rawBytes,
    firstKeys: [],
    firstLsns: [],
    offsets: [],
    lengths: [],
    rawLengths: [],
    crcs: [],
    filter: raw.slice(entriesEnd),
  };
  const entry = BlockEntry.over(raw);
  let offset = 0;
  for (let i = 0; i < count; i++) {
    entry.at(LayerHeader.size + i * BlockEntry.size);
    index.firstKeys.push(entry.key);
    index.firstLsns.push(entry.lsn);
    index.offsets.push(offset);
    index.lengths.push(entry.length);
    index.rawLengths.push(entry.rawLength);
    index.crcs.push(entry.crc);
    offset += entry.length;
    if (entry.rawLength > RAW_BYTES_MAX)
      throw new LayerError('corrupt', `${what()}: block ${i} of ${entry.rawLength} bytes`);
  }
  if (offset !== end)
    throw new LayerError('corrupt', `${what()}: blocks end at ${offset}, index begins at ${end}`);
  return index;
}
