/**
 * The server's side of SCRAM-SHA-256 (src/backend/libpq/auth-scram.c), without channel binding.
 *
 * A successful client leaves more than a yes: its proof XORed with the signature is its ClientKey, with which
 * the proxy logs in to Postgres as the same role. With a mock secret the same work is done and the answer is
 * no, so that nobody learns from time or salt whether a role exists.
 */
import { fromBase64, toBase64 } from './base64.ts';
import { equalInConstantTime, hmac, KEY_BYTES, sha256, xor, type Bytes } from './keys.ts';
import { attribute, authMessage, bytesOf, checkExtensions, isNonce, ScramError, textOf } from './messages.ts';
import type { ScramSecret } from './secret.ts';

export const SCRAM_SHA_256 = 'SCRAM-SHA-256';
/** Random bytes behind a server nonce (SCRAM_RAW_NONCE_LEN). */
export const NONCE_BYTES = 18;

export interface ScramServerFirst {
  message: Bytes;
  /** To be given to `finish` with the client's next message. */
  exchange: ScramExchange;
}
export interface ScramExchange {
  secret: ScramSecret;
  clientFirstBare: string;
  serverFirst: string;
  nonce: string;
  /** What the client must repeat: its gs2 header in base64. */
  channelBinding: string;
}
export type ScramResult = { ok: true; clientKey: Bytes; message: Bytes } | { ok: false };

const CHANNEL_BINDING: Record<string, string> = { n: 'biws', y: 'eSws' };

/** Answers client-first. Throws ScramError. */
export function start(
  clientFirst: Uint8Array,
  secret: ScramSecret,
  randomNonce: Uint8Array,
): ScramServerFirst {
  const [flag = '', authorizationId, ...bareParts] = textOf(clientFirst).split(',');
  if (flag.startsWith('p='))
    throw new ScramError('malformed', 'channel binding data without SCRAM-SHA-256-PLUS');
  const channelBinding = CHANNEL_BINDING[flag];
  if (channelBinding === undefined) throw new ScramError('malformed', 'unexpected channel-binding flag');
  if (authorizationId?.startsWith('a'))
    throw new ScramError('unsupported', 'client uses authorization identity, but it is not supported');
  if (authorizationId !== '')
    throw new ScramError('malformed', 'unexpected attribute in client-first-message');
  if (bareParts[0]?.startsWith('m'))
    throw new ScramError('unsupported', 'client requires an unsupported SCRAM extension');
  attribute(bareParts[0], 'n');
  const clientNonce = attribute(bareParts[1], 'r');
  if (!isNonce(clientNonce)) throw new ScramError('malformed', 'non-printable characters in SCRAM nonce');
  checkExtensions(bareParts.slice(2));

  const nonce = clientNonce + toBase64(randomNonce);
  const serverFirst = `r=${nonce},s=${toBase64(secret.salt)},i=${secret.iterations}`;
  const exchange = { secret, clientFirstBare: bareParts.join(','), serverFirst, nonce, channelBinding };
  return { message: bytesOf(serverFirst), exchange };
}

/** Judges client-final. A wrong password is a result; a message that is none throws ScramError. */
export async function finish(exchange: ScramExchange, clientFinal: Uint8Array): Promise<ScramResult> {
  const parts = textOf(clientFinal).split(',');
  if (attribute(parts[0], 'c') !== exchange.channelBinding)
    throw new ScramError('malformed', 'unexpected SCRAM channel-binding attribute in client-final-message');
  const nonce = attribute(parts[1], 'r');
  const proof = fromBase64(attribute(parts.at(-1), 'p'));
  checkExtensions(parts.slice(2, -1));
  if (proof?.length !== KEY_BYTES)
    throw new ScramError('malformed', 'malformed proof in client-final-message');
  if (!equalInConstantTime(bytesOf(nonce), bytesOf(exchange.nonce)))
    throw new ScramError('malformed', 'invalid SCRAM response: nonce does not match');

  const { secret } = exchange;
  const signed = authMessage(exchange.clientFirstBare, exchange.serverFirst, parts.slice(0, -1).join(','));
  const [clientSignature, serverSignature] = await Promise.all([
    hmac(secret.storedKey, signed),
    hmac(secret.serverKey, signed),
  ]);
  const clientKey = xor(proof, clientSignature);
  const fits = equalInConstantTime(await sha256(clientKey), secret.storedKey);
  if (!fits || secret.mock) return { ok: false };
  return { ok: true, clientKey, message: bytesOf(`v=${toBase64(serverSignature)}`) };
}
