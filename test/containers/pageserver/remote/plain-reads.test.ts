/** Plain reads of object storage: a listing is understood or refused, and no answer is an error that can be retried. */
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
