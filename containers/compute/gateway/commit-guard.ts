/**
 * No commit is reported as done that a quorum has not persisted.
 *
 * Postgres holds each commit until the proposer has confirmed it, with one hole: a cancel that reaches a waiting
 * commit (CancelRequest, pg_cancel_backend, a timeout inside a procedure) ends the wait, and the client is told
 * success with at most a warning (SyncRepWaitForLSN in replication/syncrep.c). The backend writes that warning
 * to the server's log before it answers its client, and no user can keep it from the log. So:
 *
 *   log     [4711] WARNING:  canceling wait for …       backend 4711 is suspect
 *   answer  CommandComplete, ReadyForQuery of 4711      held until the log has been read up to now; if suspect, until
 *                                                       the quorum has everything that Postgres has written so far
 *
 * Cancelling stays what users know, pg_cancel_backend included; only the false success is gone. When the quorum
 * does not follow within the grace time the outcome is unknown, and is reported so (08007).
 */
import type { Lsn } from '../../../lib/postgres/lsn.ts';

export interface CommitGuardOptions {
  /** Where Postgres's own WAL is written up to: at or behind every commit that it has reported. */
  flushLsn: () => Promise<Lsn>;
  /** Resolves when the quorum has persisted everything before `lsn`; rejects after `timeoutMs`, or when it never will. */
  waitForCommit: (lsn: Lsn, timeoutMs: number) => Promise<void>;
  graceMs?: number;
}

const GRACE_MS = 2000;

/** SQLSTATE 08007: the commit may or may not survive. */
export class TransactionResolutionUnknown extends Error {
  override readonly name = 'TransactionResolutionUnknown';
  readonly code = '08007';
  readonly hint =
    'The wait for the storage quorum was cancelled. Check whether the transaction took effect before repeating it.';
  constructor(cause?: unknown) {
    super('the commit was cancelled while it waited to become durable; its outcome is unknown', { cause });
  }
}

export class CommitGuard {
  readonly #options: CommitGuardOptions;
  readonly #suspects = new Set<number>();
  #waiting: (() => void)[] = [];

  constructor(options: CommitGuardOptions) {
    this.#options = options;
  }

  /** The log says that backend `pid` has given up waiting for the quorum. */
  suspect(pid: number): void {
    this.#suspects.add(pid);
  }

  /** The backend is gone. */
  forget(pid: number): void {
    this.#suspects.delete(pid);
  }

  /** Only after the log has been read (`afterLog`) is this the whole truth. */
  isSuspect(pid: number): boolean {
    return this.#suspects.has(pid);
  }

  /**
   * Calls back when every line has been read that was in the log's pipe at the time of the call. The event loop polls
   * all descriptors once between two checks (libuv), and the log's reader handles what it gets at once; the first check
   * may end a poll that began before the call, the second one cannot.
   */
  afterLog(then: () => void): void {
    this.#waiting.push(then);
    if (this.#waiting.length > 1) return;
    setImmediate(() => {
      const ready = this.#waiting;
      this.#waiting = [];
      setImmediate(() => {
        for (const resume of ready) resume();
      });
    });
  }

  /** Waits until a suspect's commits are durable and takes the suspicion back. Throws TransactionResolutionUnknown. */
  async settle(pid: number): Promise<void> {
    const { flushLsn, waitForCommit, graceMs = GRACE_MS } = this.#options;
    try {
      await waitForCommit(await flushLsn(), graceMs);
    } catch (cause) {
      throw new TransactionResolutionUnknown(cause);
    }
    this.#suspects.delete(pid);
  }

  /** For a whole answer at once: resolves when it may be passed on. Throws TransactionResolutionUnknown. */
  async clear(pid: number): Promise<void> {
    await new Promise<void>((resolve) => this.afterLog(resolve));
    if (this.#suspects.has(pid)) await this.settle(pid);
  }
}
