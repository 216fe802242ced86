/**
 * One client from its first byte to its last, the same for every entrance:
 *
 *   1 handshake ─► 2 authenticate ─► 3 wake ─► 4 passthrough
 *        └── cancel request ─► the endpoint that its key names
 *
 * Whatever ends it, the client gets an ErrorResponse if it can still hear one, and nothing stays open.
 */
import type { CancelRequest } from '../../lib/postgres/wire/startup.ts';
import { buildErrorResponse } from '../../lib/postgres/wire/error-response.ts';
import { authenticate } from './authenticate.ts';
import { closeCancelKey, openBackend } from './backend.ts';
import { Deadline, Handshake, PeerGone, type ClientConnection } from './connection.ts';
import type { ProxyEnv } from './env.ts';
import { readRequest } from './handshake.ts';
import type { ProxyLimits } from './limits.ts';
import { errorToSend, ProxyError, proxyErrorOf } from './proxy-error.ts';
import { WaitingRoom } from './waiting-room.ts';

export interface Session {
  client: ClientConnection;
  /** How the client is asked who it is. */
  method: 'scram' | 'cleartext';
  /** The host name by which the client reached us, where its entrance knows one. */
  host: string | null;
  env: ProxyEnv;
  limits: ProxyLimits;
}

/** Serves the client until its connection is closed. Does not throw. */
export async function serve(session: Session): Promise<void> {
  const { client } = session;
  try {
    await converse(session);
    await client.finish(null);
  } catch (error) {
    await refuse(client, error);
  }
}

const waitingRoom = new WaitingRoom();

async function converse({ client, method, host, env, limits }: Session): Promise<void> {
  const leaveRoom = waitingRoom.enter(limits.unauthenticatedMax);
  const deadline = new Deadline(
    limits.authenticationMs,
    () => new ProxyError('timeout', 'canceling authentication due to timeout'),
  );
  const handshake = new Handshake(client, deadline);
  try {
    const request = await readRequest(handshake, host);
    if (request.kind === 'cancel') return await cancel(env, request);
    const identity = await authenticate({ handshake, request, env, limits }, method);
    deadline.clear();
    leaveRoom();

    const backend = await openBackend(env, identity, request, limits);
    if (backend.kind === 'refused') return await client.write(backend.error);
    try {
      await client.write(backend.greeting);
      await client.relay(backend.connection, handshake.takeRest());
    } finally {
      await backend.connection.close();
      await closeCancelKey(backend.stub, backend.cancelKey);
    }
  } finally {
    deadline.clear();
    leaveRoom();
  }
}

/** Bytes of a key that we gave out; any other length was not ours. */
const CANCEL_KEY_BYTES = 4;

/** As in Postgres nothing is answered, whether or not there was something to cancel. */
async function cancel(env: ProxyEnv, request: CancelRequest): Promise<void> {
  if (request.key.length !== CANCEL_KEY_BYTES) return;
  const secret = new DataView(request.key.buffer, request.key.byteOffset, CANCEL_KEY_BYTES).getUint32(0);
  try {
    const endpoint = await env.ACCOUNT.getByName('account').endpointOfNumber(request.pid);
    if (endpoint !== null) await env.COMPUTE.getByName(endpoint).cancel({ pid: request.pid, secret });
  } catch (error) {
    console.error('cancel request failed', error);
  }
}

async function refuse(client: ClientConnection, error: unknown): Promise<void> {
  if (error instanceof PeerGone) return client.finish(null);
  const told = proxyErrorOf(error);
  if (told.code === 'internal') console.error('proxy session failed', error);
  try {
    await client.write(buildErrorResponse(errorToSend(told)));
  } catch (broken) {
    if (!(broken instanceof PeerGone)) console.error('proxy could not tell its client', broken);
  }
  await client.finish(told);
}
