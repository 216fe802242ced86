/**
 * S3 for a pageserver: the request is checked against the project's prefix, then signed with the account's key.
 *
 * The container speaks S3 (path style, bucket `ebb`) without any credentials worth having. Here every object key
 * and every list prefix must lie below `projects/{projectId}/layers/`; what could name a key elsewhere (copy
 * sources, bulk deletes, bucket operations) is refused. Uploads stream through.
 */
import { AwsClient } from 'aws4fetch';
import type { Env } from '../env.ts';
import { objectKey, refusal } from './object-scope.ts';

/** Request headers that mean something to S3 and cannot widen what the request reaches. */
const PASSED_HEADERS = [
  'content-type',
  'content-length',
  'content-md5',
  'range',
  'if-match',
  'if-none-match',
];

const denied = (message: string): Response =>
  new Response(`<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>${message}</Message></Error>`, {
    status: 403,
    headers: { 'content-type': 'application/xml' },
  });

/** Passes an S3 request of project `projectId`'s pageserver on, or answers 403 in S3's form. */
export async function objectStorage(request: Request, env: Env, projectId: string): Promise<Response> {
  const why = refusal(request, projectId);
  if (why !== null) return denied(why);
  const from = new URL(request.url);
  const key = objectKey(from.pathname)!;
  const path = key.split('/').map(encodeURIComponent).join('/');
  const target = new URL(`${env.S3_ENDPOINT}/${env.S3_BUCKET}${path === '' ? '' : `/${path}`}`);
  for (const [name, value] of from.searchParams) if (name !== 'x-id') target.searchParams.append(name, value);

  const headers = new Headers({ 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD' });
  for (const name of PASSED_HEADERS) {
    const value = request.headers.get(name);
    if (value !== null) headers.set(name, value);
  }
  const client = new AwsClient({
    accessKeyId: env.S3_ACCESS_KEY_ID,
    secretAccessKey: env.S3_SECRET_ACCESS_KEY,
    service: 's3',
    region: 'auto',
    retries: 0,
  });
  const body = request.method === 'GET' || request.method === 'HEAD' ? null : request.body;
  const signed = await client.sign(target, { method: request.method, headers });
  return fetch(signed.url, { method: request.method, headers: signed.headers, body });
}
