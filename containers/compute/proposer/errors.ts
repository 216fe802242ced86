/** What can end a proposer. */

/**
 * `superseded`: an acceptor is in a newer term (`term`), or voted for another process in this one; never retry.
 * `unavailable`: no quorum answered in time; a new proposer may try again.
 * `wal`: Postgres sent what is not WAL, or not the WAL that continues the log; nothing of it was sent on.
 * `closed`: `close()` was called before.
 */
export type ProposerErrorCode = 'superseded' | 'unavailable' | 'wal' | 'closed';

export class ProposerError extends Error {
  override readonly name = 'ProposerError';
  readonly code: ProposerErrorCode;
  constructor(code: ProposerErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
