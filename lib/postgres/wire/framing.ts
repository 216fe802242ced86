/**
 * Cuts a stream of bytes into protocol messages during the handshake, when each side may send little.
 *
 *   StartupMessage, SSLRequest …    u32 length (its own 4 bytes included), body
 *   every later message             u8 tag, u32 length (without the tag), body
 *
 * A length word is judged as soon as it is there, against the limit that the caller names, so nobody can make
 * us hold more than one message of that size. After the handshake the bytes go through uncut: `takeRest()`
 * gives what arrived early.
 */
import { WireError } from './bytes.ts';

export interface WireMessage {
  tag: number;
  /** Without tag and length; a view. */
  body: Uint8Array;
  /** The whole message as it came, to be passed on; a view. */
  bytes: Uint8Array;
}

/** Body bytes without the length word: backend_startup.c accepts 4 to MAX_STARTUP_PACKET_LENGTH (pqcomm.h). */
export const STARTUP_BODY_BYTES_MIN = 4;
export const STARTUP_BODY_BYTES_MAX = 10_000;
/** Body of a SASL message (PG_MAX_SASL_MESSAGE_LENGTH, libpq/sasl.h). */
export const SASL_BODY_BYTES_MAX = 1024;
/** Body of a cleartext password message (PG_MAX_AUTH_TOKEN_LENGTH, libpq/auth.h). */
export const PASSWORD_BODY_BYTES_MAX = 65_535;
/** One message of a server before its first ReadyForQuery. */
export const BACKEND_STARTUP_BODY_BYTES_MAX = 1 << 20;

export class MessageBuffer {
  #bytes = new Uint8Array(0);

  /** Bytes held that no message took yet. */
  get length(): number {
    return this.#bytes.length;
  }

  push(chunk: Uint8Array<ArrayBuffer>): void {
    if (this.#bytes.length === 0) {
      this.#bytes = chunk;
      return;
    }
    const joined = new Uint8Array(this.#bytes.length + chunk.length);
    joined.set(this.#bytes);
    joined.set(chunk, this.#bytes.length);
    this.#bytes = joined;
  }

  /** The length word at `at`, less its own four bytes; null when it is not there yet. */
  #bodyLength(at: number, min: number, max: number, what: string): number | null {
    if (this.#bytes.length < at + 4) return null;
    const length = new DataView(this.#bytes.buffer, this.#bytes.byteOffset + at, 4).getUint32(0) - 4;
    if (length < min || length > max)
      throw new WireError('length', `invalid length of ${what}: ${length} bytes, ${min} to ${max} expected`);
    return length;
  }

  #take(count: number): Uint8Array<ArrayBuffer> {
    const taken = this.#bytes.subarray(0, count);
    this.#bytes = this.#bytes.subarray(count);
    return taken;
  }

  /** Body of the next untagged packet, or null when it is not complete. Throws WireError `length`. */
  startupPacket(): Uint8Array | null {
    const length = this.#bodyLength(0, STARTUP_BODY_BYTES_MIN, STARTUP_BODY_BYTES_MAX, 'startup packet');
    if (length === null || this.#bytes.length < 4 + length) return null;
    return this.#take(4 + length).subarray(4);
  }

  /** The next message, or null when it is not complete. Throws WireError `length`. */
  message(bodyBytesMax: number): WireMessage | null {
    const tag = this.#bytes[0];
    if (tag === undefined) return null;
    const what = tag > 0x20 && tag < 0x7f ? `message "${String.fromCharCode(tag)}"` : `message of tag ${tag}`;
    const length = this.#bodyLength(1, 0, bodyBytesMax, what);
    if (length === null || this.#bytes.length < 5 + length) return null;
    const bytes = this.#take(5 + length);
    return { tag, body: bytes.subarray(5), bytes };
  }

  /** The tag of the next message, or null before it came. */
  peekTag(): number | null {
    return this.#bytes[0] ?? null;
  }

  /** All that is left; the buffer is empty afterwards. */
  takeRest(): Uint8Array<ArrayBuffer> {
    return this.#take(this.#bytes.length);
  }
}
