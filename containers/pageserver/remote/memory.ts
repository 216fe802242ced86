/** Object storage in memory, for tests: with a hook before each operation, in which a test fails or delays it. */
import { crc32c } from '../../../lib/postgres/crc32c.ts';
import {
  StorageError,
  type ByteRange,
  type ObjectStorage,
  type PartsUpload,
  type PutCondition,
  type TaggedObject,
} from './storage.ts';

export interface StorageOperation {
  name: 'put' | 'get' | 'list' | 'delete' | 'beginParts' | 'putPart' | 'completeParts' | 'abortParts';
  key: string;
}

const tagOf = (bytes: Uint8Array): string => `"${bytes.length}-${crc32c(bytes).toString(16)}"`;

export class MemoryStorage implements ObjectStorage {
  readonly objects = new Map<string, Uint8Array>();
  /** Uploads that were neither completed nor aborted. */
  unfinished = 0;
  /** Called before an operation takes effect; what it throws is the operation's failure. */
  before: ((operation: StorageOperation) => void | Promise<void>) | null = null;

  async put(key: string, bytes: Uint8Array, condition?: PutCondition): Promise<string> {
    const copy = bytes.slice();
    await this.before?.({ name: 'put', key });
    if (condition !== undefined) this.#check(key, condition);
    this.objects.set(key, copy);
    return tagOf(copy);
  }
  #check(key: string, condition: PutCondition): void {
    const found = this.objects.get(key);
    const tag = found === undefined ? null : tagOf(found);
    const wanted = 'absent' in condition ? null : condition.tag;
    if (tag !== wanted)
      throw new StorageError(
        'conflict',
        `put ${key}: ${tag ?? 'nothing'} is there, not ${wanted ?? 'nothing'}`,
      );
  }

  async get(key: string, range?: ByteRange): Promise<Uint8Array | null> {
    await this.before?.({ name: 'get', key });
    const object = this.objects.get(key);
    if (object === undefined) return null;
    if (range === undefined) return object.slice();
    const bytes = object.slice(range.offset, range.offset + range.length);
    if (bytes.length !== range.length)
      throw new StorageError(
        'malformed',
        `${key} has ${object.length} bytes: range ${range.offset}+${range.length} expected`,
      );
    return bytes;
  }
  async getTagged(key: string): Promise<TaggedObject | null> {
    const bytes = await this.get(key);
    return bytes === null ? null : { bytes, tag: tagOf(bytes) };
  }

  async list(prefix: string): Promise<string[]> {
    await this.before?.({ name: 'list', key: prefix });
    return [...this.objects.keys()].filter((key) => key.startsWith(prefix)).sort();
  }

  async delete(keys: readonly string[]): Promise<void> {
    for (const key of keys) {
      await this.before?.({ name: 'delete', key });
      this.objects.delete(key);
    }
  }

  async beginParts(key: string): Promise<PartsUpload> {
    await this.before?.({ name: 'beginParts', key });
    const parts = new Map<number, Uint8Array>();
    this.unfinished++;
    return {
      put: async (number, bytes) => {
        const copy = bytes.slice();
        await this.before?.({ name: 'putPart', key });
        parts.set(number, copy);
      },
      complete: async () => {
        await this.before?.({ name: 'completeParts', key });
        const ordered = [...parts].sort(([a], [b]) => a - b).map(([, bytes]) => bytes);
        this.objects.set(key, new Uint8Array(Buffer.concat(ordered)));
        this.unfinished--;
      },
      abort: async () => {
        await this.before?.({ name: 'abortParts', key });
        this.unfinished--;
      },
    };
  }
}
