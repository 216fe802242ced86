/** The S3 implementation against the local R2's S3 endpoint. */
import { convertV4MiniflareOptions, Miniflare } from 'miniflare';
import { afterAll, beforeAll, expect, test } from 'vitest';
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
storageSuite(storage);

test('wrong credentials are refused', async () => {
  await expect(storage('wrong').put('a', new Uint8Array(1))).rejects.toMatchObject({ code: 'refused' });
});
