/**
 * TCP ports of this machine on loopback: is one free, and give me one.
 *
 * Ports for containers are taken from below the range from which the kernel takes those of outgoing connections
 * (Linux: from 32768), so that none of these is in the way between the choice and the container's listen().
 */
import { randomInt } from 'node:crypto';
import { createServer } from 'node:net';

const FIRST_PORT = 20_000;
const LAST_PORT = 32_767;
const ATTEMPTS_MAX = 200;

/** Why `port` cannot be listened on, as an errno code (EADDRINUSE, EACCES), or null when it can. */
export function whyNotFree(port: number, host = '127.0.0.1'): Promise<string | null> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    probe.listen({ port, host, exclusive: true }, () => probe.close(() => resolve(null)));
  });
}

/** Gives out ports that are free now and that it has not given to anyone else who holds one still. */
export class PortPool {
  readonly #taken = new Set<number>();

  /** Throws when two hundred random ports were all taken. */
  async take(): Promise<number> {
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      const port = randomInt(FIRST_PORT, LAST_PORT + 1);
      if (this.#taken.has(port)) continue;
      this.#taken.add(port);
      if ((await whyNotFree(port)) === null) return port;
      this.#taken.delete(port);
    }
    throw new Error(`no free port found between ${FIRST_PORT} and ${LAST_PORT}`);
  }

  release(port: number): void {
    this.#taken.delete(port);
  }
}
