/**
 * Object storage in a folder: an object is a file whose path is its key. A put writes beside the target and renames, so
 * that a reader, or whoever starts after a crash, sees whole objects only.
 */
import { randomUUID } from 'node:crypto';
import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { dirname, join, sep } from 'node:path';
import { StorageError, type ByteRange, type ObjectStorage } from './storage.ts';

const PARTIAL = '.partial-';

export class FolderStorage implements ObjectStorage {
  readonly #root: string;
  constructor(root: string) {
    this.#root = root;
  }

  #path(key: string): string {
    if (
      key.split('/').some((part) => part === '' || part === '.' || part === '..' || part.startsWith(PARTIAL))
    )
      throw new StorageError('refused', `not a key: ${JSON.stringify(key)}`);
    return join(this.#root, ...key.split('/'));
  }

  async put(key: string, bytes: Uint8Array): Promise<void> {
    const path = this.#path(key);
    await mkdir(dirname(path), { recursive: true });
    const partial = join(dirname(path), `${PARTIAL}${randomUUID()}`);
    try {
      const file = await open(partial, 'wx');
      try {
        await file.writeFile(bytes);
        await file.datasync();
      } finally {
        await file.close();
      }
      await rename(partial, path);
    } catch (cause) {
      await rm(partial, { force: true });
      throw new StorageError('unavailable', `put ${key}: ${(cause as Error).message}`, cause);
    }
  }

  async get(key: string, range?: ByteRange): Promise<Uint8Array | null> {
    try {
      if (range === undefined) return await readFile(this.#path(key));
      return await readRange(this.#path(key), key, range);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
      if (error instanceof StorageError) throw error;
      throw new StorageError('unavailable', `get ${key}: ${(error as Error).message}`, error);
    }
  }

  async list(prefix: string): Promise<string[]> {
    const entries = await readdir(this.#root, { recursive: true, withFileTypes: true }).catch(
      (error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT') return [];
        throw new StorageError('unavailable', `list ${prefix}: ${error.message}`, error);
      },
    );
    return entries
      .filter((entry) => entry.isFile() && !entry.name.startsWith(PARTIAL))
      .map((entry) =>
        join(entry.parentPath, entry.name)
          .slice(this.#root.length + 1)
          .replaceAll(sep, '/'),
      )
      .filter((key) => key.startsWith(prefix))
      .sort();
  }

  async delete(keys: readonly string[]): Promise<void> {
    for (const key of keys) await rm(this.#path(key), { force: true });
  }
}

async function readRange(path: string, key: string, range: ByteRange): Promise<Uint8Array> {
  const file = await open(path);
  try {
    const bytes = new Uint8Array(range.length);
    const { bytesRead } = await file.read(bytes, 0, range.length, range.offset);
    if (bytesRead === range.length) return bytes;
    throw new StorageError(
      'malformed',
      `${key} has ${range.offset + bytesRead} bytes at most: range ${range.offset}+${range.length} expected`,
    );
  } finally {
    await file.close();
  }
}
