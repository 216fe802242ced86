/**
 * What fails again and again is not tried again and again: after each failure in a row the pause doubles. Everything else goes
 * on meanwhile, and whoever asks sees since when and why.
 */
export interface BreakerStatus {
  /** In a row. */
  failures: number;
  lastError: string | null;
  /** Milliseconds until the next attempt; 0 when it is open to one. */
  pauseMs: number;
}

export class CircuitBreaker {
  readonly #pauseMs: number;
  readonly #pauseMsMax: number;
  readonly #now: () => number;
  #failures = 0;
  #lastError: Error | null = null;
  #retryAt = 0;

  constructor(options: { pauseMs: number; pauseMsMax: number; now: () => number }) {
    this.#pauseMs = options.pauseMs;
    this.#pauseMsMax = options.pauseMsMax;
    this.#now = options.now;
  }
  /** Milliseconds for which nothing is to be tried. */
  get pauseMs(): number {
    return Math.max(0, this.#retryAt - this.#now());
  }
  get isPaused(): boolean {
    return this.pauseMs > 0;
  }
  get failures(): number {
    return this.#failures;
  }
  succeeded(): void {
    this.#failures = 0;
    this.#lastError = null;
    this.#retryAt = 0;
  }
  failed(error: unknown): void {
    this.#lastError = error instanceof Error ? error : new Error(String(error));
    const pauseMs = Math.min(this.#pauseMs * 2 ** this.#failures, this.#pauseMsMax);
    this.#failures++;
    this.#retryAt = this.#now() + pauseMs;
  }
  status(): BreakerStatus {
    return { failures: this.#failures, lastError: this.#lastError?.message ?? null, pauseMs: this.pauseMs };
  }
}
