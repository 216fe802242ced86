/**
 * Object storage by S3: Cloudflare R2, through the name that the container's Durable Object intercepts.
 *
 * The container holds no credentials: its client signs with a fixed pair that means nothing, and the handler
 * behind the name checks that the key is this project's and signs again (workers/egress/). Requests go by fetch,
 * because that is what honours the proxy that stands for the interception on one machine.
 * The client is loaded with the first request: that takes as long as all else that a pageserver does to start.
 */
import type * as Sdk from '@aws-sdk/client-s3';
import {
  codeOfStatus,
  StorageError,
  type ByteRange,
  type ObjectStorage,
  type PartsUpload,
  type PutCondition,
  type TaggedObject,
} from './storage.ts';

export interface S3Options {
  /** `http://storage.ebb.internal`, or an endpoint with a path. */
  endpoint: string;
  bucket: string;
  accessKeyId?: string;
  secretAccessKey?: string;
  requestTimeoutMs?: number;
}

export class S3Storage implements ObjectStorage {
  readonly #options: S3Options;
  readonly #bucket: string;
  #loading: Promise<Loaded> | null = null;

  constructor(options: S3Options) {
    this.#options = options;
    this.#bucket = options.bucket;
  }

  #load(): Promise<Loaded> {
    return (this.#loading ??= loadClient(this.#options));
  }

  async put(key: string, bytes: Uint8Array, condition?: PutCondition): Promise<string> {
    const answer = await this.#attempt('put', key, ({ sdk, client }) =>
      client.send(
        new sdk.PutObjectCommand({
          Bucket: this.#bucket,
          Key: key,
          Body: bytes,
          ContentLength: bytes.length,
          ...conditionHeaders(condition),
        }),
      ),
    );
    return this.#tag(key, answer.ETag);
  }

  async get(key: string, range?: ByteRange): Promise<Uint8Array | null> {
    const bytes = (await this.#get(key, range))?.bytes ?? null;
    if (bytes !== null && range !== undefined && bytes.length !== range.length)
      throw new StorageError('malformed', `get ${key}: ${bytes.length} bytes instead of ${range.length}`);
    return bytes;
  }
  async getTagged(key: string): Promise<TaggedObject | null> {
    const found = await this.#get(key);
    return found === null ? null : { bytes: found.bytes, tag: this.#tag(key, found.tag) };
  }
  #get(key: string, range?: ByteRange): Promise<{ bytes: Uint8Array; tag: string | undefined } | null> {
    return this.#attempt('get', key, async ({ sdk, client }) => {
      const Range = range && `bytes=${range.offset}-${range.offset + range.length - 1}`;
      try {
        const answer = await client.send(
          new sdk.GetObjectCommand({
            Bucket: this.#bucket,
            Key: key,
            ...(Range === undefined ? {} : { Range }),
          }),
        );
        return { bytes: await answer.Body!.transformToByteArray(), tag: answer.ETag };
      } catch (error) {
        if (error instanceof sdk.S3ServiceException && error.$metadata.httpStatusCode === 404) return null;
        throw error;
      }
    });
  }
  #tag(key: string, tag: string | undefined): string {
    if (tag === undefined) throw new StorageError('malformed', `${key}: an answer without an ETag`);
    return tag;
  }

  async list(prefix: string): Promise<string[]> {
    const keys: string[] = [];
    let token: string | undefined;
    do {
      const answer = await this.#attempt('list', prefix, ({ sdk, client }) =>
        client.send(
          new sdk.ListObjectsV2Command({
            Bucket: this.#bucket,
            Prefix: prefix,
            ...(token === undefined ? {} : { ContinuationToken: token }),
          }),
        ),
      );
      for (const object of answer.Contents ?? []) keys.push(object.Key!);
      token = answer.IsTruncated ? answer.NextContinuationToken : undefined;
    } while (token !== undefined);
    return keys.sort();
  }

  /** One by one: the handler behind the name lets no bulk delete through, since its keys are in the body. */
  async delete(keys: readonly string[]): Promise<void> {
    for (const key of keys)
      await this.#attempt('delete', key, ({ sdk, client }) =>
        client.send(new sdk.DeleteObjectCommand({ Bucket: this.#bucket, Key: key })),
      );
  }

  async beginParts(key: string): Promise<PartsUpload> {
    const target = { Bucket: this.#bucket, Key: key };
    const { UploadId } = await this.#attempt('begin upload of', key, ({ sdk, client }) =>
      client.send(new sdk.CreateMultipartUploadCommand(target)),
    );
    if (UploadId === undefined) throw new StorageError('malformed', `${key}: an upload without an id`);
    const upload = { ...target, UploadId };
    const parts = new Map<number, string>();
    return {
      put: async (PartNumber, bytes) => {
        const answer = await this.#attempt(`put part ${PartNumber} of`, key, ({ sdk, client }) =>
          client.send(
            new sdk.UploadPartCommand({ ...upload, PartNumber, Body: bytes, ContentLength: bytes.length }),
          ),
        );
        parts.set(PartNumber, this.#tag(key, answer.ETag));
      },
      complete: async () => {
        const Parts = [...parts]
          .map(([PartNumber, ETag]) => ({ PartNumber, ETag }))
          .sort((a, b) => a.PartNumber - b.PartNumber);
        await this.#attempt('complete upload of', key, ({ sdk, client }) =>
          client.send(new sdk.CompleteMultipartUploadCommand({ ...upload, MultipartUpload: { Parts } })),
        );
      },
      abort: async () => {
        await this.#attempt('abort upload of', key, ({ sdk, client }) =>
          client.send(new sdk.AbortMultipartUploadCommand(upload)),
        );
      },
    };
  }

  async #attempt<T>(what: string, key: string, request: (loaded: Loaded) => Promise<T>): Promise<T> {
    const loaded = await this.#load();
    try {
      return await request(loaded);
    } catch (error) {
      const status =
        error instanceof loaded.sdk.S3ServiceException ? error.$metadata.httpStatusCode : undefined;
      const message = `${what} ${key}: ${status ?? 'no answer'} ${(error as Error).name}: ${(error as Error).message}`;
      throw new StorageError(codeOfStatus(status), message, error);
    }
  }
}

function conditionHeaders(condition: PutCondition | undefined) {
  if (condition === undefined) return {};
  return 'absent' in condition ? { IfNoneMatch: '*' } : { IfMatch: condition.tag };
}

interface Loaded {
  sdk: typeof Sdk;
  client: Sdk.S3Client;
}

async function loadClient(options: S3Options): Promise<Loaded> {
  const [sdk, { FetchHttpHandler }] = await Promise.all([
    import('@aws-sdk/client-s3'),
    import('@smithy/fetch-http-handler'),
  ]);
  const client = new sdk.S3Client({
    endpoint: options.endpoint,
    region: 'auto',
    forcePathStyle: true,
    credentials: {
      accessKeyId: options.accessKeyId ?? 'ebb',
      secretAccessKey: options.secretAccessKey ?? 'ebb',
    },
    maxAttempts: 1, // retry.ts retries
    expectContinueHeader: false, // fetch refuses it, and an object of 2 MB with it
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    requestHandler: new FetchHttpHandler({ requestTimeout: options.requestTimeoutMs ?? 60_000 }),
  });
  return { sdk, client };
}
