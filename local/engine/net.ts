/** Sockets: listening on loopback, closing with all that is open, and passing bytes both ways. */
import type { Server as HttpServer } from 'node:http';
import type { AddressInfo, Server, Socket } from 'node:net';
import type { Duplex } from 'node:stream';

/** Listens on a port of the kernel's choice on 127.0.0.1. */
export const listenOnLoopback = (server: Server): Promise<void> =>
  new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      server.off('error', reject);
      resolve();
    });
  });

export const addressPort = (server: Server): number => (server.address() as AddressInfo).port;

const open = new WeakMap<Server, Set<Duplex>>();

/** Remembers the connections of `server`, those too that HTTP no longer knows after CONNECT or Upgrade. */
export function trackConnections(server: Server): void {
  const sockets = new Set<Duplex>();
  open.set(server, sockets);
  server.on('connection', (socket: Socket) => {
    socket.setNoDelay(true);
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    // A peer that was killed resets its connections, also those that nothing reads at the moment; `close` follows.
    socket.on('error', () => undefined);
  });
}

/** The connection is no longer this process's. */
export const untrack = (server: Server, socket: Duplex): void => void open.get(server)?.delete(socket);

/**
 * Stops listening and breaks every open connection. Connections that were given to another process go on, and
 * Node would wait for their end before it calls the server closed.
 */
export function closeServer(server: HttpServer): void {
  server.close();
  for (const socket of open.get(server) ?? []) socket.destroy();
}

/** Passes bytes both ways; when one side ends, its end is passed on; when one breaks, so does the other. */
export function pipeBoth(a: Duplex, b: Duplex): void {
  a.on('error', () => b.destroy());
  b.on('error', () => a.destroy());
  a.once('close', () => b.destroy());
  b.once('close', () => a.destroy());
  a.pipe(b);
  b.pipe(a);
}
