/** A client that sends what it is told, byte for byte, and reads whole messages. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { parseErrorFields } from '../../../lib/postgres/wire/error-response.ts';
import { MessageBuffer, type WireMessage } from '../../../lib/postgres/wire/framing.ts';
import { TAG } from '../../../lib/postgres/wire/bytes.ts';

export class RawClient {
  readonly #socket: Socket;
  readonly #buffer = new MessageBuffer();
  #received = 0;
  #ended = false;
  #changed: () => void = () => undefined;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('data', (chunk) => {
      this.#received += chunk.length;
      this.#buffer.push(new Uint8Array(chunk));
      this.#changed();
    });
    socket.on('error', () => undefined);
    for (const event of ['end', 'close'])
      socket.on(event, () => {
        this.#ended = true;
        this.#changed();
      });
  }
  static async open(port: number): Promise<RawClient> {
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true });
    await once(socket, 'connect');
    return new RawClient(socket);
  }
  /** Bytes received so far. */
  get received(): number {
    return this.#received;
  }
  send(bytes: Uint8Array): void {
    this.#socket.write(bytes);
  }
  /** Takes nothing any more, until `resume`. */
  pause(): void {
    this.#socket.pause();
  }
  resume(): void {
    this.#socket.resume();
  }
  /** No more will be sent. */
  end(): void {
    this.#socket.end();
  }
  /** Gone without a word. */
  reset(): void {
    this.#socket.resetAndDestroy();
  }
  async #change(): Promise<void> {
    await new Promise<void>((resolve) => (this.#changed = resolve));
  }
  /** The next message, or null when the server ended. */
  async message(): Promise<WireMessage | null> {
    for (;;) {
      const message = this.#buffer.message(1 << 20);
      if (message !== null || this.#ended) return message;
      await this.#change();
    }
  }
  /** The one byte that answers SSLRequest and GSSENCRequest. */
  async byte(): Promise<string> {
    while (this.#buffer.length === 0) await this.#change();
    const [byte] = this.#buffer.takeRest();
    return String.fromCharCode(byte);
  }
  /** Resolves when the server has ended its side. */
  async ended(): Promise<void> {
    while (!this.#ended) await this.#change();
  }
  /** Messages up to an ErrorResponse, whose fields are returned; null when the server ends without one. */
  async error(): Promise<Record<string, string> | null> {
    for (;;) {
      const message = await this.message();
      if (message === null) return null;
      if (message.tag === TAG.errorResponse) return Object.fromEntries(parseErrorFields(message.body));
    }
  }
  close(): void {
    this.#socket.destroy();
  }
}
