/**
 * Station 3, Wake, and the way to Postgres: a running compute, a socket to it, and a login as the client's role.
 *
 *   wake() ─► connect() ─► StartupMessage ─► SCRAM with the ClientKey ─► ParameterStatus …, ReadyForQuery
 *
 * All of it is one attempt, repeated with backoff while failures are transient: a compute may be suspended or
 * crash between any two arrows. What Postgres itself refuses (no such database, too many connections) is its
 * answer to the client, passed on as it is. The client gets a cancel key of ours in place of Postgres's.
 */
import { answer, start, verify, type ScramClientFinal } from '../../lib/postgres/scram/client.ts';
import { ScramError } from '../../lib/postgres/scram/messages.ts';
import { NONCE_BYTES, SCRAM_SHA_256 } from '../../lib/postgres/scram/server.ts';
import {
  buildSaslInitialResponse,
  buildSaslResponse,
  parseAuthentication,
} from '../../lib/postgres/wire/authentication.ts';
import { TAG, WireError } from '../../lib/postgres/wire/bytes.ts';
import { parseErrorFields } from '../../lib/postgres/wire/error-response.ts';
import { BACKEND_STARTUP_BODY_BYTES_MAX } from '../../lib/postgres/wire/framing.ts';
import { buildBackendKeyData, parseBackendKeyData } from '../../lib/postgres/wire/session.ts';
import { buildStartupMessage } from '../../lib/postgres/wire/startup.ts';
import type { CancelKey } from '../../durable-objects/contracts.ts';
import type { Identity } from './authenticate.ts';
import { Deadline, Handshake, PeerGone, type BackendConnection } from './connection.ts';
import type { ComputeStub, ProxyEnv } from './env.ts';
import type { SessionRequest } from './handshake.ts';
import type { ProxyLimits } from './limits.ts';
import { AttemptFailed, isTransient, retryTransient } from './retry.ts';
import { reach, wakeReached, withTravelNotice } from './time-travel.ts';
import { SocketConnection } from './socket-connection.ts';

export type BackendResult =
  | {
      kind: 'ready';
      stub: ComputeStub;
      connection: BackendConnection;
      /** From the first ParameterStatus on, with our key; may go on beyond ReadyForQuery. */
      greeting: Uint8Array;
      cancelKey: CancelKey;
    }
  /** Postgres's own ErrorResponse, whole. */
  | { kind: 'refused'; error: Uint8Array };

/** SQLSTATE cannot_connect_now: Postgres is starting or stopping. */
const CANNOT_CONNECT_NOW = '57P03';

/** Throws ProxyError `computeUnavailable` when no attempt succeeded in `limits.wakeMs`. */
export function openBackend(
  env: ProxyEnv,
  identity: Identity,
  request: SessionRequest,
  limits: ProxyLimits,
): Promise<BackendResult> {
  const deadline = new Deadline(
    limits.wakeMs,
    () => new AttemptFailed(`not ready after ${limits.wakeMs / 1000} s`, { retryable: false }),
  );
  const attempt = async (): Promise<BackendResult> => {
    const reached = await deadline.race(reach(env, identity.endpoint, request.point));
    const { stub } = reached;
    await deadline.race(wakeReached(reached));
    const connection = new SocketConnection(stub.connect(`${identity.endpoint}.ebb.internal:5432`));
    try {
      const handshake = new Handshake(connection, deadline);
      await handshake.send(buildStartupMessage(request.minor, request.parameters));
      const result = await logIn({ stub, connection, handshake, identity });
      if (result.kind === 'ready' && reached.lsn !== null)
        result.greeting = withTravelNotice(result.greeting, reached.lsn);
      if (result.kind === 'refused') await connection.close();
      return result;
    } catch (error) {
      await connection.close();
      throw asAttemptFailure(error);
    }
  };
  return retryTransient(attempt, limits).finally(() => deadline.clear());
}

/** Throws AttemptFailed. */
export async function wake(stub: ComputeStub): Promise<void> {
  const result = await stub.wake();
  if (!result.ok) throw new AttemptFailed(result.message, { retryable: result.retryable });
}

function asAttemptFailure(error: unknown): AttemptFailed {
  if (error instanceof AttemptFailed) return error;
  const foreign = error instanceof WireError || error instanceof ScramError;
  if (foreign) return new AttemptFailed(`its Postgres: ${error.message}`, { retryable: false, cause: error });
  // The client has not run anything yet, so another attempt repeats nothing.
  if (error instanceof PeerGone) return new AttemptFailed(error.message, { retryable: true, cause: error });
  return new AttemptFailed('its coordinator did not answer', { retryable: isTransient(error), cause: error });
}

