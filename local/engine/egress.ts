/**
 * The way out: the forward proxy that a container's process is told of by HTTP_PROXY.
 *
 * It passes every connection on to workerd's egress listener as CONNECT with the host name, which is how workerd
 * finds the handler that the container's Durable Object gave for that name. Names without a handler lead nowhere.
 * A client may use CONNECT itself, or send plain proxied requests (`GET http://name/path`), also with Upgrade.
 */
import {
  createServer,
  request as httpRequest,
  type Agent,
  type IncomingMessage,
  type Server,
} from 'node:http';
import type { Socket } from 'node:net';
import { pipeBoth, trackConnections } from './net.ts';
import { openTunnel, TunnelAgent } from './tunnel-agent.ts';

const BAD_GATEWAY = 'HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n';
/** Between a proxy and its client only (RFC 9110, 7.6.1). */
const HOP_HEADERS = ['proxy-connection', 'proxy-authorization', 'connection', 'keep-alive'];

export function createEgress(workerdPort: () => number): Server {
  const agent = new TunnelAgent(workerdPort);
  const server = createServer((request, response) => {
    const upstream = forward(request, agent);
    if (!upstream) {
      response.writeHead(400).end('a proxy wants an absolute URL');
      return;
    }
    upstream.on('response', (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
    });
    upstream.on('error', (error) => {
      if (response.headersSent) response.destroy();
      else response.writeHead(502).end(error.message);
    });
    response.on('close', () => upstream.destroy());
    request.pipe(upstream);
  });
  server.requestTimeout = 0;
  trackConnections(server);
  server.on('connect', (request: IncomingMessage, socket: Socket, head: Buffer) => {
    openTunnel(request.url ?? '', workerdPort(), (error, tunnel) => {
      if (!tunnel) return void socket.end(BAD_GATEWAY, () => socket.destroy(error ?? undefined));
      socket.write('HTTP/1.1 200 OK\r\n\r\n');
      if (head.length > 0) tunnel.write(head);
      pipeBoth(socket, tunnel);
    });
  });
  server.on('upgrade', (request: IncomingMessage, socket: Socket, head: Buffer) => {
    forwardUpgrade(request, socket, head, agent);
  });
  server.once('close', () => agent.destroy());
  return server;
}

function forward(request: IncomingMessage, agent: Agent) {
  if (!request.url?.startsWith('http://')) return null;
  const url = new URL(request.url);
  const headers = { ...request.headers };
  for (const name of HOP_HEADERS) delete headers[name];
  return httpRequest({
    agent,
    host: url.hostname,
    port: url.port || 80,
    method: request.method,
    path: url.pathname + url.search,
    headers,
  });
}

function forwardUpgrade(request: IncomingMessage, socket: Socket, head: Buffer, agent: Agent): void {
  const upstream = forward(request, agent);
  if (!upstream) return void socket.end(BAD_GATEWAY);
  upstream.setHeader('Connection', 'Upgrade');
  upstream.once('upgrade', (answer, tunnel, first) => {
    socket.write(responseHead(answer));
    if (first.length > 0) socket.write(first);
    if (head.length > 0) tunnel.write(head);
    pipeBoth(socket, tunnel);
  });
  upstream.once('response', (answer) => {
    socket.write(responseHead(answer));
    answer.pipe(socket);
  });
  upstream.once('error', () => socket.end(BAD_GATEWAY));
  socket.once('close', () => upstream.destroy());
  upstream.end();
}

function responseHead(answer: IncomingMessage): string {
  const lines = [`HTTP/1.1 ${answer.statusCode} ${answer.statusMessage}`];
  for (let i = 0; i < answer.rawHeaders.length; i += 2) {
    lines.push(`${answer.rawHeaders[i]}: ${answer.rawHeaders[i + 1]}`);
  }
  return `${lines.join('\r\n')}\r\n\r\n`;
}
