/**
 * The four messages of a SCRAM exchange (RFC 5802 section 7), and the one error that malformed ones raise.
 *
 *   client-first   n,,n=<user>,r=<client nonce>          gs2 header `n,,` or `y,,`; the user is ignored
 *   server-first   r=<client nonce><server nonce>,s=<salt>,i=<iterations>
 *   client-final   c=<gs2 header in base64>,r=<whole nonce>,p=<proof>
 *   server-final   v=<server signature>
 *
 * Texts here hold one character per byte, because signatures cover the messages' bytes and a user name need
 * not be UTF-8.
 */
import type { Bytes } from './keys.ts';

/** `malformed`: not a message of this exchange (08P01). `unsupported`: an extension nobody has (0A000). */
export type ScramErrorCode = 'malformed' | 'unsupported' | 'serverSignature';

export class ScramError extends Error {
  override readonly name = 'ScramError';
  readonly code: ScramErrorCode;
  constructor(code: ScramErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}

export function textOf(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
}
export const bytesOf = (text: string): Bytes => Uint8Array.from(text, (character) => character.charCodeAt(0));

/** Printable ASCII but the comma: what a nonce may be made of. */
export const isNonce = (text: string): boolean => /^[\x21-\x2b\x2d-\x7e]+$/.test(text);

/** The value of attribute `name` in one comma-separated part. Throws ScramError `malformed`. */
export function attribute(part: string | undefined, name: string): string {
  if (part === undefined || !part.startsWith(`${name}=`))
    throw new ScramError('malformed', `attribute "${name}" expected`);
  return part.slice(2);
}

/** Parts that only a later version of the protocol may understand are ignored, but must be attributes. */
export function checkExtensions(parts: readonly string[]): void {
  for (const part of parts)
    if (!/^[A-Za-z]=/.test(part)) throw new ScramError('malformed', 'attribute expected');
}

export const authMessage = (
  clientFirstBare: string,
  serverFirst: string,
  clientFinalWithoutProof: string,
): Bytes => bytesOf(`${clientFirstBare},${serverFirst},${clientFinalWithoutProof}`);
