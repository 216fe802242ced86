/**
 * When a compute may sleep: no client is connected and no query runs, for as long as the project said.
 *
 * Only the edge between "somebody" and "nobody" moves the timer; there is no polling while clients are there.
 * A query whose client has gone still counts (it may be a long CALL); an autovacuum worker does not.
 */
export interface IdleOptions {
  /** 0: never. */
  suspendAfterMs: number;
  /** Statements of clients that run now, by pg_stat_activity. */
  activeQueries: () => Promise<number>;
  /** Asks whether to stop: nobody may have come in between. */
  mayStop: () => Promise<boolean>;
  /** Called once. */
  stop: () => void;
  onError: (error: unknown) => void;
}

export class IdleWatch {
  readonly #options: IdleOptions;
  #users = 0;
  #idleSince: number;
  #timer: NodeJS.Timeout | null = null;
  #closed = false;

  constructor(options: IdleOptions) {
    this.#options = options;
    this.#idleSince = performance.now();
  }

  /** Begins to count. */
  start(): void {
    this.#idleSince = performance.now();
    this.#arm();
  }

  /** A client connection or an HTTP request begins. */
  enter(): void {
    this.#users++;
    this.#disarm();
  }
  leave(): void {
    this.#users--;
    if (this.#users > 0) return;
    this.#idleSince = performance.now();
    this.#arm();
  }

  get users(): number {
    return this.#users;
  }
  /** Milliseconds since the last client left; 0 while one is there. */
  get idleMs(): number {
    return this.#users > 0 ? 0 : Math.round(performance.now() - this.#idleSince);
  }

  close(): void {
    this.#closed = true;
    this.#disarm();
  }

  #arm(): void {
    if (this.#closed || this.#options.suspendAfterMs === 0) return;
    this.#disarm();
    this.#timer = setTimeout(() => void this.#check(), this.#options.suspendAfterMs);
  }
  #disarm(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  async #check(): Promise<void> {
    try {
      const busy = (await this.#options.activeQueries()) > 0;
      if (this.#users > 0 || this.#closed) return;
      if (!busy && (await this.#options.mayStop())) {
        this.#closed = true;
        this.#options.stop();
        return;
      }
    } catch (error) {
      this.#options.onError(error);
    }
    if (this.#users === 0) this.#arm();
  }
}
