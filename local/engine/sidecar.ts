/**
 * The networking sidecar of a container: workerd's way in and the container's way out.
 *
 *   workerd ── CONNECT, X-Dst-Addr: ip:port ──► ingress ──► the container's port
 *   workerd ◄── CONNECT name, X-Hostname: name ── egress ◄── HTTP_PROXY of the container's process
 *
 * With Docker this is the image `proxy-everything`, which owns the network namespace that the container joins.
 * What workerd asks of it (container-client.c++): `GET /ca`, `PUT /egress` with the port of its own egress
 * listener, and CONNECT on the ingress port. A private protocol: versions are pinned, and a contract test
 * (test/local/engine/engine.workerd.test.ts) runs it with the real workerd.
 */
import type { Server } from 'node:http';
import { createEgress } from './egress.ts';
import { createIngress, type Destination } from './ingress.ts';
import { addressPort, closeServer, listenOnLoopback } from './net.ts';

/** The port that the sidecar publishes, in the container's numbering (SIDECAR_INGRESS_PORT). */
export const SIDECAR_PORT = 39_001;

export interface SidecarOptions {
  /** Port of workerd's egress listener when the sidecar is created. */
  egressPort: number;
  /** That has moved. */
  onEgressPort(port: number): void;
  /** A port of the container behind it; undefined when it has no such port, or nothing listens there. */
  resolvePort(port: number): Promise<Destination | undefined>;
}

export class Sidecar {
  readonly #options: SidecarOptions;
  readonly #ingress: Server;
  readonly #egress: Server;
  #egressPort: number;
  #running = false;

  constructor(options: SidecarOptions) {
    this.#options = options;
    this.#egressPort = options.egressPort;
    this.#ingress = createIngress({
      resolvePort: (port) => this.#options.resolvePort(port),
      setEgressPort: (port) => {
        if (port === this.#egressPort) return;
        this.#egressPort = port;
        this.#options.onEgressPort(port);
      },
    });
    this.#egress = createEgress(() => this.#egressPort);
  }

  get running(): boolean {
    return this.#running;
  }
  /** Where workerd reaches the ingress; 0 before start. */
  get ingressPort(): number {
    return this.#running ? addressPort(this.#ingress) : 0;
  }
  get egressPort(): number {
    return this.#egressPort;
  }
  /** For HTTP_PROXY of the container. */
  get proxyUrl(): string {
    return `http://127.0.0.1:${addressPort(this.#egress)}`;
  }

  async start(): Promise<void> {
    if (this.#running) return;
    await Promise.all([listenOnLoopback(this.#ingress), listenOnLoopback(this.#egress)]);
    this.#running = true;
  }

  /** Closes both with every connection through them. */
  stop(): void {
    if (!this.#running) return;
    this.#running = false;
    closeServer(this.#ingress);
    closeServer(this.#egress);
  }
}
