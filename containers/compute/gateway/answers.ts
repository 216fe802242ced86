/**
 * The way from a backend to its client: bytes as they come, held where the commit guard has to agree first.
 *
 *   flowing ──chunk that can report a commit──► held ──log is read──► flowing
 *                                                └──backend is suspect──► settling ──quorum has it──► flowing
 *                                                                            └──it has not──► abandoned (08007)
 */
import type { Socket } from 'node:net';
import { buildErrorResponse } from '../../../lib/postgres/wire/error-response.ts';
import { BackendFraming } from './backend-framing.ts';
import { farewell } from './farewell.ts';
import { TransactionResolutionUnknown, type CommitGuard } from './commit-guard.ts';

/**
 * Passes everything from `backend` to `client`. When the outcome of a commit cannot be known, what the backend
 * said about it is dropped: the client gets a FATAL error 08007 instead, and both connections end.
 */
export function passAnswers(backend: Socket, client: Socket, guard: CommitGuard): void {
  new AnswerPath(backend, client, guard).start();
}

class AnswerPath {
  readonly #backend: Socket;
  readonly #client: Socket;
  readonly #guard: CommitGuard;
  readonly #framing = new BackendFraming();
  #state: 'flowing' | 'held' | 'settling' | 'abandoned' = 'flowing';
  /** In `held` and `settling`: what the guard was asked about. */
  #held: Buffer | null = null;
  /** Came after the guard was asked: to be looked at when `#held` is through. */
  #behind: { chunk: Buffer; reports: boolean }[] = [];
  #ended = false;
  readonly #afterLog = (): void => this.#check();

  constructor(backend: Socket, client: Socket, guard: CommitGuard) {
    this.#backend = backend;
    this.#client = client;
    this.#guard = guard;
  }

  start(): void {
    this.#backend.on('data', (chunk: Buffer) => this.#receive(chunk, this.#framing.scan(chunk)));
    this.#client.on('drain', () => {
      if (this.#state !== 'settling') this.#backend.resume();
    });
    this.#backend.once('end', () => this.#end());
    this.#backend.once('close', () => this.#end());
  }

  #receive(chunk: Buffer, reports: boolean): void {
    if (this.#state === 'abandoned') return;
    if (this.#state !== 'flowing') {
      this.#behind.push({ chunk, reports });
    } else if (reports) {
      this.#state = 'held';
      this.#held = chunk;
      this.#guard.afterLog(this.#afterLog);
    } else {
      this.#forward(chunk);
    }
  }

  #forward(chunk: Buffer): void {
    if (!this.#client.write(chunk)) this.#backend.pause();
  }

  #check(): void {
    if (!this.#guard.isSuspect(this.#framing.pid)) return this.#release();
    this.#state = 'settling';
    this.#backend.pause();
    this.#guard.settle(this.#framing.pid).then(
      () => {
        this.#release();
        if (!this.#client.writableNeedDrain) this.#backend.resume();
      },
      (error: unknown) => this.#abandon(error),
    );
  }

  #release(): void {
    this.#state = 'flowing';
    if (this.#held !== null) this.#forward(this.#held);
    this.#held = null;
    const behind = this.#behind;
    this.#behind = [];
    for (const { chunk, reports } of behind) this.#receive(chunk, reports);
    if (this.#ended && this.#state === 'flowing') this.#finish();
  }

  /** The backend says no more; what is held still has its turn. */
  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    if (this.#state === 'flowing') this.#finish();
  }
  #finish(): void {
    this.#guard.forget(this.#framing.pid);
    farewell(this.#client);
  }

  #abandon(error: unknown): void {
    this.#state = 'abandoned';
    this.#held = null;
    this.#behind = [];
    this.#guard.forget(this.#framing.pid);
    const unknown =
      error instanceof TransactionResolutionUnknown ? error : new TransactionResolutionUnknown(error);
    const { code, message, hint } = unknown;
    farewell(this.#client, buildErrorResponse({ severity: 'FATAL', code, message, hint }));
    this.#backend.destroy();
  }
}
