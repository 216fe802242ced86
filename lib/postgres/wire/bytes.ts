/**
 * Bounds-checked reader and writer for Postgres's frontend/backend protocol: big-endian integers and
 * zero-terminated strings (src/backend/libpq/pqformat.c).
 *
 * Everything in lib/postgres/wire throws only WireError at bytes that the protocol does not allow, so that a
 * caller can turn it into the ErrorResponse that Postgres itself would send.
 */

/**
 * `length`: a length word outside its limits. `truncated`: a field runs past the end of its message.
 * `layout`: fields that do not fill their message, or a value the protocol does not know.
 * `encoding`: text that is not UTF-8. `version`: a major protocol version that is not spoken.
 */
export type WireErrorCode = 'length' | 'truncated' | 'layout' | 'encoding' | 'version';

const SQL_STATE: Record<WireErrorCode, string> = {
  length: '08P01',
  truncated: '08P01',
  layout: '08P01',
  encoding: '22021',
  version: '0A000',
};

export class WireError extends Error {
  override readonly name = 'WireError';
  readonly code: WireErrorCode;
  constructor(code: WireErrorCode, message: string) {
    super(message);
    this.code = code;
  }
  /** What Postgres reports for the same fault. */
  get sqlState(): string {
    return SQL_STATE[this.code];
  }
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const encoder = new TextEncoder();

/** Throws WireError `encoding`. */
export function decodeText(bytes: Uint8Array, what: string): string {
  try {
    return decoder.decode(bytes);
  } catch {
    throw new WireError('encoding', `${what} is not valid UTF-8`);
  }
}
export const encodeText = (text: string): Uint8Array => encoder.encode(text);

export class WireReader {
  readonly #bytes: Uint8Array;
  readonly #data: DataView;
  readonly #what: string;
  #offset = 0;

  /** `what` names the message in errors. */
  constructor(bytes: Uint8Array, what: string) {
    this.#bytes = bytes;
    this.#data = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#what = what;
  }
  get remaining(): number {
    return this.#bytes.length - this.#offset;
  }
  #advance(count: number): number {
    if (count > this.remaining) {
      throw new WireError(
        'truncated',
        `${this.#what} of ${this.#bytes.length} bytes ends at ${this.#offset}: ${count} more bytes expected`,
      );
    }
    const at = this.#offset;
    this.#offset += count;
    return at;
  }
  u8(): number {
    return this.#data.getUint8(this.#advance(1));
  }
  u16(): number {
    return this.#data.getUint16(this.#advance(2));
  }
  u32(): number {
    return this.#data.getUint32(this.#advance(4));
  }
  i32(): number {
    return this.#data.getInt32(this.#advance(4));
  }
  /** A view, not a copy. */
  take(count: number): Uint8Array {
    const at = this.#advance(count);
    return this.#bytes.subarray(at, at + count);
  }
  rest(): Uint8Array {
    return this.take(this.remaining);
  }
  /** The bytes of a zero-terminated string, without the terminator. */
  cstringBytes(): Uint8Array {
    const end = this.#bytes.indexOf(0, this.#offset);
    if (end < 0) throw new WireError('truncated', `${this.#what}: string without terminator`);
    const bytes = this.take(end - this.#offset);
    this.#offset++;
    return bytes;
  }
  cstring(): string {
    return decodeText(this.cstringBytes(), `string in ${this.#what}`);
  }
  /** The message must end here. */
  end(): void {
    if (this.remaining !== 0)
      throw new WireError('layout', `${this.#what}: ${this.remaining} bytes after its end`);
  }
}

export class WireWriter {
  #bytes = new Uint8Array(128);
  #data = new DataView(this.#bytes.buffer);
  #length = 0;

  #grow(count: number): number {
    const at = this.#length;
    if (at + count > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(this.#bytes.length * 2, at + count));
      larger.set(this.#bytes.subarray(0, at));
      this.#bytes = larger;
      this.#data = new DataView(larger.buffer);
    }
    this.#length = at + count;
    return at;
  }
  u8(value: number): this {
    const at = this.#grow(1); // first: it may replace the view
    this.#data.setUint8(at, value);
    return this;
  }
  u32(value: number): this {
    const at = this.#grow(4);
    this.#data.setUint32(at, value);
    return this;
  }
  bytes(value: Uint8Array): this {
    const at = this.#grow(value.length);
    this.#bytes.set(value, at);
    return this;
  }
  cstringBytes(value: Uint8Array): this {
    if (value.includes(0)) throw new WireError('layout', 'a string with a zero byte cannot be sent');
    return this.bytes(value).u8(0);
  }
  cstring(value: string): this {
    return this.cstringBytes(encoder.encode(value));
  }
  /** What was written, as a message body behind `tag` and the length word; a StartupMessage has no tag. */
  message(tag: number | null): Uint8Array<ArrayBuffer> {
    const header = tag === null ? 4 : 5;
    const message = new Uint8Array(header + this.#length);
    if (tag !== null) message[0] = tag;
    new DataView(message.buffer).setUint32(header - 4, this.#length + 4);
    message.set(this.#bytes.subarray(0, this.#length), header);
    return message;
  }
}

/** One-letter message types as numbers (protocol.h, PqMsg_…). */
export const TAG = {
  passwordMessage: 0x70, // p: PasswordMessage, SASLInitialResponse, SASLResponse
  query: 0x51, // Q
  terminate: 0x58, // X
  authentication: 0x52, // R
  parameterStatus: 0x53, // S
  backendKeyData: 0x4b, // K
  readyForQuery: 0x5a, // Z
  errorResponse: 0x45, // E
  noticeResponse: 0x4e, // N
  negotiateProtocolVersion: 0x76, // v
} as const;
