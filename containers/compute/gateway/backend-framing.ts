/**
 * Follows the message boundaries of what Postgres sends to a client, without holding or changing a byte.
 *
 *   u8 tag, u32 length (without the tag), body       a header is read, its body is hopped over
 *
 * Two things are noticed: BackendKeyData, which names the backend, and messages that can tell a client that a
 * commit is done (CommandComplete, ReadyForQuery). Source: src/include/libpq/protocol.h.
 */
const TAG_COMMAND_COMPLETE = 0x43; // C
const TAG_READY_FOR_QUERY = 0x5a; // Z
const TAG_BACKEND_KEY_DATA = 0x4b; // K
const HEADER_BYTES = 5;

export class BackendFraming {
  /** Process id of the backend; 0 until BackendKeyData has passed. */
  pid = 0;
  /** Bytes of the current message's body that are still to come. */
  #bodyRest = 0;
  /** Bytes of header, and of BackendKeyData's process id behind it, that are collected: they may come in pieces. */
  #head = new Uint8Array(HEADER_BYTES + 4);
  #headLength = 0;

  /** True when `chunk` holds (the beginning of) a message that can report a commit. */
  scan(chunk: Uint8Array): boolean {
    let reports = false;
    let offset = 0;
    while (offset < chunk.length) {
      if (this.#bodyRest > 0) {
        const hop = Math.min(this.#bodyRest, chunk.length - offset);
        this.#bodyRest -= hop;
        offset += hop;
        continue;
      }
      if (this.#headLength === 0) {
        const tag = chunk[offset];
        if (tag === TAG_COMMAND_COMPLETE || tag === TAG_READY_FOR_QUERY) reports = true;
        if (tag !== TAG_BACKEND_KEY_DATA && chunk.length - offset >= HEADER_BYTES) {
          // the usual case: the whole header is here
          this.#bodyRest = bodyLength(chunk, offset);
          offset += HEADER_BYTES;
          continue;
        }
      }
      this.#head[this.#headLength++] = chunk[offset++];
      this.#readHead();
    }
    return reports;
  }

  #readHead(): void {
    const isKey = this.#head[0] === TAG_BACKEND_KEY_DATA;
    if (this.#headLength < (isKey ? HEADER_BYTES + 4 : HEADER_BYTES)) return;
    this.#bodyRest = bodyLength(this.#head, 0);
    if (isKey) {
      this.pid = new DataView(this.#head.buffer).getUint32(HEADER_BYTES);
      this.#bodyRest = Math.max(0, this.#bodyRest - 4);
    }
    this.#headLength = 0;
  }
}

/** From the header at `offset`; the length word counts itself. */
const bodyLength = (bytes: Uint8Array, offset: number): number =>
  Math.max(
    0,
    bytes[offset + 1] * 0x100_0000 +
      ((bytes[offset + 2] << 16) | (bytes[offset + 3] << 8) | bytes[offset + 4]) -
      4,
  );
