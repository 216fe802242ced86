/** Runs the statements of one request, and gives up when the caller has. */
import type { Connection, Result } from '../postgres/connection.ts';
import type { SqlRequest } from './request.ts';

/** How long a cancelled statement may take to stop before its connection is given up. */
const CANCEL_GRACE_MS = 1000;

/** Throws ServerError or ConnectionError; a transaction is rolled back then. */
export async function runStatements(
  connection: Connection,
  request: SqlRequest,
  abandoned: AbortSignal,
): Promise<Result[]> {
  const onAbandoned = (): void => cancel(connection);
  abandoned.addEventListener('abort', onAbandoned, { once: true });
  try {
    if (abandoned.aborted) return [];
    return await (request.begin === null ? runOne(connection, request) : runBatch(connection, request));
  } finally {
    abandoned.removeEventListener('abort', onAbandoned);
    if (abandoned.aborted) connection.destroy(); // the cancel may still be on its way, and must hit nobody else
  }
}

const runOne = async (connection: Connection, { statements: [one] }: SqlRequest): Promise<Result[]> => [
  await connection.execute(one.query, one.params),
];

async function runBatch(connection: Connection, request: SqlRequest): Promise<Result[]> {
  await connection.query(request.begin ?? 'BEGIN');
  const results: Result[] = [];
  try {
    for (const { query, params } of request.statements) results.push(await connection.execute(query, params));
    await connection.query('COMMIT');
    return results;
  } catch (error) {
    if (connection.isOpen && connection.status !== 'I') await connection.query('ROLLBACK');
    throw error;
  }
}

function cancel(connection: Connection): void {
  connection.cancel().catch(() => connection.destroy());
  setTimeout(() => connection.destroy(), CANCEL_GRACE_MS).unref();
}
