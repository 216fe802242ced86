/**
 * Joins two sockets: the runtime pumps their bytes both ways (`pipeTo`), with no JavaScript in between, which is
 * several times the throughput of a read and write loop.
 *
 *   a.readable ──────► b.writable        the end of one direction closes that direction only (half-close):
 *   a.writable ◄────── b.readable        Postgres still answers a client that has nothing more to say
 *
 * It is over when `b` (the server's side) ends or either breaks. Then the other direction has to be detached
 * before its sockets are closed: a `close()` under a running pipe leaves the TCP connection open, and so does an
 * abort of its destination.
 */

export interface Duplex {
  readable: ReadableStream<Uint8Array>;
  writable: WritableStream<Uint8Array>;
}

/**
 * Resolves when both directions are detached, at the latest when `signal` is aborted; both sockets are then the
 * caller's to close. Never rejects.
 */
export async function splice(a: Duplex, b: Duplex, signal?: AbortSignal): Promise<void> {
  const over = new AbortController();
  signal?.addEventListener('abort', () => over.abort(), { once: true });
  const options = { signal: over.signal, preventAbort: true, preventCancel: true };
  const toServer = a.readable.pipeTo(b.writable, options);
  const toClient = b.readable.pipeTo(a.writable, options);
  const ended = Promise.race([toClient, toServer.then(() => toClient)]);
  // A broken connection is how sessions end that nobody ended: there is nobody left to tell.
  await ended.catch(() => undefined);
  over.abort();
  await Promise.allSettled([toServer, toClient]);
}
