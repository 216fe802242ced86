/**
 * ErrorResponse and NoticeResponse: fields of one letter and a string each (protocol.h, PG_DIAG_…).
 * Both are told apart by their tag only. Fields that are not known are kept by their letter when read.
 */
import { TAG, WireReader, WireWriter } from './bytes.ts';

export type Severity = 'ERROR' | 'FATAL' | 'PANIC' | 'WARNING' | 'NOTICE' | 'DEBUG' | 'INFO' | 'LOG';

export interface ErrorToSend {
  severity: Severity;
  /** SQLSTATE, five letters or digits. */
  code: string;
  message: string;
  detail?: string | undefined;
  hint?: string | undefined;
}

/** Fields by their letter: S and V severity, C SQLSTATE, M message, D detail, H hint, … */
export type ErrorFields = ReadonlyMap<string, string>;

export const buildErrorResponse = (error: ErrorToSend): Uint8Array => buildFields(error, TAG.errorResponse);
export const buildNotice = (notice: ErrorToSend): Uint8Array => buildFields(notice, TAG.noticeResponse);

function buildFields(error: ErrorToSend, tag: number): Uint8Array {
  const writer = new WireWriter();
  const field = (letter: string, value: string | undefined): void => {
    // A string ends at its first zero byte, and what the client sent may be quoted in it.
    if (value !== undefined) writer.u8(letter.charCodeAt(0)).cstring(value.replaceAll('\0', ''));
  };
  field('S', error.severity);
  field('V', error.severity);
  field('C', error.code);
  field('M', error.message);
  field('D', error.detail);
  field('H', error.hint);
  return writer.u8(0).message(tag);
}

/** Body of an `E` or `N` message. Throws WireError. */
export function parseErrorFields(body: Uint8Array): ErrorFields {
  const reader = new WireReader(body, 'ErrorResponse');
  const fields = new Map<string, string>();
  for (let letter = reader.u8(); letter !== 0; letter = reader.u8())
    fields.set(String.fromCharCode(letter), reader.cstring());
  reader.end();
  return fields;
}
