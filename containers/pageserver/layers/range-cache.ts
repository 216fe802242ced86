/**
 * Ranges of layer objects that are not on disk: read in chunks, since neighbours are read next, with one request for all who
 * want a chunk at once, and kept for a while within a bound that all layers share.
 */
import { LRUCache } from 'lru-cache';

/** What is read at once. */
export const CHUNK_BYTES = 256 << 10;

/** How long a download gives way at a time: where reads never cease it goes on all the same. */
const QUIET_MS_MAX = 50;

export class RangeCache {
  readonly #chunks: LRUCache<string, Promise<Uint8Array>>;
  /** Requests that somebody waits for. */
  #fetching = 0;
  #onQuiet: (() => void)[] = [];

  constructor(bytesMax: number) {
    this.#chunks = new LRUCache({ maxSize: bytesMax });
  }

  /** The bytes of an object of `size` bytes; `fetch` gets those of one chunk. `id` names the object. */
  async read(
    id: string,
    { offset, length, size }: { offset: number; length: number; size: number },
    fetch: (range: { offset: number; length: number }) => Promise<Uint8Array>,
  ): Promise<Uint8Array> {
    const first = Math.floor(offset / CHUNK_BYTES);
    const end = Math.ceil((offset + length) / CHUNK_BYTES);
    const chunks = await Promise.all(
      Array.from({ length: end - first }, (_, i) =>
        this.#chunk(`${id}/${first + i}`, first + i, size, fetch),
      ),
    );
    const from = offset - first * CHUNK_BYTES;
    if (chunks.length === 1) return chunks[0].subarray(from, from + length);
    return new Uint8Array(Buffer.concat(chunks).subarray(from, from + length));
  }

  /** Resolves when no range is being fetched, or after a while. */
  async quiet(): Promise<void> {
    if (this.#fetching === 0) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, QUIET_MS_MAX);
      this.#onQuiet.push(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  }

  #chunk(
    id: string,
    number: number,
    size: number,
    fetch: (range: { offset: number; length: number }) => Promise<Uint8Array>,
  ): Promise<Uint8Array> {
    const known = this.#chunks.get(id);
    if (known !== undefined) return known;
    const offset = number * CHUNK_BYTES;
    const length = Math.min(CHUNK_BYTES, size - offset);
    this.#fetching++;
    const fetched = fetch({ offset, length }).finally(() => {
      if (--this.#fetching === 0) for (const resolve of this.#onQuiet.splice(0)) resolve();
    });
    this.#chunks.set(id, fetched, { size: Math.max(1, length) });
    fetched.catch(() => this.#chunks.delete(id));
    return fetched;
  }
}
