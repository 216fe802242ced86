/** Object storage in memory, for tests: with a hook before each operation, in which a test fails or delays it. */
import { StorageError, type ByteRange, type ObjectStorage } from './storage.ts';

export interface StorageOperation {
  name: 'put' | 'get' | 'list' | 'delete';
  key: string;
}

export class MemoryStorage implements ObjectStorage {
  readonly objects = new Map<string, Uint8Array>();
  /** Called before an operation takes effect; what it throws is the operation's failure. */
  before: ((operation: StorageOperation) => void | Promise<void>) | null = null;

  async put(key: string, bytes: Uint8Array): Promise<void> {
    const copy = bytes.slice();
    await this.before?.({ name: 'put', key });
    this.objects.set(key, copy);
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
}
