/**
 * Bounds-checked little-endian reader and writer for messages between Ebb's own parts.
 *
 * The reader throws `MalformedMessage` on any read past the end, so that a decoder never sees bytes it was
 * not given; decoders check every count against its named maximum before they allocate for it.
 */
import { lsn, type Lsn } from '../postgres/lsn.ts';

/** A message from outside that does not have the form its tag promises. */
export class MalformedMessage extends Error {
  override readonly name = 'MalformedMessage';
}

/** Of a number below 2^53 the upper half is below this. */
const HIGH_MAX = 2 ** 21;

export class ByteReader {
  readonly bytes: Uint8Array;
  offset = 0;
  readonly #data: DataView;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.#data = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }
  get remaining(): number {
    return this.bytes.length - this.offset;
  }
  #take(count: number): number {
    if (count > this.remaining) {
      throw new MalformedMessage(
        `message of ${this.bytes.length} bytes ends at ${this.offset}: ${count} more bytes expected`,
      );
    }
    const at = this.offset;
    this.offset += count;
    return at;
  }
  u8(): number {
    return this.#data.getUint8(this.#take(1));
  }
  u16(): number {
    return this.#data.getUint16(this.#take(2), true);
  }
  u32(): number {
    return this.#data.getUint32(this.#take(4), true);
  }
  /** An LSN or another count below 2^53; a larger one is malformed. */
  u53(): number {
    const at = this.#take(8);
    const high = this.#data.getUint32(at + 4, true);
    if (high >= HIGH_MAX)
      throw new MalformedMessage(`${this.#data.getBigUint64(at, true)} is not below 2^53`);
    return high * 2 ** 32 + this.#data.getUint32(at, true);
  }
  lsn(): Lsn {
    return lsn(this.u53());
  }
  /** A view, not a copy. */
  take(count: number): Uint8Array {
    const at = this.#take(count);
    return this.bytes.subarray(at, at + count);
  }
  rest(): Uint8Array {
    return this.take(this.remaining);
  }
  /** u32 length, then UTF-8. */
  text(lengthMax: number): string {
    const length = this.u32();
    if (length > lengthMax)
      throw new MalformedMessage(`text of ${length} bytes: at most ${lengthMax} allowed`);
    return new TextDecoder().decode(this.take(length));
  }
  /** The message must end here. */
  end(): void {
    if (this.remaining !== 0)
      throw new MalformedMessage(`${this.remaining} bytes after the end of the message`);
  }
}

export class ByteWriter {
  #bytes: Uint8Array;
  #data: DataView;
  #length = 0;

  constructor(sizeHint = 64) {
    this.#bytes = new Uint8Array(sizeHint);
    this.#data = new DataView(this.#bytes.buffer);
  }
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
  u16(value: number): this {
    const at = this.#grow(2);
    this.#data.setUint16(at, value, true);
    return this;
  }
  u32(value: number): this {
    const at = this.#grow(4);
    this.#data.setUint32(at, value, true);
    return this;
  }
  u53(value: number): this {
    const at = this.#grow(8);
    this.#data.setUint32(at, value % 2 ** 32, true);
    this.#data.setUint32(at + 4, Math.floor(value / 2 ** 32), true);
    return this;
  }
  bytes(value: Uint8Array): this {
    const at = this.#grow(value.length);
    this.#bytes.set(value, at);
    return this;
  }
  text(value: string): this {
    const encoded = new TextEncoder().encode(value);
    return this.u32(encoded.length).bytes(encoded);
  }
  /** Begins anew in the same buffer: what `done` gave before is overwritten. */
  reset(): this {
    this.#length = 0;
    return this;
  }
  /** What was written; a view of the writer's buffer. */
  done(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }
}
