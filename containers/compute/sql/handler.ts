/** `POST /sql` on the compute: the Worker has authenticated the caller; here the statements run. */
import type { CommitGuard } from '../gateway/commit-guard.ts';
import { Connection } from '../postgres/connection.ts';
import { ADMIN_ROLE } from '../postgres/settings.ts';
import { errorAnswer, resultsBody, SQL_ANSWER_BYTES_MAX } from './answer.ts';
import { ConnectionPool } from './pool.ts';
import { parseSqlRequest, SqlRequestError, type HeaderReader } from './request.ts';
import { runStatements } from './run.ts';

export interface SqlCall {
  headers: HeaderReader;
  /** JSON. */
  body: string;
  /** Aborted when the caller has gone: what runs is cancelled. */
  signal: AbortSignal;
}
export interface SqlAnswer {
  status: number;
  /** JSON. */
  body: string;
}
export interface SqlHandlerOptions {
  socketPath: string;
  guard: CommitGuard;
  /** Connections of Postgres that this handler may hold. */
  connectionsMax?: number;
  idleMs?: number;
  waitMs?: number;
}

const CONNECTIONS_MAX = 40;
const IDLE_MS = 20_000;
const WAIT_MS = 15_000;

export class SqlHandler {
  readonly #pool: ConnectionPool;

  constructor(options: SqlHandlerOptions) {
    const { socketPath, guard } = options;
    this.#pool = new ConnectionPool({
      connectionsMax: options.connectionsMax ?? CONNECTIONS_MAX,
      idleMs: options.idleMs ?? IDLE_MS,
      waitMs: options.waitMs ?? WAIT_MS,
      connect: (login) =>
        Connection.connect({
          socketPath,
          user: login.role,
          database: login.database,
          clientKey: login.clientKey,
          answerBytesMax: SQL_ANSWER_BYTES_MAX,
          settle: (connection) => guard.clear(connection.pid),
        }),
    });
  }

  get connections(): { size: number; idle: number } {
    const { size, idle } = this.#pool;
    return { size, idle };
  }

  async handle({ headers, body, signal }: SqlCall): Promise<SqlAnswer> {
    try {
      const parsed = parseSqlRequest(headers, body);
      if (parsed.role === ADMIN_ROLE) throw new SqlRequestError(`role "${ADMIN_ROLE}" is reserved`);
      const results = await this.#pool.with(parsed, (connection) =>
        runStatements(connection, parsed, signal),
      );
      return { status: 200, body: signal.aborted ? '' : resultsBody(parsed, results) };
    } catch (error) {
      const { status, body: fields } = errorAnswer(error);
      return { status, body: JSON.stringify(fields) };
    }
  }

  close(): void {
    this.#pool.close();
  }
}
