/**
 * What `POST /sql` answers: results in the form that @neondatabase/serverless reads, or an error with the fields of
 * Postgres's ErrorResponse (400: the statement's or the caller's own; other statuses: the text is shown as it is).
 */
import { ConnectionError, ERROR_FIELDS, isServerError, type Result } from '../postgres/connection.ts';
import { TransactionResolutionUnknown } from '../gateway/commit-guard.ts';
import { PoolError } from './pool.ts';
import { SqlRequestError, type SqlRequest, type Statement } from './request.ts';
import { jsonOfType } from './values.ts';

/** Bytes of an answer from Postgres; a larger one ends in 507, as Neon has it. */
export const SQL_ANSWER_BYTES_MAX = 10 << 20;

/** The body of a 200. */
export function resultsBody(request: SqlRequest, results: readonly Result[]): string {
  const bodies = results.map((result, i) => resultBody(result, request.statements[i], request.rawText));
  return request.begin === null ? bodies[0] : `{"results":[${bodies.join(',')}]}`;
}

function resultBody(result: Result, statement: Statement, rawText: boolean): string {
  const { arrayMode } = statement;
  const fields = result.fields.map((field) => ({
    name: field.name,
    dataTypeID: field.dataTypeID,
    tableID: field.tableID,
    columnID: field.columnID,
    dataTypeSize: field.dataTypeSize,
    dataTypeModifier: field.dataTypeModifier,
    format: 'text',
  }));
  const toJson = fields.map((field) => (rawText ? JSON.stringify : jsonOfType(field.dataTypeID)));
  const keys = fields.map((field) => (arrayMode ? '' : `${JSON.stringify(field.name)}:`));
  const [open, close] = arrayMode ? '[]' : '{}';
  const rows = result.rows.map((row) => {
    const cells = row.map((text, i) => keys[i] + (text === null ? 'null' : toJson[i](text)));
    return open + cells.join(',') + close;
  });
  const { command, rowCount } = parseTag(result.tag);
  const rest = JSON.stringify({ command, rowCount, rowAsArray: arrayMode }).slice(1);
  return `{"fields":${JSON.stringify(fields)},"rows":[${rows.join(',')}],${rest}`;
}

/** `INSERT 0 3` names an oid before the count; most tags end in the count; some have none. */
export function parseTag(tag: string): { command: string; rowCount: number | null } {
  const words = tag.split(' ');
  const count = words[0] === 'INSERT' ? words[2] : words[1];
  return { command: words[0], rowCount: count !== undefined && /^\d+$/.test(count) ? Number(count) : null };
}

export interface ErrorAnswer {
  status: number;
  body: Record<string, string | null>;
}

/** Throws what is no expected error. */
export function errorAnswer(error: unknown): ErrorAnswer {
  if (isServerError(error)) return serverError(error, 400);
  if (error instanceof SqlRequestError) return plain(400, '08P01', error.message);
  if (error instanceof PoolError) return plain(503, '53300', error.message); // nothing has run
  if (error instanceof TransactionResolutionUnknown) return plain(502, error.code, error.message, error.hint);
  if (!(error instanceof ConnectionError)) throw error;
  switch (error.code) {
    case 'refused':
      return isServerError(error.cause) ? serverError(error.cause, 400) : plain(400, '28000', error.message);
    case 'unsupported':
      return plain(400, '0A000', error.message);
    case 'tooLarge':
      return plain(507, '54000', `response is too large (max is ${SQL_ANSWER_BYTES_MAX} bytes)`);
    case 'lost':
      return plain(502, '08006', `${error.message}: whether the statement ran is not known`);
  }
}

function serverError(error: Error, status: number): ErrorAnswer {
  const fields = error as Error & Partial<Record<string, string>>;
  const body: Record<string, string | null> = { message: error.message };
  for (const field of ERROR_FIELDS) body[field] = fields[field] ?? null;
  return { status, body };
}

const plain = (status: number, code: string, message: string, hint: string | null = null): ErrorAnswer => ({
  status,
  body: { message, code, severity: 'ERROR', hint },
});
