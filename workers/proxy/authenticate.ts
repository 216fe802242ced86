/**
 * Station 2, Authenticate: the client proves at the edge that it knows the role's password.
 *
 *   SCRAM-SHA-256        raw TCP. The password never arrives; its proof reveals the ClientKey.
 *   cleartext password   WebSocket, whose clients send it with the startup message (over TLS in production),
 *                        and clients that name their endpoint in the password.
 *
 * Either way the result is the ClientKey, which logs in to Postgres as the same role, and nothing is kept.
 */
import { NONCE_BYTES, SCRAM_SHA_256, finish, start } from '../../lib/postgres/scram/server.ts';
import {
  buildAuthentication,
  parsePasswordMessage,
  parseSaslInitialResponse,
} from '../../lib/postgres/wire/authentication.ts';
import { TAG } from '../../lib/postgres/wire/bytes.ts';
import { PASSWORD_BODY_BYTES_MAX, SASL_BODY_BYTES_MAX } from '../../lib/postgres/wire/framing.ts';
import type { Bytes, Handshake } from './connection.ts';
import { endpointMissing, endpointOfPassword, resolveEndpoint } from './endpoint-name.ts';
import type { ProxyEnv } from './env.ts';
import type { SessionRequest } from './handshake.ts';
import type { ProxyLimits } from './limits.ts';
import { passwordAuthenticationFailed, ProxyError } from './proxy-error.ts';
import { lookUpSecret, waitForGrid } from './secret-lookup.ts';
import { VerifiedPasswords } from './verified-passwords.ts';

/** What one who has authenticated may do: log in to this endpoint's Postgres as this role. */
export interface Identity {
  endpoint: string;
  role: string;
  clientKey: Bytes;
  serverKey: Bytes;
}

export interface Authentication {
  handshake: Handshake;
  request: SessionRequest;
  env: ProxyEnv;
  limits: ProxyLimits;
}

/**
 * Ends with AuthenticationOk sent. Throws ProxyError: `passwordAuthentication`, `endpointName`,
 * `protocolViolation`, `timeout`, `computeUnavailable`.
 */
export async function authenticate(
  authentication: Authentication,
  method: 'scram' | 'cleartext',
): Promise<Identity> {
  const endpoint = resolveEndpoint(authentication.request.names);
  if (method === 'scram' && endpoint !== null) return authenticateByScram(authentication, endpoint);
  // Without a name the password is the last place where one could stand, so it must be asked for as it is.
  return authenticateByPassword(authentication);
}

async function authenticateByScram(authentication: Authentication, endpoint: string): Promise<Identity> {
  const { handshake, request, env, limits } = authentication;
  const { role } = request;
  const startedAt = Date.now();
  const lookup = lookUpSecret(env, { endpoint, role }, limits);
  lookup.catch(() => undefined); // it is awaited below, unless the client fails first
  await handshake.send(buildAuthentication({ kind: 'sasl', mechanisms: [SCRAM_SHA_256] }));

  const initial = await handshake.messageOf(TAG.passwordMessage, SASL_BODY_BYTES_MAX);
  const { mechanism, data } = parseSaslInitialResponse(initial.body);
  if (mechanism !== SCRAM_SHA_256)
    throw new ProxyError('protocolViolation', 'client selected an invalid SASL authentication mechanism');
  const clientFirst = data ?? (await askForClientFirst(handshake));

  const secret = await lookup;
  await waitForGrid(startedAt, limits.challengeGridMs);
  const serverFirst = start(clientFirst, secret, crypto.getRandomValues(new Uint8Array(NONCE_BYTES)));
  await handshake.send(buildAuthentication({ kind: 'saslContinue', data: serverFirst.message }));

  const final = await handshake.messageOf(TAG.passwordMessage, SASL_BODY_BYTES_MAX);
  const result = await finish(serverFirst.exchange, final.body);
  if (!result.ok) {
    await waitForGrid(startedAt, limits.refusalGridMs);
    throw passwordAuthenticationFailed(role);
  }
  await handshake.send(
    joined(
      buildAuthentication({ kind: 'saslFinal', data: result.message }),
      buildAuthentication({ kind: 'ok' }),
    ),
  );
  return { endpoint, role, clientKey: result.clientKey, serverKey: secret.serverKey };
}

/** A client may leave its first SCRAM message for an empty challenge (auth-sasl.c). */
async function askForClientFirst(handshake: Handshake): Promise<Uint8Array> {
  await handshake.send(buildAuthentication({ kind: 'saslContinue', data: new Uint8Array(0) }));
  return (await handshake.messageOf(TAG.passwordMessage, SASL_BODY_BYTES_MAX)).body;
}

async function authenticateByPassword(authentication: Authentication): Promise<Identity> {
  const { handshake, request, env, limits } = authentication;
  const { role } = request;
  await handshake.send(buildAuthentication({ kind: 'cleartextPassword' }));
  const message = await handshake.messageOf(TAG.passwordMessage, PASSWORD_BODY_BYTES_MAX);
  const { endpoint: named, password } = endpointOfPassword(parsePasswordMessage(message.body));
  const endpoint = resolveEndpoint({ ...request.names, password: named });
  if (endpoint === null) throw endpointMissing();

  const identity = await verifyPassword(env, { endpoint, role, password }, limits);
  if (identity === null) throw passwordAuthenticationFailed(role);
  await handshake.send(buildAuthentication({ kind: 'ok' }));
  return identity;
}

export interface PasswordLogin {
  endpoint: string;
  role: string;
  password: Uint8Array;
}

const verified = new VerifiedPasswords();

/** null: wrong, or nobody has this name; after the same work and at the same moments. */
export async function verifyPassword(
  env: ProxyEnv,
  { endpoint, role, password }: PasswordLogin,
  limits: ProxyLimits,
): Promise<Identity | null> {
  const startedAt = Date.now();
  const secret = await lookUpSecret(env, { endpoint, role }, limits);
  const clientKey = await verified.clientKey(`${endpoint}\0${role}`, password, secret);
  if (clientKey !== null) return { endpoint, role, clientKey, serverKey: secret.serverKey };
  await waitForGrid(startedAt, limits.refusalGridMs);
  return null;
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(a.length + b.length);
  bytes.set(a);
  bytes.set(b, a.length);
  return bytes;
}
