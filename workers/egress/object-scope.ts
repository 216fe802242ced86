/**
 * Which S3 requests a project's pageserver may make: objects and ranges, puts whole or in parts, deletes, and a listing; each
 * by its exact form, with every key below the project's own prefix. An upload in parts belongs to the key it was begun
 * for: S3 knows no other by its id.
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

/** The parameters that make an object request, by method: each set is one form of request. */
const OBJECT_FORMS: Readonly<Record<string, readonly (readonly string[])[]>> = {
  GET: [[]],
  HEAD: [[]],
  PUT: [[], ['partNumber', 'uploadId']],
  POST: [['uploads'], ['uploadId']],
  DELETE: [[], ['uploadId']],
};
const LIST_PARAMETERS: ReadonlySet<string> = new Set([
  'list-type',
  'prefix',
  'continuation-token',
  'start-after',
  'max-keys',
  'encoding-type',
]);
/** Names the operation for logs; S3 does not read it. */
const IGNORED_PARAMETER = 'x-id';

function isObjectForm(method: string, parameters: URLSearchParams): boolean {
  const names = [...parameters.keys()].filter((name) => name !== IGNORED_PARAMETER).sort();
  const forms = OBJECT_FORMS[method] ?? [];
  return forms.some((form) => form.length === names.length && form.every((name, at) => name === names[at]));
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
    for (const name of url.searchParams.keys())
      if (!LIST_PARAMETERS.has(name) && name !== IGNORED_PARAMETER) return `parameter ${name} is not allowed`;
    if (url.searchParams.getAll('prefix').length > 1) return 'one prefix is allowed';
    return listed.startsWith(prefix) ? null : `list prefix must begin with ${prefix}`;
  }
  if (!isObjectForm(request.method, url.searchParams))
    return `${request.method} with ${url.search || 'no parameters'} is not allowed`;
  return key.startsWith(prefix) ? null : `key must begin with ${prefix}`;
}
