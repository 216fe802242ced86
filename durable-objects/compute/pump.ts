/**
 * Bytes both ways between two sockets, until either ends.
 *
 * An explicit read and write loop: `pipeTo` into a socket whose other half is read elsewhere hangs in workerd.
 * Each direction waits for its write, so a slow reader slows the writer (backpressure), and the end of one
 * direction closes that direction only: Postgres's Terminate still reaches it.
 */
async function copy(
  from: ReadableStream<Uint8Array>,
  to: WritableStream<Uint8Array>,
  first?: Uint8Array,
): Promise<void> {
  const reader = from.getReader();
  const writer = to.getWriter();
  try {
    if (first) await writer.write(first);
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      await writer.write(value);
    }
    await writer.close();
  } catch (error) {
    await Promise.allSettled([reader.cancel(error), writer.abort(error)]);
    throw error;
  }
}

/** Copies between `client` and `upstream`; `preamble` goes to upstream first. Rejects when a side breaks. */
export async function pump(client: Socket, upstream: Socket, preamble?: Uint8Array): Promise<void> {
  try {
    // Whichever side ends first ends the connection: neither libpq nor Postgres goes on with half of one.
    await Promise.race([
      copy(client.readable as ReadableStream<Uint8Array>, upstream.writable, preamble).then(
        () => upstream.closed,
      ),
      copy(upstream.readable as ReadableStream<Uint8Array>, client.writable),
    ]);
  } finally {
    await Promise.allSettled([client.close(), upstream.close()]);
  }
}
