/**
 * Writes a layer: takes entries in order, closes blocks as they fill, and ends with index and footer.
 *
 * Memory is a few blocks and the index. `add` says when blocks wait to be written; the caller then awaits `drain`, so that
 * compression (COMPRESSIONS_MAX at a time where the codec does it elsewhere) and the sink set the pace and not every entry costs a promise.
 */
import { assert } from '../../assert.ts';
import type { Lsn } from '../../postgres/lsn.ts';
import type { Key } from '../key.ts';
import type { Value } from '../value.ts';
import { BlockBuilder } from './block.ts';
import { holdsKey, layerName, type LayerDescriptor } from './descriptor.ts';
import {
  BlockEntry,
  LAYER_KIND,
  LAYER_VERSION,
  LayerFooter,
  LayerHeader,
  MAGIC,
  RAW_BYTES_MAX,
  type LayerCodec,
} from './format.ts';
import { buildFilter, keyHash } from './key-filter.ts';

/** Takes the bytes of the file in order. */
export type LayerSink = (bytes: Uint8Array) => void | Promise<void>;

/** Blocks that are being compressed at a time. */
const COMPRESSIONS_MAX = 3;
const HASHES_MIN = 1024;
/** What is given to the sink at a time, about. */
const WRITE_BYTES = 256 << 10;

type Frame = Uint8Array | Promise<Uint8Array>;

export class LayerWriter {
  readonly #timelineId: string;
  readonly #codec: LayerCodec;
  readonly #sink: LayerSink;
  readonly #builder = new BlockBuilder();
  readonly #compressing: { key: Key; lsn: Lsn; rawLength: number; frame: Frame }[] = [];
  readonly #index: Uint8Array[] = [];
  /** Of every key: the first `#hashCount`. */
  #hashes = new Uint32Array(HASHES_MIN);
  #hashCount = 0;
  /** Not yet given to the sink. */
  readonly #pending: Uint8Array[] = [];
  #pendingBytes = 0;
  #offset = 0;
  #rawBytes = 0;
  #entryCount = 0;
  #firstKey: Key | null = null;
  #lastKey: Key | null = null;
  #lastLsn: Lsn | null = null;

  constructor(options: { timelineId: string; codec: LayerCodec; sink: LayerSink }) {
    assert(/^[0-9a-f]{32}$/.test(options.timelineId), `timeline id ${options.timelineId}`);
    this.#timelineId = options.timelineId;
    this.#codec = options.codec;
    this.#sink = options.sink;
  }
  /** Bytes of the file so far. */
  get bytesWritten(): number {
    return this.#offset;
  }
  get entryCount(): number {
    return this.#entryCount;
  }
  get firstKey(): Key | null {
    return this.#firstKey;
  }
  get lastKey(): Key | null {
    return this.#lastKey;
  }

  /** Adds an entry, which must come after the one before; copied. True: await `drain` before adding more. */
  add(key: Key, lsn: Lsn, value: Value): boolean {
    assert(
      this.#lastKey === key ? this.#lastLsn! < lsn : this.#lastKey === null || this.#lastKey < key,
      'layer entries come in order of key and LSN, each once',
    );
    assert(value.length <= RAW_BYTES_MAX - 64, `value of ${value.length} bytes`);
    if (this.#builder.isFullFor(value.length)) this.#closeBlock();
    this.#builder.add(key, lsn, value);
    this.#firstKey ??= key;
    if (this.#lastKey !== key) this.#addHash(keyHash(key));
    this.#lastKey = key;
    this.#lastLsn = lsn;
    this.#entryCount++;
    return this.#compressing.length > COMPRESSIONS_MAX;
  }
  /** Writes blocks that are compressed, in order. */
  async drain(): Promise<void> {
    while (this.#compressing.length > COMPRESSIONS_MAX) await this.#writeBlock();
  }
  async #writeBlock(): Promise<void> {
    const { key, lsn, rawLength, frame } = this.#compressing.shift()!;
    const bytes = await frame;
    await this.#write(bytes);
    this.#index.push(
      BlockEntry.encode({ key, lsn, length: bytes.length, rawLength, crc: this.#codec.crc32c(bytes) }),
    );
    this.#rawBytes += rawLength;
  }
  /** Ends the file, which is the layer `descriptor`; returns its size in bytes. */
  async finish(descriptor: LayerDescriptor): Promise<number> {
    assert(
      this.#firstKey === null ||
        (holdsKey(descriptor, this.#firstKey) && holdsKey(descriptor, this.#lastKey!)),
      `layer ${layerName(descriptor)} holds its own keys`,
    );
    if (this.#builder.count > 0) this.#closeBlock();
    while (this.#compressing.length > 0) await this.#writeBlock();
    const [startLsn, endLsn] =
      descriptor.kind === 'delta'
        ? [descriptor.startLsn, descriptor.endLsn]
        : [descriptor.lsn, descriptor.lsn];
    const filter =
      descriptor.kind === 'delta'
        ? buildFilter(this.#hashes.subarray(0, this.#hashCount))
        : new Uint8Array(0);
    const header = LayerHeader.encode({
      kind: LAYER_KIND[descriptor.kind],
      generation: descriptor.generation,
      timelineId: this.#timelineId,
      firstKey: descriptor.keys.first,
      lastKey: descriptor.keys.last,
      startLsn,
      endLsn,
      entryCount: this.#entryCount as Lsn,
      rawBytes: this.#rawBytes as Lsn,
      filterBytes: filter.length,
    });
    const index = concatenate([header, ...this.#index, filter]);
    const frame = await this.#codec.compress(index);
    const footer = LayerFooter.encode({
      indexOffset: this.#offset as Lsn,
      indexLength: frame.length,
      indexRawLength: index.length,
      indexCrc: this.#codec.crc32c(frame),
      blockCount: this.#index.length,
      version: LAYER_VERSION,
      magicLow: MAGIC[0],
      magicHigh: MAGIC[1],
    });
    LayerFooter.over(footer).crc = this.#codec.crc32c(footer.subarray(0, LayerFooter.offsets.crc));
    await this.#write(frame);
    await this.#write(footer);
    await this.#writePending();
    return this.#offset;
  }
  #addHash(hash: number): void {
    if (this.#hashCount === this.#hashes.length) {
      const hashes = new Uint32Array(this.#hashCount * 2);
      hashes.set(this.#hashes);
      this.#hashes = hashes;
    }
    this.#hashes[this.#hashCount++] = hash;
  }
  #closeBlock(): void {
    const { firstKey: key, firstLsn: lsn } = this.#builder;
    const raw = this.#builder.finish();
    const frame = this.#codec.compress(raw);
    if (frame instanceof Promise) frame.catch(() => undefined); // it is awaited later
    this.#compressing.push({ key, lsn, rawLength: raw.length, frame });
  }
  async #write(bytes: Uint8Array): Promise<void> {
    this.#offset += bytes.length;
    this.#pending.push(bytes);
    this.#pendingBytes += bytes.length;
    if (this.#pendingBytes >= WRITE_BYTES) await this.#writePending();
  }
  async #writePending(): Promise<void> {
    const bytes = concatenate(this.#pending.splice(0));
    this.#pendingBytes = 0;
    await this.#sink(bytes);
  }
}

function concatenate(parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
