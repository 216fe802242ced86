/**
 * Connections for `POST /sql`, kept per role and database.
 *
 * The Worker has verified the caller's password before, so whoever asks for a role may have any connection of that
 * role. A connection goes back only outside a transaction and after DISCARD ALL, which runs when the answer is on its way
 * already. There is one limit for all: other clients need Postgres's connections too. Who finds none waits in order.
 */
import type { Connection } from '../postgres/connection.ts';

export interface PoolOptions {
  connect: (login: Login) => Promise<Connection>;
  connectionsMax: number;
  idleMs: number;
  waitMs: number;
}
export interface Login {
  role: string;
  database: string;
  clientKey: Uint8Array;
}

/** No connection came free in time. Nothing has run. */
export class PoolError extends Error {
  override readonly name = 'PoolError';
}

interface Idle {
  connection: Connection;
  timer: NodeJS.Timeout;
}

const keyOf = (login: Login): string => JSON.stringify([login.role, login.database]);

export class ConnectionPool {
  readonly #options: PoolOptions;
  /** Least recently used first. */
  readonly #idle = new Map<string, Idle[]>();
  readonly #waiters: (() => void)[] = [];
  /** Connections that exist or are being made. */
  #count = 0;
  #closed = false;

  constructor(options: PoolOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#count;
  }
  /** Of `size`, those that wait for somebody. */
  get idle(): number {
    return this.#idle.values().reduce((sum, list) => sum + list.length, 0);
  }

  /** Runs `use` on a connection of `login`. Throws what it throws, PoolError, or ConnectionError. */
  async with<T>(login: Login, use: (connection: Connection) => Promise<T>): Promise<T> {
    const connection = await this.#acquire(login);
    try {
      return await use(connection);
    } finally {
      void this.#release(keyOf(login), connection);
    }
  }

  /** Ends idle connections and keeps no more. */
  close(): void {
    this.#closed = true;
    for (const list of this.#idle.values()) for (const { connection } of list) connection.destroy();
  }

  async #acquire(login: Login): Promise<Connection> {
    const deadline = performance.now() + this.#options.waitMs;
    for (;;) {
      const idle = this.#takeIdle(keyOf(login));
      if (idle !== null) return idle;
      if (this.#count < this.#options.connectionsMax || this.#evictOldest()) break;
      await this.#wait(deadline);
    }
    this.#count++;
    let connection: Connection;
    try {
      connection = await this.#options.connect(login);
    } catch (error) {
      this.#gone();
      throw error;
    }
    void connection.closed.then(() => this.#forget(keyOf(login), connection));
    return connection;
  }

  #takeIdle(key: string): Connection | null {
    const idle = this.#idle.get(key)?.pop();
    if (idle === undefined) return null;
    clearTimeout(idle.timer);
    return idle.connection;
  }

  /** Makes room by ending an idle connection of somebody else. */
  #evictOldest(): boolean {
    for (const list of this.#idle.values()) {
      const oldest = list.shift();
      if (oldest === undefined) continue;
      clearTimeout(oldest.timer);
      oldest.connection.destroy();
      return true;
    }
    return false;
  }

  #wait(deadline: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const wake = (): void => {
        clearTimeout(timer);
        resolve();
      };
      const timer = setTimeout(() => {
        this.#waiters.splice(this.#waiters.indexOf(wake), 1);
        const { connectionsMax, waitMs } = this.#options;
        reject(
          new PoolError(`all ${connectionsMax} connections for SQL over HTTP were busy for ${waitMs} ms`),
        );
      }, deadline - performance.now());
      this.#waiters.push(wake);
    });
  }

  async #release(key: string, connection: Connection): Promise<void> {
    try {
      if (!connection.isOpen) return;
      if (connection.status !== 'I' || this.#closed) return connection.destroy();
      await connection.query('DISCARD ALL');
      if (this.#closed) return connection.destroy();
    } catch (error) {
      connection.destroy();
      if (!(error instanceof Error)) throw error;
      return; // the next one gets another connection
    }
    const timer = setTimeout(() => connection.destroy(), this.#options.idleMs);
    timer.unref();
    const list = this.#idle.get(key);
    if (list === undefined) this.#idle.set(key, [{ connection, timer }]);
    else list.push({ connection, timer });
    this.#waiters.shift()?.();
  }

  #forget(key: string, connection: Connection): void {
    const list = this.#idle.get(key) ?? [];
    const at = list.findIndex((idle) => idle.connection === connection);
    if (at !== -1) clearTimeout(list.splice(at, 1)[0].timer);
    if (list.length === 0) this.#idle.delete(key);
    this.#gone();
  }
  #gone(): void {
    this.#count--;
    this.#waiters.shift()?.();
  }
}
