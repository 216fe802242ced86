/**
 * What the proxy needs from outside, and the shape of its three entrances.
 *
 *   workers/proxy/tcp.ts        handleTcp        raw TCP: the Worker's `connect()` handler
 *   workers/proxy/websocket.ts  handleWebSocket  `/v2`: Postgres's protocol in binary WebSocket messages
 *   workers/sql/handler.ts      handleSql        `POST /sql` (and its CORS preflight): one query over HTTP
 *
 * The proxy keeps no state: which endpoints exist, their roles' SCRAM secrets and their computes are the
 * Durable Objects' to know. The interfaces below are what `DurableObjectNamespace` gives, narrowed to what the
 * proxy calls, so that it can be tried against any object that implements ComputeRpc.
 */
import type { AccountRpc, ComputeRpc } from '../../durable-objects/contracts.ts';

/** A Compute object: its methods, a socket to its Postgres, and its HTTP routes. */
export interface ComputeStub extends ComputeRpc {
  /** Bytes to the compute's Postgres, from the StartupMessage on; the address is not used. */
  connect(address: string): Socket;
  fetch(request: Request): Promise<Response>;
}

export interface NamedObjects<Stub> {
  getByName(name: string): Stub;
}

export interface ProxyEnv {
  /** By endpointId. */
  COMPUTE: NamedObjects<ComputeStub>;
  /** One object: 'account'. */
  ACCOUNT: NamedObjects<AccountRpc>;
  /** At least 32 random bytes as text, stable over restarts: salts for users that do not exist come from it. */
  MOCK_AUTHENTICATION_SECRET: string;
}

/** Resolves when the connection is over; the runtime closes the socket when it does. */
export type HandleTcp = (socket: Socket, env: ProxyEnv, ctx: ExecutionContext) => Promise<void>;
/** 101 with the WebSocket, or 426 when the request is not an upgrade. */
export type HandleWebSocket = (request: Request, env: ProxyEnv, ctx: ExecutionContext) => Response;
export type HandleSql = (request: Request, env: ProxyEnv, ctx: ExecutionContext) => Promise<Response>;
