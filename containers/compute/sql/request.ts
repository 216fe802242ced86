/**
 * `POST /sql` as it comes in: Neon's HTTP protocol, spoken by the unmodified @neondatabase/serverless.
 *
 *   {query, params?, arrayMode?}     one statement
 *   {queries: [ …of these… ]}        one transaction; headers Neon-Batch-Isolation-Level, -Read-Only, -Deferrable
 *
 * Parameters are JSON and go to Postgres as text; a number keeps the digits it was written with, and a JSON array
 * becomes an array in Postgres's form. Headers that are not strictly `true` are false, as Neon has it.
 */
import { SQL_HEADER } from '../../../lib/protocol/sql.ts';

/** A request's headers, by lower-case name. */
export interface HeaderReader {
  get(name: string): string | null;
}
export interface Statement {
  query: string;
  params: (string | null)[];
  arrayMode: boolean;
}
export interface SqlRequest {
  role: string;
  database: string;
  clientKey: Uint8Array;
  statements: Statement[];
  /** BEGIN with its options when the statements are one transaction; null for a single statement. */
  begin: string | null;
  /** Values as Postgres's text, whatever their type. */
  rawText: boolean;
}

/** The request is not what the protocol allows; nothing has run. */
export class SqlRequestError extends Error {
  override readonly name = 'SqlRequestError';
}

const CLIENT_KEY_BYTES = 32;
const ISOLATION: Readonly<Record<string, string>> = {
  ReadUncommitted: 'READ UNCOMMITTED',
  ReadCommitted: 'READ COMMITTED',
  RepeatableRead: 'REPEATABLE READ',
  Serializable: 'SERIALIZABLE',
};

/** Throws SqlRequestError. */
export function parseSqlRequest(headers: HeaderReader, body: string): SqlRequest {
  const payload = parseJson(body);
  const isBatch = typeof payload === 'object' && payload !== null && 'queries' in payload;
  const statements = isBatch ? payload.queries : [payload];
  if (!Array.isArray(statements)) throw new SqlRequestError('"queries" is not an array');
  const clientKey = Buffer.from(headers.get(SQL_HEADER.clientKey) ?? '', 'base64');
  if (clientKey.length !== CLIENT_KEY_BYTES)
    throw new SqlRequestError(
      `${SQL_HEADER.clientKey} has ${clientKey.length} bytes: ${CLIENT_KEY_BYTES} expected`,
    );
  const arrayMode = isTrue(headers, 'neon-array-mode');
  return {
    role: readName(headers, SQL_HEADER.role),
    database: readName(headers, SQL_HEADER.database),
    clientKey,
    statements: statements.map((statement) => parseStatement(statement, arrayMode)),
    begin: isBatch ? beginOf(headers) : null,
    rawText: isTrue(headers, 'neon-raw-text-output'),
  };
}

const isTrue = (headers: HeaderReader, name: string): boolean => headers.get(name) === 'true';

/** Names are percent-encoded, because headers are not Unicode. */
function readName(headers: HeaderReader, header: string): string {
  try {
    const name = decodeURIComponent(headers.get(header) ?? '');
    if (name !== '' && !name.includes('\0')) return name;
  } catch {
    // not percent-encoded UTF-8: as good as missing
  }
  throw new SqlRequestError(`header ${header} is missing or malformed`);
}

function beginOf(headers: HeaderReader): string {
  const options: string[] = [];
  const level = headers.get('neon-batch-isolation-level');
  if (level !== null) {
    if (!Object.hasOwn(ISOLATION, level)) throw new SqlRequestError('invalid isolation level');
    options.push(`ISOLATION LEVEL ${ISOLATION[level]}`);
  }
  if (isTrue(headers, 'neon-batch-read-only')) options.push('READ ONLY');
  if (isTrue(headers, 'neon-batch-deferrable')) options.push('DEFERRABLE');
  return ['BEGIN', ...options].join(' ');
}

function parseStatement(value: unknown, arrayModeDefault: boolean): Statement {
  if (typeof value !== 'object' || value === null) throw new SqlRequestError('a query is not an object');
  const { query, params = [], arrayMode = null } = value as Record<string, unknown>;
  if (typeof query !== 'string') throw new SqlRequestError('"query" is not a string');
  if (!Array.isArray(params)) throw new SqlRequestError('"params" is not an array');
  if (arrayMode !== null && typeof arrayMode !== 'boolean')
    throw new SqlRequestError('"arrayMode" is not a boolean');
  if (query.includes('\0')) throw new SqlRequestError('"query" contains a zero byte');
  const texts = params.map(parameterText);
  if (texts.some((text) => text?.includes('\0') === true))
    throw new SqlRequestError('a parameter contains a zero byte');
  return { query, params: texts, arrayMode: arrayMode ?? arrayModeDefault };
}

/** JSON.parse with each number as its source text where a double would change it. */
function parseJson(text: string): unknown {
  const keepDigits = (_key: string, value: unknown, context?: { source?: string }): unknown =>
    typeof value === 'number' && context?.source !== undefined && String(value) !== context.source
      ? rawJson(context.source)
      : value;
  try {
    return JSON.parse(text, keepDigits);
  } catch (cause) {
    throw new SqlRequestError('the body is not JSON', { cause });
  }
}

/** JSON.rawJSON and its mark (ECMAScript "JSON.parse source text access"), which the type library lacks. */
const { rawJSON: rawJson, isRawJSON: isRawJson } = JSON as typeof JSON & {
  rawJSON: (text: string) => object;
  isRawJSON: (value: unknown) => boolean;
};

function parameterText(value: unknown): string | null {
  if (value === null) return null;
  if (typeof value === 'string') return value;
  return Array.isArray(value) ? arrayText(value) : JSON.stringify(value);
}

/** Postgres's array form (array_in). */
function arrayText(array: readonly unknown[]): string {
  const elements = array.map((value) => {
    if (value === null) return 'NULL';
    if (Array.isArray(value)) return arrayText(value);
    if (typeof value === 'object' && !isRawJson(value)) return quoteElement(JSON.stringify(value));
    if (typeof value === 'string') return quoteElement(value);
    return JSON.stringify(value);
  });
  return `{${elements.join(',')}}`;
}

/** array_out's own quoting: only quotes and backslashes are special inside. */
const quoteElement = (text: string): string => `"${text.replaceAll(/["\\]/g, '\\$&')}"`;
