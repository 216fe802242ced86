/**
 * The engine's side of giving connections to a container's program (handoff.ts is the program's side).
 *
 * Nothing is given before the program has said that it listens: Node sends one handle at a time and waits for
 * the program to take it, so what is given to one that is still loading its modules queues up here. What is still
 * queued when the program dies is closed; Node would keep it open for ever, and workerd would wait on it.
 */
import type { ChildProcess } from 'node:child_process';
import type { Socket } from 'node:net';
import type { EgressMessage, HandoffMessage, ListeningMessage } from './connect-answers.ts';

export class Handover {
  readonly #child: ChildProcess;
  readonly #listening = new Set<number>();
  readonly #queued = new Set<Socket>();
  #waiting: (() => void)[] = [];
  #ended = false;

  /** `child` has an IPC channel and loads handoff.ts. */
  constructor(child: ChildProcess) {
    this.#child = child;
    child.on('message', ({ listening }: ListeningMessage) => {
      this.#listening.add(listening);
      this.#changed();
    });
    child.once('exit', () => {
      this.#ended = true;
      this.#changed();
      for (const socket of this.#queued) socket.destroy();
      this.#queued.clear();
    });
  }

  isListening(port: number): boolean {
    return this.#child.connected && this.#listening.has(port);
  }

  /** Whether it listens on `port` within `timeoutMs`. */
  async untilListening(port: number, timeoutMs: number): Promise<boolean> {
    const giveUpAt = performance.now() + timeoutMs;
    while (!this.isListening(port) && !this.#ended) {
      const leftMs = giveUpAt - performance.now();
      if (leftMs <= 0) return false;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, leftMs);
        this.#waiting.push(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
    return this.isListening(port);
  }
  #changed(): void {
    for (const wake of this.#waiting.splice(0)) wake();
  }

  tellEgressPort(egressPort: number): void {
    if (this.#child.connected) this.#child.send({ egressPort } satisfies EgressMessage);
  }

  /** Gives away a connection to `port`. */
  give(port: number, socket: Socket): void {
    const message: HandoffMessage = { port };
    this.#queued.add(socket);
    stopReading(socket);
    this.#child.send(message, socket, (error) => {
      this.#queued.delete(socket);
      if (error) socket.destroy();
    });
  }
}

/**
 * Until the program has acknowledged it, Node keeps the connection open here too, goes on reading it, and throws away
 * what it reads: a request that follows at once on the program's word would now and then be lost. A socket
 * that is only paused is still read from.
 */
function stopReading(socket: Socket): void {
  const { _handle: handle } = socket as Socket & { _handle?: { readStop(): number } | null };
  handle?.readStop();
}
