/** Bytes both ways between a client's socket and the compute's, until either ends; both are closed then. */
import { splice } from '../../workers/proxy/splice.ts';

export interface PumpOptions {
  /** Goes to upstream first. */
  preamble: Uint8Array;
  /** Aborted when upstream is known to be dead. */
  signal: AbortSignal;
}

/** Rejects when the preamble cannot be written. */
export async function pump(
  client: Socket,
  upstream: Socket,
  { preamble, signal }: PumpOptions,
): Promise<void> {
  const dead = new Promise<never>((_, reject) => {
    signal.addEventListener('abort', () => reject(new Error('the compute exited')), { once: true });
  });
  dead.catch(() => undefined);
  try {
    const writer = (upstream.writable as WritableStream<Uint8Array>).getWriter();
    await Promise.race([writer.write(preamble), dead]);
    writer.releaseLock();
    // A write that is under way to a dead compute never ends, and neither does the pipe that waits for it.
    await Promise.race([splice(client, upstream, signal), dead]);
  } finally {
    // Not awaited: closing waits for the other side, which may be dead.
    client.close().catch(() => undefined);
    upstream.close().catch(() => undefined);
  }
}
