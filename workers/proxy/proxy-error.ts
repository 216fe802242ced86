/**
 * Why a connection was refused, as its client is told: docs/ERRORS.md lists each code by entrance.
 *
 * A Postgres client gets an ErrorResponse with the SQLSTATE; an HTTP client gets the same words as JSON. What is
 * not a ProxyError is a fault of ours: it is logged, and the client learns only that (XX000).
 */
import { ScramError } from '../../lib/postgres/scram/messages.ts';
import { WireError } from '../../lib/postgres/wire/bytes.ts';
import type { ErrorToSend } from '../../lib/postgres/wire/error-response.ts';

const SQL_STATE = {
  /** Bytes that Postgres's protocol does not allow here. */
  protocolViolation: '08P01',
  unsupportedProtocol: '0A000',
  unsupportedFeature: '0A000',
  invalidEncoding: '22021',
  invalidParameter: '22023',
  /** The client was too slow to say who it is. */
  timeout: '57014',
  /** More clients at once than may be without a name. */
  tooManyConnections: '53300',
  noUser: '28000',
  /** No endpoint named, named badly, or named twice and differently. */
  endpointName: '08004',
  /** An LSN or a time that the branch's history does not have, or not any more. */
  pointOfHistory: '22023',
  /** Wrong password, unknown role, unknown endpoint: one answer for all. */
  passwordAuthentication: '28P01',
  /** The compute did not start or did not answer. */
  computeUnavailable: '57P03',
  /** `POST /sql` only. */
  malformedRequest: '08P01',
  requestTooLarge: '54000',
  /** The connection broke after a statement was sent. */
  outcomeUnknown: '08007',
  internal: 'XX000',
} as const;

export type ProxyErrorCode = keyof typeof SQL_STATE;

export interface ProxyErrorOptions {
  detail?: string;
  hint?: string;
  cause?: unknown;
}

export class ProxyError extends Error {
  override readonly name = 'ProxyError';
  readonly code: ProxyErrorCode;
  readonly detail: string | undefined;
  readonly hint: string | undefined;
  constructor(code: ProxyErrorCode, message: string, options: ProxyErrorOptions = {}) {
    super(message, { cause: options.cause });
    this.code = code;
    this.detail = options.detail;
    this.hint = options.hint;
  }
  get sqlState(): string {
    return SQL_STATE[this.code];
  }
}

const WIRE_CODE = {
  length: 'protocolViolation',
  truncated: 'protocolViolation',
  layout: 'protocolViolation',
  encoding: 'invalidEncoding',
  version: 'unsupportedProtocol',
} as const;

/** What the client is told about any error at all. */
export function proxyErrorOf(error: unknown): ProxyError {
  if (error instanceof ProxyError) return error;
  if (error instanceof WireError)
    return new ProxyError(WIRE_CODE[error.code], error.message, { cause: error });
  if (error instanceof ScramError) {
    const code = error.code === 'unsupported' ? 'unsupportedFeature' : 'protocolViolation';
    return new ProxyError(code, 'malformed SCRAM message', { detail: error.message, cause: error });
  }
  return new ProxyError('internal', 'internal error of the proxy', { cause: error });
}

export const errorToSend = (error: ProxyError): ErrorToSend => ({
  severity: 'FATAL',
  code: error.sqlState,
  message: error.message,
  detail: error.detail,
  hint: error.hint,
});

/** The one answer to a wrong password, an unknown role and an unknown endpoint (auth_failed in auth.c). */
export const passwordAuthenticationFailed = (role: string): ProxyError =>
  new ProxyError('passwordAuthentication', `password authentication failed for user "${role}"`);
