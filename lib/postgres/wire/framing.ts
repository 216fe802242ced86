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
  /** Bytes are only ever appended, so what was given out stays as it was. */
  #bytes = new Uint8Array(0);
  #start = 0;
  #end = 0;

  /** Bytes held that no message took yet. */
  get length(): number {
    return this.#end - this.#start;
  }

  /** The buffer takes over a chunk that finds it empty. */
  push(chunk: Uint8Array<ArrayBuffer>): void {
    if (this.length === 0) {
      [this.#bytes, this.#start, this.#end] = [chunk, 0, chunk.length];
      return;
    }
    if (this.#end + chunk.length > this.#bytes.length) this.#grow(chunk.length);
    this.#bytes.set(chunk, this.#end);
    this.#end += chunk.length;
  }

  #grow(count: number): void {
    const larger = new Uint8Array(Math.max(2 * this.length, this.length + count));
    larger.set(this.#bytes.subarray(this.#start, this.#end));
    [this.#bytes, this.#start, this.#end] = [larger, 0, this.length];
  }

  /** The length word after `skipped` bytes, less its own four; null when it is not there yet. */
  #bodyLength(skipped: number, min: number, max: number, what: string): number | null {
    if (this.length < skipped + 4) return null;
    const at = this.#bytes.byteOffset + this.#start + skipped;
    const length = new DataView(this.#bytes.buffer, at, 4).getUint32(0) - 4;
    if (length < min || length > max)
      throw new WireError('length', `invalid length of ${what}: ${length} bytes, ${min} to ${max} expected`);
    return length;
  }

  #take(count: number): Uint8Array<ArrayBuffer> {
    const start = this.#start;
    this.#start += count;
    return this.#bytes.subarray(start, this.#start);
  }

  /** Body of the next untagged packet, or null when it is not complete. Throws WireError `length`. */
  startupPacket(): Uint8Array | null {
    const length = this.#bodyLength(0, STARTUP_BODY_BYTES_MIN, STARTUP_BODY_BYTES_MAX, 'startup packet');
    if (length === null || this.length < 4 + length) return null;
    return this.#take(4 + length).subarray(4);
  }

  /** The next message, or null when it is not complete. Throws WireError `length`. */
  message(bodyBytesMax: number): WireMessage | null {
    const tag = this.peekTag();
    if (tag === null) return null;
    const what = tag > 0x20 && tag < 0x7f ? `message "${String.fromCharCode(tag)}"` : `message of tag ${tag}`;
    const length = this.#bodyLength(1, 0, bodyBytesMax, what);
    if (length === null || this.length < 5 + length) return null;
    const bytes = this.#take(5 + length);
    return { tag, body: bytes.subarray(5), bytes };
  }

  /** The tag of the next message, or null before it came. */
  peekTag(): number | null {
    return this.length === 0 ? null : this.#bytes[this.#start];
  }

  /** All that is left; the buffer is empty afterwards. */
  takeRest(): Uint8Array<ArrayBuffer> {
    return this.#take(this.length);
  }
}
