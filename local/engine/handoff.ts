/**
 * Loaded into a container's program before its own code (run-program.ts): takes over connections that the engine
 * accepted for it.
 *
 * Without it each byte between workerd and the program passes through the engine's process. With it the engine
 * only reads the CONNECT request, then gives the connection itself away over the IPC channel, and the program's
 * own server on that port treats it as one that it accepted. In production there is no engine in between
 * either. Programs without it are served as well, through a pipe (ingress.ts).
 */
import { subscribe } from 'node:diagnostics_channel';
import http from 'node:http';
import { syncBuiltinESMExports } from 'node:module';
import { connect, type AddressInfo, type Server, type Socket } from 'node:net';
import {
  ACCEPTED,
  EGRESS_PORT,
  NOT_LISTENING,
  type EgressMessage,
  type HandoffMessage,
  type ListeningMessage,
} from './connect-answers.ts';
import { TunnelAgent } from './tunnel-agent.ts';

const servers = new Set<Server>();

/** Node tells of every server of this process that listens. */
subscribe('tracing:net.server.listen:asyncEnd', (message) => {
  const { server } = message as { server: Server };
  servers.add(server);
  const address = server.address();
  if (address !== null && typeof address === 'object') {
    process.send?.({ listening: address.port } satisfies ListeningMessage);
  }
  server.once('close', () => servers.delete(server));
});

const isOnPort = (server: Server, port: number): boolean =>
  (server.address() as AddressInfo | null)?.port === port;

process.on('message', (message: HandoffMessage | EgressMessage, socket: Socket | undefined) => {
  if ('egressPort' in message) {
    egressPort = message.egressPort;
    return;
  }
  if (!socket) return; // its peer has gone already
  const server = [...servers].find((candidate) => isOnPort(candidate, message.port));
  if (!server) {
    socket.end(NOT_LISTENING);
    return;
  }
  socket.setNoDelay(true);
  socket.allowHalfOpen = (server as Server & { allowHalfOpen: boolean }).allowHalfOpen;
  socket.write(ACCEPTED);
  server.emit('connection', socket);
});
/**
 * The way out, as short as in production: what `node:http` opens to a name that the Durable Object intercepts goes to
 * workerd directly. What `fetch` opens still passes through the engine (HTTP_PROXY).
 */
let egressPort = Number(process.env[EGRESS_PORT] ?? 0);
class DirectAgent extends TunnelAgent {
  override createConnection(...[options, callback]: Parameters<TunnelAgent['createConnection']>) {
    const here = options.host === '127.0.0.1' || options.host === 'localhost';
    if (!here) return super.createConnection(options, callback);
    return connect({ host: options.host ?? '', port: Number(options.port) });
  }
}
if (egressPort > 0) {
  http.globalAgent = new DirectAgent(() => egressPort);
  syncBuiltinESMExports(); // `import { globalAgent }` is to find it
}

// The channel alone must not keep the program running.
process.channel?.unref();
