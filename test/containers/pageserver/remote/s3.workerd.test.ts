/** The S3 implementation against the local R2's S3 endpoint, directly and through the handler that stands between in production. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { convertV4MiniflareOptions, Miniflare } from 'miniflare';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { withPlainReads } from '../../../../containers/pageserver/remote/plain-reads.ts';
import { S3Storage } from '../../../../containers/pageserver/remote/s3.ts';
import { bundleWorker } from '../../../../local/edge/bundle.ts';
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

describe('through the egress of a pageserver', () => {
  let egress: Miniflare;
  let url: string;
  beforeAll(async () => {
    const contents = await bundleWorker('test/workers/egress/fixture/storage-proxy.js');
    egress = new Miniflare(
      convertV4MiniflareOptions({
        modules: [{ type: 'ESModule', path: 'index.mjs', contents }],
        compatibilityDate: '2026-11-01',
        compatibilityFlags: ['nodejs_compat'],
        cf: false,
        bindings: {
          S3_ENDPOINT: endpoint,
          S3_BUCKET: 'ebb',
          S3_ACCESS_KEY_ID: credentials.accessKeyId,
          S3_SECRET_ACCESS_KEY: credentials.secretAccessKey,
        },
      }),
    );
    url = (await egress.ready).href.replace(/\/$/, '');
  });
  afterAll(() => egress.dispose());
  const through = () => new S3Storage({ endpoint: url, bucket: 'ebb' });
  const plain = () => withPlainReads(through(), { endpoint: url, bucket: 'ebb' });

  describe('S3 client', () => storageSuite(through, 'projects/p/layers/client/'));
  describe('plain reads', () => storageSuite(plain, 'projects/p/layers/plain/'));

  test('keys with characters of XML and of URLs', async () => {
    const root = 'projects/p/layers/odd/';
    const keys = ['a&b', 'c<d>', 'e f', 'g"h', 'ü'].map((name) => root + name).sort();
    for (const key of keys) await plain().put(key, new Uint8Array([keys.indexOf(key)]));
    expect(await plain().list(root)).toEqual(keys);
    for (const key of keys) expect(await plain().get(key)).toEqual(new Uint8Array([keys.indexOf(key)]));
    await plain().delete(keys);
  });

  test('another project’s key is refused, in parts and on conditions too', async () => {
    for (const key of ['projects/q/layers/a', 'projects/p/wal/a', 'a']) {
      await expect(plain().get(key)).rejects.toMatchObject({ code: 'refused' });
      await expect(through().put(key, new Uint8Array(1), { absent: true })).rejects.toMatchObject({
        code: 'refused',
      });
      await expect(through().beginParts(key)).rejects.toMatchObject({ code: 'refused' });
    }
    await expect(plain().list('projects/q/')).rejects.toMatchObject({ code: 'refused' });
  });
});

test('unsigned requests are refused', async () => {
  const unsigned = withPlainReads(storage(), { endpoint, bucket: 'ebb' });
  await expect(unsigned.get('a')).rejects.toMatchObject({ code: 'refused' });
  await expect(unsigned.list('a')).rejects.toMatchObject({ code: 'refused' });
});

describe('an endpoint that throttles or breaks', () => {
  test.each([
    [503, 'throttled'],
    [429, 'throttled'],
    [500, 'unavailable'],
    [403, 'refused'],
  ] as const)('%i is %s', async (status, code) => {
    const server = createServer((request, response) => {
      request.resume();
      response.writeHead(status, { 'content-type': 'application/xml' });
      response.end('<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>');
    }).listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    const broken = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const s3 = new S3Storage({ endpoint: broken, bucket: 'ebb' });
    await expect(s3.put('a', new Uint8Array(1))).rejects.toMatchObject({ code });
    await expect(s3.get('a')).rejects.toMatchObject({ code });
    const reads = withPlainReads(s3, { endpoint: broken, bucket: 'ebb' });
    await expect(reads.get('a')).rejects.toMatchObject({ code });
    server.close();
  });
});
