/** The S3 implementation against the local R2's S3 endpoint. */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { AwsClient } from 'aws4fetch';
import { convertV4MiniflareOptions, Miniflare } from 'miniflare';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { withPlainReads } from '../../../../containers/pageserver/remote/plain-reads.ts';
import { S3Storage } from '../../../../containers/pageserver/remote/s3.ts';
import { storageSuite } from './suite.ts';

const credentials = { accessKeyId: 'local', secretAccessKey: 'localsecret' };
let miniflare: Miniflare;
let endpoint: string;
beforeAll(async () => {
  const worker = 'export default { fetch: () => new Response("no", { status: 404 }) };';
  miniflare = new Miniflare(
    convertV4MiniflareOptions({
      modules: [{ type: 'ESModule', path: 'index.mjs', contents: worker }],
      compatibilityDate: '2026-11-01',
      cf: false,
      r2Buckets: { BUCKET: { id: 'ebb', s3Credentials: credentials } },
    }),
  );
  endpoint = new URL('/cdn-cgi/local/r2/s3', await miniflare.ready).href;
});
afterAll(() => miniflare.dispose());

const storage = (secret = credentials.secretAccessKey) =>
  new S3Storage({ endpoint, bucket: 'ebb', ...credentials, secretAccessKey: secret });
describe('S3 client', () => storageSuite(storage));

test('wrong credentials are refused', async () => {
  await expect(storage('wrong').put('a', new Uint8Array(1))).rejects.toMatchObject({ code: 'refused' });
});

/** Signs what comes plain, as the handler behind the intercepted name does (workers/egress/). */
async function signer(): Promise<Server> {
  const client = new AwsClient({ ...credentials, service: 's3', region: 'auto', retries: 0 });
  const server = createServer((request, response) => {
    void (async () => {
      const { range } = request.headers;
      const answer = await client.fetch(endpoint + request.url!, {
        headers: { 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD', ...(range === undefined ? {} : { range }) },
      });
      response.writeHead(answer.status).end(Buffer.from(await answer.arrayBuffer()));
    })();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return server;
}

describe('plain reads', () => {
  let server: Server;
  let reads: string;
  beforeAll(async () => {
    server = await signer();
    reads = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  afterAll(() => void server.close());
  const plain = () => withPlainReads(storage(), { endpoint: reads, bucket: 'ebb' });
  storageSuite(plain);

  test('keys with characters of XML and of URLs', async () => {
    const keys = ['odd/a&b', 'odd/c<d>', 'odd/e f', 'odd/g"h', 'odd/ü'].sort();
    for (const key of keys) await plain().put(key, new Uint8Array([keys.indexOf(key)]));
    expect(await plain().list('odd/')).toEqual(keys);
    for (const key of keys) expect(await plain().get(key)).toEqual(new Uint8Array([keys.indexOf(key)]));
    await plain().delete(keys);
  });

  test('unsigned requests are refused', async () => {
    const unsigned = withPlainReads(storage(), { endpoint, bucket: 'ebb' });
    await expect(unsigned.get('a')).rejects.toMatchObject({ code: 'refused' });
    await expect(unsigned.list('a')).rejects.toMatchObject({ code: 'refused' });
  });
});
