/**
 * A client as the session sees it, whichever entrance it came through (tcp.ts, websocket.ts).
 *
 * During the handshake it is read message by message (Handshake); then `relay` hands its bytes and the
 * backend's to each other in the way that is fastest for the entrance.
 */
import { MessageBuffer, type WireMessage } from '../../lib/postgres/wire/framing.ts';
import { ProxyError } from './proxy-error.ts';

export type Bytes = Uint8Array<ArrayBuffer>;

export interface ByteConnection {
  /** The next bytes; null when the peer has ended. Rejects when the connection broke. */
  read(): Promise<Bytes | null>;
  write(bytes: Uint8Array): Promise<void>;
}

export interface ClientConnection extends ByteConnection {
  /**
   * Bytes both ways until the backend ends, the client ends or either breaks. `early` came before the relay
   * and goes to the backend first.
   */
  relay(backend: BackendConnection, early: Bytes): Promise<void>;
  /** Ends the connection in order: everything written arrives. `failed` says what an entrance may report. */
  finish(failed: ProxyError | null): Promise<void>;
}

export interface BackendConnection extends ByteConnection {
  /** Both halves, with no reader or writer on them. After this `read` and `write` must not be called. */
  streams(): { readable: ReadableStream<Bytes>; writable: WritableStream<Uint8Array> };
  close(): Promise<void>;
}

/** A moment on the clock after which waiting is over. */
export class Deadline {
  readonly #expired: Promise<never>;
  readonly #timer: ReturnType<typeof setTimeout>;

  /** `error` is made when the time is up. */
  constructor(ms: number, error: () => Error) {
    let reject: (reason: Error) => void;
    this.#expired = new Promise<never>((_, rejectExpired) => (reject = rejectExpired));
    this.#expired.catch(() => undefined); // nobody may be waiting
    this.#timer = setTimeout(() => reject(error()), ms);
  }
  /** What `promise` gives; rejects with the deadline's error when that comes first. */
  race<T>(promise: Promise<T>): Promise<T> {
    return Promise.race([promise, this.#expired]);
  }
  clear(): void {
    clearTimeout(this.#timer);
  }
}

/** The peer ended, or its connection broke: there is nobody to answer. */
export class PeerGone extends Error {
  override readonly name = 'PeerGone';
}

/** Messages to and from one side until it may send what it likes; every wait ends with the deadline. */
export class Handshake {
  readonly #connection: ByteConnection;
  readonly #deadline: Deadline;
  readonly #buffer = new MessageBuffer();

  constructor(connection: ByteConnection, deadline: Deadline) {
    this.#connection = connection;
    this.#deadline = deadline;
  }

  async #more(): Promise<void> {
    const chunk = await this.#deadline.race(this.#connection.read());
    if (chunk === null) throw new PeerGone('the peer ended the connection during the handshake');
    this.#buffer.push(chunk);
  }

  /** Throws PeerGone or the deadline's error. */
  send(bytes: Uint8Array): Promise<void> {
    return this.#deadline.race(this.#connection.write(bytes));
  }

  /** Whether bytes beyond the last message came already. */
  get hasMore(): boolean {
    return this.#buffer.length > 0;
  }

  /** Body of the next startup packet. Throws WireError, PeerGone or the deadline's error. */
  async startupPacket(): Promise<Uint8Array> {
    for (;;) {
      const packet = this.#buffer.startupPacket();
      if (packet !== null) return packet;
      await this.#more();
    }
  }

  /** The next message. Throws WireError, PeerGone or the deadline's error. */
  async message(bodyBytesMax: number): Promise<WireMessage> {
    for (;;) {
      const message = this.#buffer.message(bodyBytesMax);
      if (message !== null) return message;
      await this.#more();
    }
  }

  /** The next message, which must be of `tag`: any other is refused before its body is waited for. */
  async messageOf(tag: number, bodyBytesMax: number): Promise<WireMessage> {
    while (this.#buffer.peekTag() === null) await this.#more();
    const found = this.#buffer.peekTag()!;
    if (found !== tag) {
      const names = [tag, found].map((n) => JSON.stringify(String.fromCharCode(n)));
      throw new ProxyError('protocolViolation', `expected message ${names[0]}, got ${names[1]}`);
    }
    return this.message(bodyBytesMax);
  }

  /** What came after the last message. */
  takeRest(): Bytes {
    return this.#buffer.takeRest();
  }
}
