/**
 * The compute's Postgres port: the only way to this Postgres, and open only to this compute's Durable Object.
 *
 *   EBB/1 <session token>\n     compared in constant time; anything else is closed without an answer
 *   StartupMessage              read once: not for the reserved superuser, not for replication
 *   bytes …                     both ways, untouched, with backpressure
 *
 * The way back passes the commit guard, which can hold an answer but changes nothing in it.
 */
import { timingSafeEqual } from 'node:crypto';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { WireError } from '../../../lib/postgres/wire/bytes.ts';
import { buildErrorResponse } from '../../../lib/postgres/wire/error-response.ts';
import { MessageBuffer } from '../../../lib/postgres/wire/framing.ts';
import { parseStartupPacket } from '../../../lib/postgres/wire/startup.ts';
import { passthroughPreamble } from '../../../lib/protocol/specs.ts';
import { ADMIN_ROLE } from '../postgres/settings.ts';
import { passAnswers } from './answers.ts';
import type { CommitGuard } from './commit-guard.ts';
import { farewell } from './farewell.ts';

export interface GatewayOptions {
  sessionToken: string;
  /** Postgres's unix socket. */
  socketPath: string;
  guard: CommitGuard;
  /** Why nobody can be let in now, or null. */
  refusal: () => string | null;
  /** A connection begins, and has ended. */
  onOpen?: () => void;
  onClose?: () => void;
}

/** From the connection's beginning to its StartupMessage. */
const STARTUP_TIMEOUT_MS = 10_000;
/** A caller that vanished without a word is noticed, or the compute would never be idle again. */
const SOCKET_OPTIONS = {
  allowHalfOpen: true,
  noDelay: true,
  keepAlive: true,
  keepAliveInitialDelay: 30_000,
};

export class Gateway {
  readonly #options: GatewayOptions;
  readonly #preamble: Buffer;
  readonly #server: Server;
  readonly #connections = new Set<Socket>();

  constructor(options: GatewayOptions) {
    this.#options = options;
    this.#preamble = Buffer.from(passthroughPreamble(options.sessionToken));
    this.#server = createServer(SOCKET_OPTIONS, (socket) => this.#accept(socket));
  }

  /** Resolves with the port. Throws as `net.Server.listen`. */
  listen(port: number, address: string): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(port, address, () => resolve((this.#server.address() as AddressInfo).port));
    });
  }

  get connections(): number {
    return this.#connections.size;
  }

  /** Ends all connections and takes no more. */
  close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const socket of this.#connections) socket.destroy();
    return closed;
  }

  #accept(client: Socket): void {
    this.#connections.add(client);
    this.#options.onOpen?.();
    client.once('close', () => {
      this.#connections.delete(client);
      this.#options.onClose?.();
    });
    client.on('error', () => client.destroy());
    client.setTimeout(STARTUP_TIMEOUT_MS, () => client.destroy());

    let received = Buffer.alloc(0);
    const onData = (chunk: Buffer): void => {
      received = Buffer.concat([received, chunk]);
      const { length } = this.#preamble;
      if (received.length < length) return;
      client.off('data', onData);
      if (!timingSafeEqual(received.subarray(0, length), this.#preamble)) client.destroy();
      else this.#readStartup(client, received.subarray(length));
    };
    client.on('data', onData);
    client.once('end', () => {
      if (client.timeout !== 0) client.destroy(); // before its StartupMessage
    });
  }

  #readStartup(client: Socket, first: Buffer): void {
    const buffer = new MessageBuffer();
    let received: Buffer[] = [];
    const onData = (chunk: Buffer): void => {
      received.push(chunk);
      buffer.push(new Uint8Array(chunk));
      try {
        const packet = buffer.startupPacket();
        if (packet === null) return;
        client.off('data', onData);
        client.setTimeout(0);
        const refusal = this.#refusalOf(packet);
        if (refusal !== null) refuse(client, refusal.code, refusal.message);
        else this.#pass(client, Buffer.concat(received));
        received = [];
      } catch (error) {
        client.off('data', onData);
        client.setTimeout(0);
        if (!(error instanceof WireError)) throw error;
        refuse(client, error.sqlState, error.message);
      }
    };
    client.on('data', onData);
    if (first.length > 0) onData(first);
  }

  #refusalOf(packet: Uint8Array): { code: string; message: string } | null {
    const startup = parseStartupPacket(packet);
    if (startup.kind !== 'startup')
      return { code: '08P01', message: `a StartupMessage is expected here, not one of kind ${startup.kind}` };
    const user = startup.parameters.get('user') ?? '';
    if (user === ADMIN_ROLE) return { code: '28000', message: `role "${user}" is reserved` };
    if (!['', 'false', 'off', 'no', '0'].includes(startup.parameters.get('replication') ?? ''))
      return { code: '0A000', message: 'replication connections are not offered' };
    const refusal = this.#options.refusal();
    return refusal === null ? null : { code: '57P03', message: refusal };
  }

  #pass(client: Socket, startup: Buffer): void {
    client.pause();
    const backend = connect({ path: this.#options.socketPath, allowHalfOpen: true });
    let connected = false;
    backend.once('connect', () => {
      connected = true;
      backend.write(startup);
      passAnswers(backend, client, this.#options.guard);
      client.pipe(backend);
    });
    backend.once('error', (error) => {
      if (connected) client.destroy();
      else refuse(client, '57P03', `Postgres cannot be reached: ${error.message}`);
    });
    client.once('close', () => backend.destroy());
  }
}

/** Answers with a FATAL error and closes. */
function refuse(client: Socket, code: string, message: string): void {
  farewell(client, buildErrorResponse({ severity: 'FATAL', code, message }));
}
