/**
 * Reads of object storage without a client: where the name is intercepted and the handler behind it signs
 * (workers/egress/), a GET is an HTTP GET. A pageserver that wakes reads first and writes much later, so the S3
 * client, which takes long to load, is loaded when the first reads are done.
 */
import {
  codeOfStatus,
  StorageError,
  type ByteRange,
  type ObjectStorage,
  type TaggedObject,
} from './storage.ts';

export interface PlainReadsOptions {
  /** `http://storage.ebb.internal`. */
  endpoint: string;
  bucket: string;
  requestTimeoutMs?: number;
}

/** `storage` for writes; its objects are read and listed by plain HTTP at `endpoint`. */
export function withPlainReads(storage: ObjectStorage, options: PlainReadsOptions): ObjectStorage {
  const bucket = `${options.endpoint}/${options.bucket}`;
  const timeoutMs = options.requestTimeoutMs ?? 60_000;

  /** Null for 404. The body is read within `what`, so that its failure is told like that of the request. */
  async function request<T>(
    what: string,
    url: string,
    read: (response: Response) => Promise<T>,
    headers: Record<string, string> = {},
  ): Promise<T | null> {
    let status: number;
    let text: string;
    try {
      const response = await fetch(url, { headers, signal: AbortSignal.timeout(timeoutMs) });
      if (response.ok) return await read(response);
      ({ status } = response);
      text = (await response.text()).slice(0, 200);
    } catch (error) {
      throw new StorageError('unavailable', `${what}: no answer: ${(error as Error).message}`, error);
    }
    if (status === 404) return null;
    throw new StorageError(codeOfStatus(status), `${what}: ${status} ${text}`);
  }

  async function get(key: string, range?: ByteRange): Promise<Uint8Array | null> {
    const headers: Record<string, string> =
      range === undefined ? {} : { range: `bytes=${range.offset}-${range.offset + range.length - 1}` };
    const bytes = await request(
      `get ${key}`,
      `${bucket}/${encodeKey(key)}`,
      async (response) => new Uint8Array(await response.arrayBuffer()),
      headers,
    );
    if (bytes !== null && range !== undefined && bytes.length !== range.length)
      throw new StorageError('malformed', `get ${key}: ${bytes.length} bytes instead of ${range.length}`);
    return bytes;
  }

  const getTagged = (key: string): Promise<TaggedObject | null> =>
    request(`get ${key}`, `${bucket}/${encodeKey(key)}`, async (response) => {
      const tag = response.headers.get('etag');
      if (tag === null) throw new Error('an answer without an ETag');
      return { bytes: new Uint8Array(await response.arrayBuffer()), tag };
    });

  async function list(prefix: string): Promise<string[]> {
    const keys: string[] = [];
    for (let token: string | undefined, first = true; first || token !== undefined; first = false) {
      const query = new URLSearchParams({ 'list-type': '2', prefix });
      if (token !== undefined) query.set('continuation-token', token);
      const text = await request(`list ${prefix}`, `${bucket}?${query.toString()}`, (response) =>
        response.text(),
      );
      if (text === null) throw new StorageError('refused', `list ${prefix}: no such bucket`);
      const found = parseListing(text);
      if (found === null)
        throw new StorageError('malformed', `list ${prefix}: no listing: ${text.slice(0, 200)}`);
      keys.push(...found.keys);
      token = found.next;
    }
    return keys.sort();
  }

  return {
    get,
    getTagged,
    list,
    put: (key, bytes, condition) => storage.put(key, bytes, condition),
    beginParts: (key) => storage.beginParts(key),
    delete: (keys) => storage.delete(keys),
  };
}

const encodeKey = (key: string): string => key.split('/').map(encodeURIComponent).join('/');

/** What a ListBucketResult says (S3 API, ListObjectsV2); null when the text is none. */
export function parseListing(text: string): { keys: string[]; next: string | undefined } | null {
  if (!/<ListBucketResult[\s>]/.test(text) || !text.includes('</ListBucketResult>')) return null;
  const keys = [...text.matchAll(/<Contents>[^]*?<Key>([^<]*)<\/Key>[^]*?<\/Contents>/g)];
  const isTruncated = /<IsTruncated>\s*true\s*<\/IsTruncated>/.test(text);
  const next = /<NextContinuationToken>([^<]*)<\/NextContinuationToken>/.exec(text)?.[1];
  if (isTruncated && next === undefined) return null;
  return {
    keys: keys.map((match) => unescapeXml(match[1])),
    next: isTruncated ? unescapeXml(next!) : undefined,
  };
}

const ENTITIES: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" };
const unescapeXml = (text: string): string =>
  text.replace(/&(?:#x([0-9a-fA-F]+)|#(\d+)|(\w+));/g, (whole, hex, decimal, name) => {
    if (hex !== undefined) return String.fromCodePoint(Number.parseInt(hex as string, 16));
    if (decimal !== undefined) return String.fromCodePoint(Number(decimal));
    return ENTITIES[name as string] ?? whole;
  });
