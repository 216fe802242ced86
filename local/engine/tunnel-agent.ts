/**
 * Connections through workerd to the names that a container may reach: CONNECT to its egress listener, with the host name.
 *
 * Used by the engine for programs that know nothing of it (egress.ts), and by programs that load handoff.ts, which so go to
 * workerd themselves: one process less on the way of each commit.
 */
import { Agent, request as httpRequest } from 'node:http';
import { isIP } from 'node:net';
import type { Duplex } from 'node:stream';

/** A connection to `host:port` through workerd. Exactly one of the callback's arguments is not null. */
export function openTunnel(
  authority: string,
  workerdPort: number,
  done: (error: Error | null, tunnel: Duplex | null) => void,
): void {
  const hostname = authority.replace(/:\d+$/, '');
  const connecting = httpRequest({
    host: '127.0.0.1',
    port: workerdPort,
    method: 'CONNECT',
    path: authority,
    agent: false,
    headers: isIP(hostname) ? {} : { 'X-Hostname': hostname },
  });
  connecting.once('connect', (answer, socket, head) => {
    if (answer.statusCode === undefined || answer.statusCode >= 300) {
      socket.destroy();
      done(new Error(`the runtime refused ${authority}: ${answer.statusCode}`), null);
      return;
    }
    socket.setNoDelay(true);
    if (head.length > 0) socket.unshift(head);
    done(null, socket);
  });
  connecting.once('error', (error) => done(error, null));
  connecting.end();
}

/** Keeps tunnels of plain proxied requests open for the next request to the same name. */
export class TunnelAgent extends Agent {
  readonly #workerdPort: () => number;

  constructor(workerdPort: () => number) {
    super({ keepAlive: true });
    this.#workerdPort = workerdPort;
  }

  override createConnection(
    options: { host?: string | null; port?: number | string | null },
    callback?: (error: Error | null, stream: Duplex) => void,
  ): Duplex | null | undefined {
    const authority = `${options.host}:${options.port ?? 80}`;
    openTunnel(authority, this.#workerdPort(), (error, tunnel) => callback?.(error, tunnel as Duplex));
    return undefined;
  }
}
