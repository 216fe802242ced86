/**
 * Which S3 requests a project's pageserver may make: those whose every key lies below its own prefix.
 */
const BUCKET_OF_CONTAINERS = 'ebb';

/** The key of an object request, '' for a request on the bucket, null for one that is not in the bucket. */
export function objectKey(pathname: string): string | null {
  const match = /^\/([^/]+)(?:\/(.*))?$/s.exec(pathname);
  if (!match || match[1] !== BUCKET_OF_CONTAINERS) return null;
  try {
    return decodeURIComponent(match[2] ?? '');
  } catch {
    return null;
  }
}

/** Why a request must not be passed on, or null. */
export function refusal(
  request: { method: string; url: string; headers: Headers },
  projectId: string,
): string | null {
  const url = new URL(request.url);
  const prefix = `projects/${projectId}/layers/`;
  const key = objectKey(url.pathname);
  if (key === null) return 'no such bucket';
  if (key.split('/').some((part) => part === '..' || part === '.')) return 'key with a dot segment';
  if (request.headers.has('x-amz-copy-source')) return 'copies are not allowed';
  if (key === '') {
    const listed = url.searchParams.get('prefix') ?? '';
    if (request.method !== 'GET' || url.searchParams.get('list-type') !== '2')
      return 'only ListObjectsV2 is allowed';
    return listed.startsWith(prefix) ? null : `list prefix must begin with ${prefix}`;
  }
  return key.startsWith(prefix) ? null : `key must begin with ${prefix}`;
}
