/**
 * The keys of SCRAM-SHA-256 (RFC 5802 section 3; src/common/scram-common.c) on WebCrypto.
 *
 *   SaltedPassword = PBKDF2(password, salt, iterations)
 *   ClientKey = HMAC(SaltedPassword, "Client Key")     ServerKey = HMAC(SaltedPassword, "Server Key")
 *   StoredKey = SHA-256(ClientKey)
 *
 * Whoever holds the ClientKey can log in; whoever holds StoredKey and ServerKey can only recognise one who can.
 */
import { saslprep } from './saslprep.ts';

export type Bytes = Uint8Array<ArrayBuffer>;

export const KEY_BYTES = 32;
const encoder = new TextEncoder();
export const ascii = (text: string): Bytes => new Uint8Array(encoder.encode(text));

/** A copy only where the bytes are not in an ArrayBuffer of their own kind, which WebCrypto's types demand. */
export const owned = (bytes: Uint8Array): Bytes => new Uint8Array(bytes);

export async function hmac(key: Bytes, data: Bytes): Promise<Bytes> {
  const hmacKey = await crypto.subtle.importKey('raw', key, { name: 'HMAC', hash: 'SHA-256' }, false, [
    'sign',
  ]);
  return new Uint8Array(await crypto.subtle.sign('HMAC', hmacKey, data));
}

export async function sha256(data: Bytes): Promise<Bytes> {
  return new Uint8Array(await crypto.subtle.digest('SHA-256', data));
}

/** Takes as long whether the first or the last byte differs. */
export function equalInConstantTime(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  let difference = 0;
  for (let i = 0; i < a.length; i++) difference |= a[i] ^ b[i];
  return difference === 0;
}

export function xor(a: Uint8Array, b: Uint8Array): Bytes {
  const result = new Uint8Array(a.length);
  for (let i = 0; i < a.length; i++) result[i] = a[i] ^ b[i];
  return result;
}

export interface SaltedPasswordInput {
  /** As the user typed it; SASLprep is applied here. */
  password: Uint8Array;
  salt: Uint8Array;
  iterations: number;
}

async function saltedPassword({ password, salt, iterations }: SaltedPasswordInput): Promise<Bytes> {
  const key = await crypto.subtle.importKey('raw', owned(saslprep(password)), 'PBKDF2', false, [
    'deriveBits',
  ]);
  const parameters = { name: 'PBKDF2', hash: 'SHA-256', salt: owned(salt), iterations };
  return new Uint8Array(await crypto.subtle.deriveBits(parameters, key, KEY_BYTES * 8));
}

export interface ScramKeys {
  clientKey: Bytes;
  storedKey: Bytes;
  serverKey: Bytes;
}

/** Costs `iterations` HMACs on purpose. */
export async function deriveKeys(input: SaltedPasswordInput): Promise<ScramKeys> {
  const salted = await saltedPassword(input);
  const [clientKey, serverKey] = await Promise.all([
    hmac(salted, ascii('Client Key')),
    hmac(salted, ascii('Server Key')),
  ]);
  return { clientKey, storedKey: await sha256(clientKey), serverKey };
}
