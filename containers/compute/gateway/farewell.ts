/** The last words to a client, and its socket's end: without losing them, and without keeping the socket. */
import type { Socket } from 'node:net';

/** How long a client may take to read the last words and to close its own side. */
const FAREWELL_MS = 5000;

/**
 * Sends `lastBytes` and the end of the stream. What the client still sends is read and dropped: closing a socket
 * with unread bytes resets it, and the reset overtakes what was sent.
 */
export function farewell(client: Socket, lastBytes?: Uint8Array): void {
  if (lastBytes === undefined) client.end();
  else client.end(lastBytes);
  client.resume();
  client.setTimeout(0);
  const timer = setTimeout(() => client.destroy(), FAREWELL_MS);
  timer.unref();
  client.once('close', () => clearTimeout(timer));
}
