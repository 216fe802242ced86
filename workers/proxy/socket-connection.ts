/**
 * A socket of the runtime (a client's, or one to a compute) as a ByteConnection for the handshake.
 */
import { PeerGone, type BackendConnection, type Bytes } from './connection.ts';

export class SocketConnection implements BackendConnection {
  readonly #socket: Socket;
  readonly #reader: ReadableStreamDefaultReader<Bytes>;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  #released = false;

  constructor(socket: Socket) {
    this.#socket = socket;
    this.#reader = (socket.readable as ReadableStream<Bytes>).getReader();
    this.#writer = (socket.writable as WritableStream<Uint8Array>).getWriter();
    // Its outcome is that of the reads and writes, which are awaited.
    socket.closed.catch(() => undefined);
    this.#reader.closed.catch(() => undefined);
    this.#writer.closed.catch(() => undefined);
  }

  async read(): Promise<Bytes | null> {
    try {
      const { value, done } = await this.#reader.read();
      return done ? null : value;
    } catch (cause) {
      throw new PeerGone('the connection broke while reading', { cause });
    }
  }

  async write(bytes: Uint8Array): Promise<void> {
    try {
      await this.#writer.write(bytes);
    } catch (cause) {
      throw new PeerGone('the connection broke while writing', { cause });
    }
  }

  streams(): { readable: ReadableStream<Bytes>; writable: WritableStream<Uint8Array> } {
    this.#released = true;
    this.#reader.releaseLock();
    this.#writer.releaseLock();
    return {
      readable: this.#socket.readable as ReadableStream<Bytes>,
      writable: this.#socket.writable as WritableStream<Uint8Array>,
    };
  }

  /** Sends what was written and the end; reading goes on. */
  async endWriting(): Promise<void> {
    await this.#writer.close();
  }

  /** Both halves at once. A connection that is broken already is as closed as one can be. */
  async close(): Promise<void> {
    if (!this.#released) await this.#reader.cancel().catch(() => undefined);
    await this.#socket.close().catch(() => undefined);
  }
}
