/**
 * The way in: an HTTP server that workerd configures, and through which it opens connections to the container.
 *
 *   PUT /egress {port}                       where workerd listens for what the container sends out
 *   GET /ca                                  a certificate that workerd could put into the container
 *   CONNECT, X-Dst-Addr: 127.0.0.1:8080      a connection to that port; 400 when nothing listens there
 *
 * A connection is given away to the container's program where that takes it (handoff.ts), else piped.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { connect, type Socket } from 'node:net';
import { rootCertificates } from 'node:tls';
import { ACCEPTED, NOT_LISTENING } from './connect-answers.ts';
import { pipeBoth, trackConnections, untrack } from './net.ts';

/** A port of the container. */
export interface Destination {
  /** Where its program really listens, on 127.0.0.1. */
  port: number;
  /** Gives the connection away, where the program takes connections. */
  give?(socket: Socket): void;
}
export interface IngressOptions {
  /** Undefined when the container has no such port, or nothing listens there. */
  resolvePort(port: number): Promise<Destination | undefined>;
  setEgressPort(port: number): void;
}

const CONFIG_BYTES_MAX = 1 << 20;

export function createIngress(options: IngressOptions): Server {
  const server = createServer((request, response) => {
    if (request.method === 'GET' && request.url === '/ca') {
      // workerd reads it at every start, and writes it into a container that intercepts HTTPS, which ours never do.
      response.end(rootCertificates[0]);
    } else if (request.method === 'PUT' && request.url === '/egress') {
      void configure(request, response, options);
    } else {
      response.writeHead(404).end();
    }
  });
  trackConnections(server);
  server.on('connect', (request: IncomingMessage, socket: Socket, head: Buffer) => {
    void (async () => {
      const port = requestedPort(request);
      const destination = port === null ? undefined : await options.resolvePort(port);
      if (socket.destroyed) return;
      if (!destination) socket.end(NOT_LISTENING);
      else if (head.length === 0 && destination.give) {
        untrack(server, socket);
        destination.give(socket);
      } else tunnel(socket, head, destination.port);
    })();
  });
  return server;
}

async function configure(
  request: IncomingMessage,
  response: ServerResponse,
  options: IngressOptions,
): Promise<void> {
  let body = '';
  request.setEncoding('utf8');
  for await (const chunk of request) {
    body += chunk as string;
    if (body.length > CONFIG_BYTES_MAX) break;
  }
  const port = portOfConfig(body);
  if (port === null) {
    response.writeHead(400).end(`no port in ${body.slice(0, 200)}`);
    return;
  }
  options.setEgressPort(port);
  response.writeHead(200).end();
}

function portOfConfig(body: string): number | null {
  try {
    const { port } = JSON.parse(body) as { port?: unknown };
    return typeof port === 'number' && port > 0 && port < 65_536 ? port : null;
  } catch {
    return null;
  }
}

function requestedPort(request: IncomingMessage): number | null {
  const header = request.headers['x-dst-addr'];
  const address = typeof header === 'string' ? header : (request.url ?? '');
  const match = /:(\d{1,5})$/.exec(address);
  return match ? Number(match[1]) : null;
}

function tunnel(socket: Socket, head: Buffer, port: number): void {
  const upstream = connect({ port, host: '127.0.0.1', noDelay: true });
  const refuse = () => socket.end(NOT_LISTENING);
  socket.once('error', () => upstream.destroy());
  upstream.once('error', refuse);
  upstream.once('connect', () => {
    upstream.off('error', refuse);
    socket.write(ACCEPTED);
    if (head.length > 0) upstream.write(head);
    pipeBoth(socket, upstream);
  });
}
