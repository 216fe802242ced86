/**
 * The SCRAM secret as Postgres keeps it in pg_authid.rolpassword (src/backend/libpq/auth-scram.c):
 *
 *   SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>        salt and keys in base64
 *
 * It recognises who knows the password and does not let anyone log in. A role that does not exist gets a mock
 * secret, whose salt is always the same for the same name and which no password fits.
 */
import { fromBase64, toBase64 } from './base64.ts';
import { ascii, deriveKeys, equalInConstantTime, hmac, KEY_BYTES, type Bytes } from './keys.ts';

export const DEFAULT_ITERATIONS = 4096;
export const DEFAULT_SALT_BYTES = 16;
/** Postgres's own upper bound (scram_iterations) is INT_MAX; a secret beyond this would only burn our time. */
export const ITERATIONS_MAX = 1_000_000;

export interface ScramSecret {
  iterations: number;
  salt: Bytes;
  storedKey: Bytes;
  serverKey: Bytes;
  /** No password fits: it stands for a role that does not exist or may not log in. */
  mock: boolean;
}

const SECRET = /^SCRAM-SHA-256\$(\d{1,7}):([^$:]+)\$([^$:]+):([^$:]+)$/;

/** null: not a SCRAM-SHA-256 secret (an MD5 hash, for one). */
export function parseSecret(text: string): ScramSecret | null {
  const match = SECRET.exec(text);
  if (match === null) return null;
  const iterations = Number(match[1]);
  const [salt, storedKey, serverKey] = [match[2], match[3], match[4]].map(fromBase64);
  if (!salt || !storedKey || !serverKey) return null;
  if (iterations < 1 || iterations > ITERATIONS_MAX) return null;
  if (storedKey.length !== KEY_BYTES || serverKey.length !== KEY_BYTES) return null;
  return { iterations, salt, storedKey, serverKey, mock: false };
}

export const formatSecret = (secret: Omit<ScramSecret, 'mock'>): string =>
  `SCRAM-SHA-256$${secret.iterations}:${toBase64(secret.salt)}$${toBase64(secret.storedKey)}:${toBase64(secret.serverKey)}`;

export interface MakeSecretOptions {
  salt: Uint8Array;
  iterations?: number;
}

/** The text that Postgres would store for this password with this salt. */
export async function makeSecret(password: string, options: MakeSecretOptions): Promise<string> {
  const { salt, iterations = DEFAULT_ITERATIONS } = options;
  const { storedKey, serverKey } = await deriveKeys({ password: ascii(password), salt, iterations });
  return formatSecret({ iterations, salt: new Uint8Array(salt), storedKey, serverKey });
}

/**
 * A secret for a role that is not there (mock_scram_secret in auth-scram.c).
 * `mockSecret` is the installation's; `name` is all that the client named (endpoint and role).
 */
export async function makeMockSecret(mockSecret: string, name: string): Promise<ScramSecret> {
  const salt = (await hmac(ascii(mockSecret), ascii(name))).subarray(0, DEFAULT_SALT_BYTES);
  return {
    iterations: DEFAULT_ITERATIONS,
    salt,
    storedKey: new Uint8Array(KEY_BYTES),
    serverKey: new Uint8Array(KEY_BYTES),
    mock: true,
  };
}

/** The ClientKey that a password gives with the secret's salt, or null when the password is not the secret's. */
export async function clientKeyFromPassword(
  password: Uint8Array,
  secret: ScramSecret,
): Promise<Bytes | null> {
  const { salt, iterations } = secret;
  const { clientKey, storedKey } = await deriveKeys({ password, salt, iterations });
  const fits = equalInConstantTime(storedKey, secret.storedKey);
  return fits && !secret.mock ? clientKey : null;
}
