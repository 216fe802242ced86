/**
 * One layer of a timeline, wherever its bytes are: a file of the local disk, or an object that is read in ranges
 * while the whole of it is being downloaded.
 *
 * The local file is a cache. One whose checksums do not hold is thrown away, and the read goes to the object.
 * A retired layer (replaced by compaction) stays readable for the reads that found it before; its file is closed
 * and its object may be deleted when the last of them is done.
 */
import { closeSync, openSync, readSync } from 'node:fs';
import { rename, rm, writeFile } from 'node:fs/promises';
import { assert } from '../../../lib/assert.ts';
import type { Lsn } from '../../../lib/postgres/lsn.ts';
import type { Key, KeyRange } from '../../../lib/storage/key.ts';
import { layerName, type LayerDescriptor } from '../../../lib/storage/layers/descriptor.ts';
import { LayerError, type LayerCodec } from '../../../lib/storage/layers/format.ts';
import type { LayerEntry } from '../../../lib/storage/layers/merge.ts';
import {
  LayerReader,
  type BlockCache,
  type LayerSource,
  type Wanted,
} from '../../../lib/storage/layers/reader.ts';
import type { Version } from '../../../lib/storage/value.ts';
import type { ReachFailpoint } from '../failpoints.ts';
import type { Metrics } from '../metrics/metrics.ts';
import type { ObjectStorage } from '../remote/storage.ts';

/** What all layers of a timeline share. */
export interface LayerContext {
  timelineId: string;
  /** Folder of the local files. */
  folder: string;
  /** Prefix of the objects, with its final slash. */
  prefix: string;
  storage: ObjectStorage;
  codec: LayerCodec;
  blockCache: BlockCache;
  metrics: Metrics;
  failpoint: ReachFailpoint;
  /** Runs a download when there is room for one. */
  download: <T>(task: () => Promise<T>) => Promise<T>;
  onError: (error: unknown, what: string) => void;
}

/** A layer up to this size is read when all of it is here; one request is quicker than one for each block. */
const WHOLE_BYTES_MAX = 8 << 20;
/** What is read at once of a larger one. */
const CHUNK_BYTES = 1 << 20;

const FROM_DISK = { from: 'disk' } as const;
const FROM_STORAGE = { from: 'storage' } as const;

let layerNumber = 0;

export class StoredLayer implements LayerSource {
  readonly descriptor: LayerDescriptor;
  /** Bytes of the file. */
  readonly size: number;
  readonly name: string;
  readonly #context: LayerContext;
  readonly #cacheId = `${layerNumber++}`;
  #file: number | null = null;
  #isLocal: boolean;
  #isUploaded: boolean;
  #reader: Promise<LayerReader> | null = null;
  /** What `#reader` resolved to. */
  #opened: LayerReader | null = null;
  #downloading: Promise<void> | null = null;
  /** Of the object, by number, while it is downloaded. */
  readonly #chunks = new Map<number, Promise<Uint8Array>>();
  #users = 0;
  #isRetired = false;
  #onUnused: (() => void) | null = null;

  constructor(
    context: LayerContext,
    layer: { descriptor: LayerDescriptor; size: number; isLocal: boolean; isUploaded: boolean },
  ) {
    assert(layer.isLocal || layer.isUploaded, 'a layer is somewhere');
    this.#context = context;
    this.descriptor = layer.descriptor;
    this.size = layer.size;
    this.name = layerName(layer.descriptor);
    this.#isLocal = layer.isLocal;
    this.#isUploaded = layer.isUploaded;
  }
  get path(): string {
    return `${this.#context.folder}/${this.name}`;
  }
  get objectKey(): string {
    return this.#context.prefix + this.name;
  }
  get isLocal(): boolean {
    return this.#isLocal;
  }
  get isUploaded(): boolean {
    return this.#isUploaded;
  }
  uploaded(): void {
    this.#isUploaded = true;
  }

