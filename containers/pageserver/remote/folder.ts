/**
 * Object storage in a folder: an object is a file whose path is its key. A put writes beside the target and renames, so
 * that a reader, or whoever starts after a crash, sees whole objects only. Conditions hold within one process, which has the
 * folder for itself.
 */
import { createHash, randomUUID } from 'node:crypto';
import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { dirname, join, sep } from 'node:path';
import {
  StorageError,
  type ByteRange,
  type ObjectStorage,
  type PartsUpload,
  type PutCondition,
  type TaggedObject,
} from './storage.ts';

const PARTIAL = '.partial-';
const tagOf = (bytes: Uint8Array): string => `"${createHash('md5').update(bytes).digest('hex')}"`;

export class FolderStorage implements ObjectStorage {
  readonly #root: string;
  /** The last conditional put, after which the next one looks. */
  #conditional: Promise<unknown> = Promise.resolve();
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

  async put(key: string, bytes: Uint8Array, condition?: PutCondition): Promise<string> {
    const path = this.#path(key);
    if (condition === undefined) {
      await this.#write(path, key, [bytes]);
      return tagOf(bytes);
    }
    const put = this.#conditional.then(async () => {
      const found = (await this.getTagged(key))?.tag ?? null;
      const wanted = 'absent' in condition ? null : condition.tag;
      if (found !== wanted)
        throw new StorageError(
          'conflict',
          `put ${key}: ${found ?? 'nothing'} is there, not ${wanted ?? 'nothing'}`,
        );
      await this.#write(path, key, [bytes]);
    });
    this.#conditional = put.catch(() => undefined);
    await put;
    return tagOf(bytes);
  }

  async #write(
    path: string,
    key: string,
    chunks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
  ): Promise<void> {
    const partial = join(dirname(path), `${PARTIAL}${randomUUID()}`);
    try {
      await mkdir(dirname(path), { recursive: true });
      const file = await open(partial, 'wx');
      try {
        for await (const bytes of chunks) await file.writeFile(bytes);
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

  async beginParts(key: string): Promise<PartsUpload> {
    const path = this.#path(key);
    const folder = join(dirname(path), `${PARTIAL}${randomUUID()}`);
    await mkdir(folder, { recursive: true });
    const numbers = new Set<number>();
    const nameOf = (number: number): string => join(folder, String(number));
    return {
      put: async (number, bytes) => {
        await this.#write(nameOf(number), `part ${number} of ${key}`, [bytes]);
        numbers.add(number);
      },
      complete: async () => {
        async function* parts(): AsyncGenerator<Uint8Array> {
          for (const number of [...numbers].sort((a, b) => a - b)) yield await readFile(nameOf(number));
        }
        await this.#write(path, key, parts());
        await rm(folder, { recursive: true });
      },
      abort: () => rm(folder, { recursive: true, force: true }),
    };
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

  async getTagged(key: string): Promise<TaggedObject | null> {
    const bytes = await this.get(key);
    return bytes === null ? null : { bytes, tag: tagOf(bytes) };
  }

  async list(prefix: string): Promise<string[]> {
    const entries = await readdir(this.#root, { recursive: true, withFileTypes: true }).catch(
      (error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT') return [];
        throw new StorageError('unavailable', `list ${prefix}: ${error.message}`, error);
      },
    );
    return entries
      .filter((entry) => entry.isFile())
      .map((entry) =>
        join(entry.parentPath, entry.name)
          .slice(this.#root.length + 1)
          .replaceAll(sep, '/'),
      )
      .filter((key) => key.startsWith(prefix) && !key.includes(PARTIAL))
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
