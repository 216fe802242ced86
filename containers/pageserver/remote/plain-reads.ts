/**
 * Reads of object storage without a client: where the name is intercepted and the handler behind it signs
 * (workers/egress/), a GET is an HTTP GET. A pageserver that wakes reads first and writes much later, so the S3
 * client, which takes long to load, is loaded when the first reads are done. By node:http, because the global fetch
 * takes as long to load as the rest of the start.
 */
import { request as httpRequest } from 'node:http';
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

  /** Null for 404. */
  async function request(
    what: string,
    url: string,
    headers: Record<string, string> = {},
  ): Promise<Answer | null> {
    let answer: Answer;
    try {
      answer = await httpGet(url, headers, timeoutMs);
    } catch (error) {
      throw new StorageError('unavailable', `${what}: no answer: ${(error as Error).message}`, error);
    }
    const { status, body } = answer;
    if (status >= 200 && status < 300) return answer;
    if (status === 404) return null;
    throw new StorageError(codeOfStatus(status), `${what}: ${status} ${asText(body).slice(0, 200)}`);
  }

  async function get(key: string, range?: ByteRange): Promise<Uint8Array | null> {
    const headers: Record<string, string> =
      range === undefined ? {} : { range: `bytes=${range.offset}-${range.offset + range.length - 1}` };
    const answer = await request(`get ${key}`, `${bucket}/${encodeKey(key)}`, headers);
    if (answer === null) return null;
    const bytes = answer.body;
    if (range !== undefined && bytes.length !== range.length)
      throw new StorageError('malformed', `get ${key}: ${bytes.length} bytes instead of ${range.length}`);
    return bytes;
  }

  async function getTagged(key: string): Promise<TaggedObject | null> {
    const answer = await request(`get ${key}`, `${bucket}/${encodeKey(key)}`);
    if (answer === null) return null;
    if (answer.tag === undefined)
      throw new StorageError('unavailable', `get ${key}: an answer without an ETag`);
    return { bytes: answer.body, tag: answer.tag };
  }

  async function list(prefix: string): Promise<string[]> {
    const keys: string[] = [];
    for (let token: string | undefined, first = true; first || token !== undefined; first = false) {
      const query = new URLSearchParams({ 'list-type': '2', prefix });
      if (token !== undefined) query.set('continuation-token', token);
      const answer = await request(`list ${prefix}`, `${bucket}?${query.toString()}`);
      if (answer === null) throw new StorageError('refused', `list ${prefix}: no such bucket`);
      const text = asText(answer.body);
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

interface Answer {
  status: number;
  /** The ETag. */
  tag: string | undefined;
  body: Uint8Array;
}

const asText = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

/** Rejects when there is no whole answer within `timeoutMs`. */
function httpGet(url: string, headers: Record<string, string>, timeoutMs: number): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = httpRequest(url, { headers }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.once('error', reject); // cut short
      response.once('end', () => {
        // A copy of its own: small bodies lie in a buffer that Node shares.
        const body = new Uint8Array(Buffer.concat(chunks));
        resolve({ status: response.statusCode ?? 0, tag: response.headers.etag, body });
      });
    });
    const timer = setTimeout(
      () => request.destroy(new Error(`no whole answer within ${timeoutMs} ms`)),
      timeoutMs,
    );
    request.once('error', reject);
    request.once('close', () => clearTimeout(timer));
    request.end();
  });
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