  /** Between these two the layer can be read, whatever becomes of it. */
  acquire(): void {
    this.#users++;
  }
  release(): void {
    if (--this.#users === 0) this.#onUnused?.();
  }
  /** The layer is in no map any more: forgets its file, and resolves when nobody reads it. */
  async retire(): Promise<void> {
    this.#isRetired = true;
    if (this.#users > 0) await new Promise<void>((resolve) => (this.#onUnused = resolve));
    await rm(this.path, { force: true });
    this.#isLocal = false;
    this.close();
  }
  close(): void {
    if (this.#file !== null) closeSync(this.#file);
    this.#file = null;
    this.#reader = null;
    this.#opened = null;
  }

  /** As LayerReader.collect. */
  async collect(key: Key, after: Lsn, upTo: Lsn, into: Version[]): Promise<boolean> {
    const length = into.length;
    try {
      return await (await this.reader()).collect(key, after, upTo, into);
    } catch (error) {
      if (!(await this.#forgetBadFile(error))) throw error;
      into.length = length;
      return (await this.reader()).collect(key, after, upTo, into);
    }
  }
  /** As LayerReader.collectAll. */
  collectAll(wanted: readonly Wanted[]): void | Promise<void> {
    const lengths = wanted.map(({ versions }) => versions.length);
    try {
      const collecting =
        this.#opened?.collectAll(wanted) ??
        (this.#opened === null ? this.reader().then((reader) => reader.collectAll(wanted)) : undefined);
      return collecting?.catch((error: unknown) => this.#collectAgain(wanted, lengths, error));
    } catch (error) {
      return this.#collectAgain(wanted, lengths, error);
    }
  }
  async #collectAgain(wanted: readonly Wanted[], lengths: readonly number[], error: unknown): Promise<void> {
    if (!(await this.#forgetBadFile(error))) throw error;
    for (const [i, want] of wanted.entries()) {
      want.versions.length = lengths[i];
      want.isWhole = false;
    }
    await (await this.reader()).collectAll(wanted);
  }
  /** As LayerReader.scan. */
  async *scan(range: KeyRange, remember: boolean): AsyncGenerator<LayerEntry> {
    let last: LayerEntry | null = null;
    for (;;) {
      try {
        const rest: KeyRange = { first: last?.key ?? range.first, last: range.last };
        for await (const entry of (await this.reader()).scan(rest, remember)) {
          if (last !== null && entry.key === last.key && entry.lsn <= last.lsn) continue;
          last = entry;
          yield entry;
        }
        return;
      } catch (error) {
        if (!(await this.#forgetBadFile(error))) throw error;
      }
    }
  }

  reader(): Promise<LayerReader> {
    if (this.#reader === null) {
      const { codec, blockCache, timelineId } = this.#context;
      const identity = { descriptor: this.descriptor, timelineId, size: this.size };
      const opened = LayerReader.open(identity, this, codec, blockCache, this.#cacheId);
      this.#reader = opened;
      opened.then(
        (reader) => {
          if (this.#reader === opened) this.#opened = reader;
        },
        () => {
          if (this.#reader === opened) this.#reader = null;
        },
      );
    }
    return this.#reader;
  }

  /** LayerSource: from the file, or a range of the object. */
  read(offset: number, length: number): Uint8Array | Promise<Uint8Array> {
    this.#context.metrics.layerReads.inc(1, this.#isLocal ? FROM_DISK : FROM_STORAGE);
    return this.#isLocal ? this.#readLocal(offset, length) : this.#readAbsent(offset, length);
  }
  #readLocal(offset: number, length: number): Uint8Array {
    this.#file ??= openSync(this.path, 'r');
    const bytes = new Uint8Array(length);
    const count = readSync(this.#file, bytes, 0, length, offset);
    return count === length ? bytes : bytes.subarray(0, count);
  }
  async #readAbsent(offset: number, length: number): Promise<Uint8Array> {
    const download = this.#startDownload();
    if (this.size <= WHOLE_BYTES_MAX) {
      await download;
      if (this.#isLocal) return this.#readLocal(offset, length);
    }
    return this.#readRemote(offset, length);
  }
  /** By whole chunks, which are kept while the file is not here: neighbours are read next. */
  async #readRemote(offset: number, length: number): Promise<Uint8Array> {
    const first = Math.floor(offset / CHUNK_BYTES);
    const end = Math.ceil((offset + length) / CHUNK_BYTES);
    const chunks = await Promise.all(Array.from({ length: end - first }, (_, i) => this.#chunk(first + i)));
    const from = offset - first * CHUNK_BYTES;
    if (chunks.length === 1) return chunks[0].subarray(from, from + length);
    return new Uint8Array(Buffer.concat(chunks).subarray(from, from + length));
  }
  #chunk(number: number): Promise<Uint8Array> {
    const known = this.#chunks.get(number);
    if (known !== undefined) return known;
    const fetched = this.#fetchChunk(number);
    this.#chunks.set(number, fetched);
    fetched.catch(() => this.#chunks.delete(number));
    return fetched;
  }
  async #fetchChunk(number: number): Promise<Uint8Array> {
    const offset = number * CHUNK_BYTES;
    const range = { offset, length: Math.min(CHUNK_BYTES, this.size - offset) };
    this.#context.metrics.rangeReads.inc();
    const bytes = await this.#context.storage.get(this.objectKey, range);
    if (bytes === null) throw new LayerError('corrupt', `layer object ${this.objectKey} is not there`);
    return bytes;
  }

  /** Resolves when the download that is under way has ended, however it has. */
  #startDownload(): Promise<void> {
    if (this.#isRetired) return Promise.resolve();
    this.#downloading ??= this.#context
      .download(() => this.#download())
      .then(
        () => this.#context.metrics.downloads.inc(1, { outcome: 'done' }),
        (error: unknown) => {
          this.#context.metrics.downloads.inc(1, { outcome: 'failed' });
          this.#context.onError(error, `download of ${this.name}`);
        },
      )
      .finally(() => {
        this.#downloading = null;
        this.#chunks.clear();
      });
    return this.#downloading;
  }
  async #download(): Promise<void> {
    const bytes = await this.#context.storage.get(this.objectKey);
    if (bytes === null || bytes.length !== this.size)
      throw new LayerError('corrupt', `layer object ${this.objectKey} has not ${this.size} bytes`);
    this.#context.metrics.downloadedBytes.inc(bytes.length);
    const partial = `${this.path}.partial`;
    await writeFile(partial, bytes);
    await this.#context.failpoint('download.before-rename');
    if (this.#isRetired) await rm(partial);
    else {
      await rename(partial, this.path);
      this.#isLocal = true;
    }
  }

  /** True when a damaged local file was dropped and the object can be read in its place. */
  async #forgetBadFile(error: unknown): Promise<boolean> {
    const isMissing = (error as NodeJS.ErrnoException).code === 'ENOENT';
    if (!(error instanceof LayerError || isMissing) || !this.#isLocal || !this.#isUploaded) return false;
    this.#context.onError(error, `local file of ${this.name}, dropped`);
    this.#isLocal = false;
    this.close();
    await rm(this.path, { force: true });
    return true;
  }
}
