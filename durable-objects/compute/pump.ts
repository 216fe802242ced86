/** Bytes both ways between a client's socket and the compute's, until either ends; both are closed then. */
import { splice } from '../../workers/proxy/splice.ts';

/** `preamble` goes to upstream first. Rejects when that cannot be written. */
export async function pump(client: Socket, upstream: Socket, preamble: Uint8Array): Promise<void> {
  try {
    const writer = (upstream.writable as WritableStream<Uint8Array>).getWriter();
    await writer.write(preamble);
    writer.releaseLock();
    await splice(client, upstream);
  } finally {
    await Promise.allSettled([client.close(), upstream.close()]);
  }
}
