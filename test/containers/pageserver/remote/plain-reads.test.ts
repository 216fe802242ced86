/** Plain reads of object storage: a listing is understood or refused, and no answer is an error that can be retried. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { MemoryStorage } from '../../../../containers/pageserver/remote/memory.ts';
import { parseListing, withPlainReads } from '../../../../containers/pageserver/remote/plain-reads.ts';

const contents = (key: string) => `<Contents><ETag>"e"</ETag><Key>${key}</Key><Size>1</Size></Contents>`;
const listing = (inner: string) =>
  `<?xml version="1.0"?><ListBucketResult xmlns="x"><Name>ebb</Name>${inner}</ListBucketResult>`;

test('keys, entities, and the next page', () => {
  expect(parseListing(listing(contents('a/b') + contents('c&amp;d&#x41;&#66;')))).toEqual({
    keys: ['a/b', 'c&dAB'],
    next: undefined,
  });
  const truncated = '<IsTruncated>true</IsTruncated><NextContinuationToken>t&lt;1</NextContinuationToken>';
  expect(parseListing(listing(contents('a') + truncated))).toEqual({ keys: ['a'], next: 't<1' });
  expect(parseListing(listing('<IsTruncated>true</IsTruncated>')), 'a page that is nowhere').toBeNull();
  expect(parseListing('<Error><Code>AccessDenied</Code></Error>')).toBeNull();
  expect(parseListing(listing(contents('a')).slice(0, -5)), 'cut short').toBeNull();
});

test('any text is a listing or is refused', () => {
  fc.assert(
    fc.property(fc.string(), fc.string(), (a, b) => {
      const found = parseListing(a) ?? parseListing(listing(a + contents('k') + b));
      expect(found === null || Array.isArray(found.keys)).toBe(true);
    }),
  );
});

test('no answer is unavailable, not a hang or a wrong answer', async () => {
  const reads = withPlainReads(new MemoryStorage(), { endpoint: 'http://127.0.0.1:9', bucket: 'ebb' });
  await expect(reads.get('a')).rejects.toMatchObject({ name: 'StorageError', code: 'unavailable' });
  await expect(reads.list('a')).rejects.toMatchObject({ name: 'StorageError', code: 'unavailable' });
});

test('an object with its tag, none, one that is cut short, and one that never ends', async () => {
  const server = createServer((request, response) => {
    if (request.url === '/ebb/a%20b/c') response.writeHead(200, { etag: '"e"' }).end('body');
    else if (request.url === '/ebb/short') {
      response.writeHead(200, { etag: '"e"', 'content-length': 10 });
      response.write('half', () => response.destroy());
    } else if (request.url === '/ebb/endless') response.writeHead(200, { 'content-length': 10 }).write('x');
    else response.writeHead(request.url === '/ebb/busy' ? 503 : 404).end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const reads = withPlainReads(new MemoryStorage(), {
    endpoint: `http://127.0.0.1:${port}`,
    bucket: 'ebb',
    requestTimeoutMs: 500,
  });
  try {
    const bytes = new TextEncoder().encode('body');
    expect(await reads.get('a b/c')).toEqual(bytes);
    expect(await reads.getTagged('a b/c')).toEqual({ bytes, tag: '"e"' });
    expect(await reads.get('none')).toBeNull();
    await expect(reads.get('busy')).rejects.toMatchObject({ code: 'throttled' });
    for (const key of ['short', 'endless'])
      await expect(reads.get(key), key).rejects.toMatchObject({ name: 'StorageError', code: 'unavailable' });
  } finally {
    server.closeAllConnections();
    server.close();
  }
});
