/**
 * One layer of a timeline, wherever its bytes are: a file of the local disk, or an object that is read in ranges
 * until the whole of it has been downloaded, if that is worth its room (disk-cache.ts).
 *
 *   local ──evict──► absent ──ranges──► downloading ──► local
 *
 * The local file is a cache. One whose checksums do not hold is thrown away, and the read goes to the object.
 * A retired layer (replaced by compaction) stays readable for the reads that found it before; its file is closed
 * and its object may be deleted when the last of them is done.
 */
import { closeSync, openSync, readSync } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';
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
import type { CachedLayer, DiskCache } from './disk-cache.ts';
import type { RangeCache } from './range-cache.ts';

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
  disk: DiskCache;
  ranges: RangeCache;
  metrics: Metrics;
  failpoint: ReachFailpoint;
  /** Runs a download when there is room for one. */
  download: <T>(task: () => Promise<T>) => Promise<T>;
  onError: (error: unknown, what: string) => void;
}

/** Of an absent layer so many ranges are read before all of it is downloaded: its index, and what one look at it needs. */
const RANGES_FIRST = 3;
/** A download is written in pieces of this size, which bounds its memory and how long it is in the way of ranges. */
const PIECE_BYTES = 4 << 20;
/** A file that is there may be found missing; then it is fetched again. */
const OPEN_ATTEMPTS_MAX = 3;
const FROM_DISK = { from: 'disk' } as const;
const FROM_STORAGE = { from: 'storage' } as const;

let layerNumber = 0;

export class StoredLayer implements LayerSource, CachedLayer {
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
  /** Of the object, by ranges, since it was last here. */
  #rangeBytes = 0;
  #rangeReads = 0;
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
    if (layer.isLocal) context.disk.add(this);
  }
  get path(): string {
    return `${this.#context.folder}/${this.name}`;
  }
  get timelineId(): string {
    return this.#context.timelineId;
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
    this.#context.disk.makeRoom();
  }

  /** Between these two the layer can be read, whatever becomes of it. */
  acquire(): void {
    this.#users++;
  }
  release(): void {
    if (--this.#users > 0) return;
    this.#onUnused?.();
    this.#context.disk.makeRoom();
  }
  /** The layer is in no map any more: forgets its file, and resolves when nobody reads it. */
  async retire(): Promise<void> {
    this.#isRetired = true;
    if (this.#users > 0) await new Promise<void>((resolve) => (this.#onUnused = resolve));
    this.#context.disk.remove(this);
    await rm(this.path, { force: true });
    this.#isLocal = false;
    this.close();
  }
  get isEvictable(): boolean {
    return this.#isUploaded && this.#users === 0;
  }
  async evict(): Promise<void> {
    this.#isLocal = false;
    this.#rangeBytes = 0;
    this.#rangeReads = 0;
    this.#closeFile();
    await this.#context.failpoint('evict.before-remove');
    if (!this.#isLocal) await rm(this.path, { force: true });
  }
  close(): void {
    this.#closeFile();
    this.#reader = null;
    this.#opened = null;
  }
  #closeFile(): void {
    if (this.#file !== null) closeSync(this.#file);
    this.#file = null;
  }

  /**
   * A descriptor of the whole file, downloaded if need be, for a reader of its own (compaction): the caller closes it. What
   * becomes of the file meanwhile does not matter to it. Throws StorageError, LayerError.
   */
  async openFile(): Promise<number> {
    for (let attempt = 1; ; attempt++) {
      if (!this.#isLocal) await this.#startDownload();
      try {
        return openSync(this.path, 'r');
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
        if (attempt === OPEN_ATTEMPTS_MAX || !this.#isUploaded)
          throw new LayerError('corrupt', `file of ${this.name} is not there`, error);
        this.#isLocal = false;
      }
    }
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
    this.#context.disk.touch(this);
    this.#file ??= openSync(this.path, 'r');
    const bytes = new Uint8Array(length);
    const count = readSync(this.#file, bytes, 0, length, offset);
    return count === length ? bytes : bytes.subarray(0, count);
  }
  async #readAbsent(offset: number, length: number): Promise<Uint8Array> {
    const { ranges, metrics, storage, disk } = this.#context;
    const bytes = await ranges.read(this.#cacheId, { offset, length, size: this.size }, async (range) => {
      metrics.rangeReads.inc();
      this.#rangeReads++;
      this.#rangeBytes += range.length;
      const chunk = await storage.get(this.objectKey, range);
      if (chunk === null) throw new LayerError('corrupt', `layer object ${this.objectKey} is not there`);
      return chunk;
    });
    // Whoever reads has what is needed by then: the whole is for those who come later.
    const isWanted = this.#rangeReads >= RANGES_FIRST || this.#rangeBytes >= this.size;
    if (isWanted && !this.#isLocal && disk.isWorthFetching(this, this.#rangeBytes))
      void this.#startDownload();
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
      .finally(() => (this.#downloading = null));
    return this.#downloading;
  }
  async #download(): Promise<void> {
    const { storage, metrics, failpoint, disk, ranges } = this.#context;
    const partial = `${this.path}.partial`;
    const file = await open(partial, 'w');
    try {
      for (let offset = 0; offset < this.size; offset += PIECE_BYTES) {
        await ranges.quiet();
        const range = { offset, length: Math.min(PIECE_BYTES, this.size - offset) };
        const bytes = await storage.get(this.objectKey, range);
        if (bytes === null) throw new LayerError('corrupt', `layer object ${this.objectKey} is not there`);
        await file.write(bytes);
        metrics.downloadedBytes.inc(bytes.length);
      }
    } catch (error) {
      await rm(partial, { force: true });
      throw error;
    } finally {
      await file.close();
    }
    await failpoint('download.before-rename');
    if (this.#isRetired) return rm(partial);
    await rename(partial, this.path);
    this.#isLocal = true;
    disk.add(this);
  }

  /** True when a damaged local file was dropped and the object can be read in its place. */
  async #forgetBadFile(error: unknown): Promise<boolean> {
    const isMissing = (error as NodeJS.ErrnoException).code === 'ENOENT';
    if (!(error instanceof LayerError || isMissing) || !this.#isLocal || !this.#isUploaded) return false;
    this.#context.onError(error, `local file of ${this.name}, dropped`);
    this.#isLocal = false;
    this.#context.disk.remove(this);
    this.close();
    await rm(this.path, { force: true });
    return true;
  }
}
