import { describe, expect, test } from 'vitest';
import { objectKey, refusal } from '../../../workers/egress/object-scope.ts';

const request = (method: string, path: string, headers: Record<string, string> = {}) => ({
  method,
  url: `http://storage.ebb.internal${path}`,
  headers: new Headers(headers),
});

describe('a pageserver reaches only its own layers', () => {
  test.each([
    ['GET', '/ebb/projects/p1/layers/a/b'],
    ['PUT', '/ebb/projects/p1/layers/a%20b?x-id=PutObject'],
    ['DELETE', '/ebb/projects/p1/layers/a'],
    ['POST', '/ebb/projects/p1/layers/a?uploads='],
    ['PUT', '/ebb/projects/p1/layers/a?partNumber=2&uploadId=u&x-id=UploadPart'],
    ['POST', '/ebb/projects/p1/layers/a?uploadId=u'],
    ['DELETE', '/ebb/projects/p1/layers/a?uploadId=u'],
    ['GET', '/ebb?list-type=2&prefix=projects%2Fp1%2Flayers%2F'],
    ['GET', '/ebb/?list-type=2&prefix=projects/p1/layers/t1/'],
  ])('%s %s', (method, path) => {
    expect(refusal(request(method, path), 'p1')).toBeNull();
  });

  test.each([
    ['GET', '/ebb/projects/p2/layers/a', 'key must begin'],
    ['GET', '/ebb/projects/p1/wal/a', 'key must begin'],
    ['GET', '/ebb/projects/p1/layersX/a', 'key must begin'],
    ['GET', '/ebb/projects/p1/layers/%2E%2E/%2e%2e/p2/layers/a', 'key must begin'],
    ['PUT', '/ebb/projects/p1/layers%2F..%2F..%2Fp2%2Flayers%2Fa', 'dot segment'],
    ['GET', '/other/projects/p1/layers/a', 'no such bucket'],
    ['GET', '/', 'no such bucket'],
    ['GET', '/ebb/%ff', 'no such bucket'],
    ['GET', '/ebb?list-type=2', 'list prefix'],
    ['GET', '/ebb?list-type=2&prefix=projects/p1', 'list prefix'],
    ['GET', '/ebb?versions', 'only ListObjectsV2'],
    ['POST', '/ebb?delete', 'only ListObjectsV2'],
    ['DELETE', '/ebb', 'only ListObjectsV2'],
    ['GET', '/ebb?uploads&prefix=projects/p1/layers/', 'only ListObjectsV2'],
    ['GET', '/ebb?list-type=2&prefix=projects/p1/layers/&prefix=projects/', 'one prefix'],
    ['GET', '/ebb?list-type=2&prefix=projects/p1/layers/&versions', 'versions'],
    ['POST', '/ebb/projects/p2/layers/a?uploads', 'key must begin'],
    ['PUT', '/ebb/projects/p2/layers/a?partNumber=1&uploadId=u', 'key must begin'],
    ['POST', '/ebb/projects/p2/layers/a?uploadId=u', 'key must begin'],
    ['POST', '/ebb/projects/p1/layers/a', 'not allowed'],
    ['POST', '/ebb/projects/p1/layers/a?restore', 'not allowed'],
    ['PUT', '/ebb/projects/p1/layers/a?acl', 'not allowed'],
    ['PUT', '/ebb/projects/p1/layers/a?partNumber=1', 'not allowed'],
    ['GET', '/ebb/projects/p1/layers/a?versionId=1', 'not allowed'],
    ['PATCH', '/ebb/projects/p1/layers/a', 'not allowed'],
  ])('%s %s is refused', (method, path, why) => {
    expect(refusal(request(method, path), 'p1')).toContain(why);
  });

  test('a copy is refused whatever it copies', () => {
    const copy = request('PUT', '/ebb/projects/p1/layers/a', {
      'x-amz-copy-source': '/ebb/projects/p2/layers/a',
    });
    expect(refusal(copy, 'p1')).toContain('copies');
  });

  test('keys are decoded once', () => {
    expect(objectKey('/ebb/a%2520b')).toBe('a%20b');
  });
});
