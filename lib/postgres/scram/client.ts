/**
 * The client's side of SCRAM-SHA-256 for one who holds not the password but the ClientKey, recovered from
 * another exchange (server.ts). Salt and iterations of the server do not matter then; its signature does: only
 * a server that holds the role's ServerKey can make it.
 */
import { fromBase64, toBase64 } from './base64.ts';
import { equalInConstantTime, hmac, sha256, xor, type Bytes } from './keys.ts';
import { attribute, authMessage, bytesOf, isNonce, ScramError, textOf } from './messages.ts';

export interface ScramCredentials {
  clientKey: Bytes;
  serverKey: Bytes;
}
export interface ScramClientFirst {
  message: Bytes;
  nonce: string;
}
export interface ScramClientFinal {
  message: Bytes;
  /** To be compared with server-final. */
  serverSignature: Bytes;
}

const GS2_HEADER = 'n,,';
const bareOf = (nonce: string): string => `n=,r=${nonce}`;

export function start(randomNonce: Uint8Array): ScramClientFirst {
  const nonce = toBase64(randomNonce);
  return { message: bytesOf(GS2_HEADER + bareOf(nonce)), nonce };
}

/** Answers server-first. Throws ScramError `malformed`. */
export async function answer(
  credentials: ScramCredentials,
  clientNonce: string,
  serverFirst: Uint8Array,
): Promise<ScramClientFinal> {
  const text = textOf(serverFirst);
  const [noncePart, saltPart, iterationsPart] = text.split(',');
  const nonce = attribute(noncePart, 'r');
  if (!isNonce(nonce) || !nonce.startsWith(clientNonce) || nonce.length === clientNonce.length)
    throw new ScramError('malformed', 'server nonce does not begin with ours');
  if (fromBase64(attribute(saltPart, 's')) === null) throw new ScramError('malformed', 'salt is not base64');
  if (!/^[1-9]\d*$/.test(attribute(iterationsPart, 'i')))
    throw new ScramError('malformed', 'iteration count is not a positive number');

  const withoutProof = `c=${btoa(GS2_HEADER)},r=${nonce}`;
  const signed = authMessage(bareOf(clientNonce), text, withoutProof);
  const storedKey = await sha256(credentials.clientKey);
  const [clientSignature, serverSignature] = await Promise.all([
    hmac(storedKey, signed),
    hmac(credentials.serverKey, signed),
  ]);
  const proof = toBase64(xor(credentials.clientKey, clientSignature));
  return { message: bytesOf(`${withoutProof},p=${proof}`), serverSignature };
}

/** Throws ScramError `serverSignature` when the server does not know the role's secret. */
export function verify(final: ScramClientFinal, serverFinal: Uint8Array): void {
  const [part = ''] = textOf(serverFinal).split(',');
  if (part.startsWith('e=')) throw new ScramError('serverSignature', `server refused: ${part.slice(2)}`);
  const signature = fromBase64(attribute(part, 'v'));
  if (signature === null || !equalInConstantTime(signature, final.serverSignature))
    throw new ScramError('serverSignature', 'the server did not prove that it knows the secret of the role');
}