interface Login {
  stub: ComputeStub;
  connection: BackendConnection;
  handshake: Handshake;
  identity: Identity;
}

async function logIn(login: Login): Promise<BackendResult> {
  const refused = await authenticateToPostgres(login);
  if (refused !== null) return refused;
  return collectGreeting(login);
}

type Refused = Extract<BackendResult, { kind: 'refused' }>;

const unexpected = (tag: number, when: string): WireError =>
  new WireError('layout', `message "${String.fromCharCode(tag)}" ${when}`);

/** An ErrorResponse: transient, or Postgres's answer. */
function refusal(message: { body: Uint8Array; bytes: Uint8Array }): Refused {
  const fields = parseErrorFields(message.body);
  if (fields.get('C') === CANNOT_CONNECT_NOW)
    throw new AttemptFailed(fields.get('M') ?? 'it cannot connect now', { retryable: true });
  return { kind: 'refused', error: message.bytes };
}

/** SCRAM with the ClientKey. A Postgres that asks for anything else is not one of our computes. */
async function authenticateToPostgres({ handshake, identity }: Login): Promise<Refused | null> {
  const first = start(crypto.getRandomValues(new Uint8Array(NONCE_BYTES)));
  let final: ScramClientFinal | null = null;
  let verified = false;
  for (;;) {
    const message = await handshake.message(BACKEND_STARTUP_BODY_BYTES_MAX);
    if (message.tag === TAG.errorResponse) return refusal(message);
    if (message.tag !== TAG.authentication) throw unexpected(message.tag, 'during authentication');
    const request = parseAuthentication(message.body);
    switch (request.kind) {
      case 'sasl':
        if (!request.mechanisms.includes(SCRAM_SHA_256))
          throw new WireError('layout', `SASL without ${SCRAM_SHA_256}`);
        await handshake.send(buildSaslInitialResponse(SCRAM_SHA_256, first.message));
        break;
      case 'saslContinue':
        final = await answer(identity, first.nonce, request.data);
        await handshake.send(buildSaslResponse(final.message));
        break;
      case 'saslFinal':
        if (final === null) throw new WireError('layout', 'SASLFinal before SASLContinue');
        verify(final, request.data);
        verified = true;
        break;
      case 'ok':
        if (!verified) throw new WireError('layout', 'AuthenticationOk without SCRAM');
        return null;
      default:
        throw new WireError('layout', `authentication by ${request.kind}, not by SCRAM`);
    }
  }
}

async function collectGreeting({ stub, connection, handshake }: Login): Promise<BackendResult> {
  const parts: Uint8Array[] = [];
  let cancelKey: CancelKey | null = null;
  try {
    for (;;) {
      const message = await handshake.message(BACKEND_STARTUP_BODY_BYTES_MAX);
      switch (message.tag) {
        case TAG.parameterStatus:
        case TAG.noticeResponse:
          parts.push(message.bytes);
          break;
        case TAG.backendKeyData: {
          const backend = parseBackendKeyData(message.body);
          cancelKey = await stub.openCancelKey({ pid: backend.pid, secret: new Uint8Array(backend.key) });
          parts.push(clientKeyData(cancelKey));
          break;
        }
        case TAG.readyForQuery:
          if (cancelKey === null) throw unexpected(message.tag, 'before BackendKeyData');
          parts.push(message.bytes, handshake.takeRest());
          return { kind: 'ready', stub, connection, greeting: concatenated(parts), cancelKey };
        case TAG.errorResponse: {
          const refused = refusal(message);
          if (cancelKey !== null) await closeCancelKey(stub, cancelKey);
          return refused;
        }
        default:
          throw unexpected(message.tag, 'before ReadyForQuery');
      }
    }
  } catch (error) {
    if (cancelKey !== null) await closeCancelKey(stub, cancelKey);
    throw error;
  }
}

/** An object that cannot be told has restarted, and forgotten the key with everything else. */
export async function closeCancelKey(stub: ComputeStub, key: CancelKey): Promise<void> {
  await stub.closeCancelKey(key).catch((error: unknown) => console.warn('cancel key not closed', error));
}

function clientKeyData(key: CancelKey): Uint8Array {
  const secret = new Uint8Array(4);
  new DataView(secret.buffer).setUint32(0, key.secret);
  return buildBackendKeyData({ pid: key.pid, key: secret });
}

function concatenated(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
