/**
 * The entrance for raw TCP: psql and every Postgres driver, through the Worker's `connect()` handler.
 * After the handshake the runtime pumps the bytes itself (splice.ts).
 */
import type { BackendConnection, Bytes, ClientConnection } from './connection.ts';
import type { ProxyEnv } from './env.ts';
import { PROXY_LIMITS, type ProxyLimits } from './limits.ts';
import { serve } from './session.ts';
import { SocketConnection } from './socket-connection.ts';
import { splice } from './splice.ts';

/** Serves one client; resolves when its connection is closed. `limits` are the tests' to change. */
export async function handleTcp(
  socket: Socket,
  env: ProxyEnv,
  _ctx: ExecutionContext,
  limits: ProxyLimits = PROXY_LIMITS,
): Promise<void> {
  const { localAddress } = await socket.opened;
  // A binding's `connect('ep-….example.com:5432')` arrives under the name it was called by.
  const host = localAddress ?? null;
  await serve({ client: new TcpClient(socket, limits), method: 'scram', host, env, limits });
}

/** Of what a client sends after its end, this much is read before the connection is cut. */
const LINGER_BYTES_MAX = 1 << 20;

class TcpClient implements ClientConnection {
  readonly #socket: SocketConnection;
  readonly #limits: ProxyLimits;
  #relayed = false;

  constructor(socket: Socket, limits: ProxyLimits) {
    this.#socket = new SocketConnection(socket);
    this.#limits = limits;
  }
  read(): Promise<Bytes | null> {
    return this.#socket.read();
  }
  write(bytes: Uint8Array): Promise<void> {
    return this.#socket.write(bytes);
  }

  async relay(backend: BackendConnection, early: Bytes): Promise<void> {
    if (early.length > 0) await backend.write(early);
    this.#relayed = true;
    await splice(this.#socket.streams(), backend.streams());
  }

  /** Closing with unread bytes would reset the connection, and what was written last might be lost with it. */
  async finish(): Promise<void> {
    if (!this.#relayed) {
      const timer = setTimeout(() => void this.#socket.close(), this.#limits.lingerMs);
      try {
        await this.#socket.endWriting();
        for (let bytes = 0; bytes < LINGER_BYTES_MAX;) {
          const chunk = await this.#socket.read();
          if (chunk === null) break;
          bytes += chunk.length;
        }
      } catch {
        // Broken, or cut by the timer: over in any case.
      } finally {
        clearTimeout(timer);
      }
    }
    await this.#socket.close();
  }
}
