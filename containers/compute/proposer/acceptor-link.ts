/**
 * One acceptor's WebSocket: connects, and connects again with growing pauses for as long as it is wanted.
 *
 * An acceptor that owes an answer and says nothing for `ANSWER_TIMEOUT_MS` counts as gone: its connection is
 * ended and made anew.
 */
import { refusalOfCode, REFUSALS } from '../../../lib/consensus/messages.ts';

/** What is used of a WebSocket, so that tests can give another. */
export interface AcceptorSocket {
  binaryType: string;
  send(data: Uint8Array): void;
  close(code?: number, reason?: string): void;
  addEventListener(type: 'open', listener: () => void): void;
  addEventListener(type: 'message', listener: (event: { data: unknown }) => void): void;
  addEventListener(type: 'close', listener: (event: { code: number; reason: string }) => void): void;
  addEventListener(type: 'error', listener: (event: { message?: string }) => void): void;
}

export interface AcceptorLinkOptions {
  connect(): AcceptorSocket;
  onOpen(): void;
  onMessage(bytes: Uint8Array): void;
  /** The connection that `onOpen` told of is over. */
  onClose(): void;
  /** Whether the acceptor owes an answer now. */
  expectsAnswer(): boolean;
}

const PAUSE_FIRST_MS = 50;
const PAUSE_MAX_MS = 2000;
/** After a refusal that a further attempt will hardly change. */
const PAUSE_REFUSED_MS = 5000;
const CONNECT_TIMEOUT_MS = 10_000;
const ANSWER_TIMEOUT_MS = 10_000;

export class AcceptorLink {
  readonly #options: AcceptorLinkOptions;
  #socket: AcceptorSocket | null = null;
  #open = false;
  #wanted = true;
  #pauseMs = PAUSE_FIRST_MS;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #answerTimer: ReturnType<typeof setTimeout> | undefined;
  readonly #over = Promise.withResolvers<void>();
  /** Why the last connection ended or could not be made; for messages to people. */
  lastFailure = 'not connected yet';

  constructor(options: AcceptorLinkOptions) {
    this.#options = options;
    this.#connect();
  }

  send(bytes: Uint8Array): void {
    if (!this.#open || this.#socket === null) return; // its state learns of the end by onClose
    this.#socket.send(bytes);
    this.#watch();
  }

  /** Ends this connection because of what came over it; a new one is made. */
  restart(reason: string, when: 'soon' | 'later' = 'soon'): void {
    this.lastFailure = reason;
    this.#drop(this.#socket, when === 'soon' ? PAUSE_FIRST_MS : PAUSE_MAX_MS);
  }

  /** Ends the connection in order; resolves when the other side has taken note. */
  close(): Promise<void> {
    this.#wanted = false;
    clearTimeout(this.#timer);
    clearTimeout(this.#answerTimer);
    if (this.#socket === null) return Promise.resolve();
    this.#socket.close(1000);
    return this.#over.promise;
  }

  #connect(): void {
    const socket = this.#options.connect();
    socket.binaryType = 'arraybuffer';
    this.#socket = socket;
    this.#timer = setTimeout(() => {
      this.lastFailure = `no connection within ${CONNECT_TIMEOUT_MS} ms`;
      this.#drop(socket, this.#pauseMs);
    }, CONNECT_TIMEOUT_MS);
    socket.addEventListener('open', () => {
      if (this.#socket !== socket) return;
      clearTimeout(this.#timer);
      this.#open = true;
      this.#options.onOpen();
    });
    socket.addEventListener('message', ({ data }) => {
      if (this.#socket !== socket || !this.#open) return;
      clearTimeout(this.#answerTimer);
      this.#answerTimer = undefined;
      this.#pauseMs = PAUSE_FIRST_MS;
      if (data instanceof ArrayBuffer) this.#options.onMessage(new Uint8Array(data));
      else this.restart('the acceptor sent text');
      if (this.#socket === socket && this.#options.expectsAnswer()) this.#watch();
    });
    socket.addEventListener('error', (event) => {
      if (this.#socket === socket) this.lastFailure = event.message || 'connection error';
      this.#drop(socket, this.#pauseMs);
    });
    socket.addEventListener('close', ({ code, reason }) => {
      if (!this.#wanted) this.#over.resolve();
      if (this.#socket !== socket) return;
      const refusal = refusalOfCode(code);
      if (code !== 1006 || this.#open) this.lastFailure = reason === '' ? `closed with ${code}` : reason;
      const hopeless = refusal !== null && !REFUSALS[refusal].retry;
      this.#drop(socket, hopeless ? PAUSE_REFUSED_MS : this.#pauseMs);
    });
  }

  /** From now on, unless it is watched already: `onMessage` may have sent, and a second timer would be lost sight of. */
  #watch(): void {
    this.#answerTimer ??= setTimeout(() => {
      this.#answerTimer = undefined;
      if (this.#options.expectsAnswer()) this.restart(`no answer within ${ANSWER_TIMEOUT_MS} ms`);
    }, ANSWER_TIMEOUT_MS);
  }

  /** Forgets `socket` if it is the current one, and connects again after a pause. */
  #drop(socket: AcceptorSocket | null, pauseMs: number): void {
    if (socket === null || this.#socket !== socket) return;
    const wasOpen = this.#open;
    this.#socket = null;
    this.#open = false;
    clearTimeout(this.#timer);
    clearTimeout(this.#answerTimer);
    this.#answerTimer = undefined;
    socket.close();
    if (this.#wanted) {
      // A little at random, so that three do not come at once after a common failure.
      this.#timer = setTimeout(() => this.#connect(), pauseMs * (0.75 + Math.random() / 2));
      this.#pauseMs = Math.min(this.#pauseMs * 2, PAUSE_MAX_MS);
    }
    if (wasOpen) this.#options.onClose();
  }
}
