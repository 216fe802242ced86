/**
 * The authentication messages of both sides (src/backend/libpq/auth.c, auth-sasl.c).
 *
 *   server  R, u32 kind    0 Ok · 3 CleartextPassword · 5 MD5Password (salt) · 10 SASL (mechanisms)
 *                          11 SASLContinue (data) · 12 SASLFinal (data)
 *   client  p              password\0 | mechanism\0 i32 length (-1: no response) data | data
 */
import { TAG, WireError, WireReader, WireWriter } from './bytes.ts';

export type AuthenticationRequest =
  | { kind: 'ok' }
  | { kind: 'cleartextPassword' }
  | { kind: 'sasl'; mechanisms: string[] }
  | { kind: 'saslContinue'; data: Uint8Array }
  | { kind: 'saslFinal'; data: Uint8Array }
  /** A method that Ebb does not use (MD5, GSS, SSPI …), by its number. */
  | { kind: 'other'; method: number };

const METHOD = { ok: 0, cleartextPassword: 3, sasl: 10, saslContinue: 11, saslFinal: 12 } as const;

export function buildAuthentication(request: Exclude<AuthenticationRequest, { kind: 'other' }>): Uint8Array {
  const writer = new WireWriter().u32(METHOD[request.kind]);
  if (request.kind === 'sasl') {
    for (const mechanism of request.mechanisms) writer.cstring(mechanism);
    writer.u8(0);
  } else if (request.kind === 'saslContinue' || request.kind === 'saslFinal') {
    writer.bytes(request.data);
  }
  return writer.message(TAG.authentication);
}

/** Body of an `R` message. Throws WireError. */
export function parseAuthentication(body: Uint8Array): AuthenticationRequest {
  const reader = new WireReader(body, 'authentication request');
  const method = reader.u32();
  switch (method) {
    case METHOD.ok:
      reader.end();
      return { kind: 'ok' };
    case METHOD.cleartextPassword:
      reader.end();
      return { kind: 'cleartextPassword' };
    case METHOD.sasl: {
      const mechanisms: string[] = [];
      for (let name = reader.cstring(); name !== ''; name = reader.cstring()) mechanisms.push(name);
      reader.end();
      return { kind: 'sasl', mechanisms };
    }
    case METHOD.saslContinue:
      return { kind: 'saslContinue', data: reader.rest() };
    case METHOD.saslFinal:
      return { kind: 'saslFinal', data: reader.rest() };
    default:
      return { kind: 'other', method };
  }
}

export interface SaslInitialResponse {
  mechanism: string;
  /** null: the client leaves its first data for the next message. */
  data: Uint8Array | null;
}

/** Body of the first `p` message after AuthenticationSASL. Throws WireError. */
export function parseSaslInitialResponse(body: Uint8Array): SaslInitialResponse {
  const reader = new WireReader(body, 'SASLInitialResponse');
  const mechanism = reader.cstring();
  const length = reader.i32();
  if (length === -1) {
    reader.end();
    return { mechanism, data: null };
  }
  if (length < 0) throw new WireError('length', `SASLInitialResponse: data of ${length} bytes`);
  const data = reader.take(length);
  reader.end();
  return { mechanism, data };
}

export const buildSaslInitialResponse = (mechanism: string, data: Uint8Array): Uint8Array =>
  new WireWriter().cstring(mechanism).u32(data.length).bytes(data).message(TAG.passwordMessage);

export const buildSaslResponse = (data: Uint8Array): Uint8Array =>
  new WireWriter().bytes(data).message(TAG.passwordMessage);

/** Body of a `p` message after AuthenticationCleartextPassword; raw, as its encoding is not known yet. */
export function parsePasswordMessage(body: Uint8Array): Uint8Array {
  const reader = new WireReader(body, 'password message');
  const password = reader.cstringBytes();
  reader.end();
  return password;
}

export const buildPasswordMessage = (password: Uint8Array): Uint8Array =>
  new WireWriter().cstringBytes(password).message(TAG.passwordMessage);
