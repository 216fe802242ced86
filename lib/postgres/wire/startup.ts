/**
 * What a client sends first: a StartupMessage, or a request for encryption or to cancel
 * (ProcessStartupPacket in src/backend/tcop/backend_startup.c; codes in src/include/libpq/pqcomm.h).
 *
 *   u32 length, u32 code        1234.5679 SSLRequest, 1234.5680 GSSENCRequest   nothing more
 *                               1234.5678 CancelRequest                         u32 pid, 1 to 256 bytes of key
 *                               3.x       StartupMessage                        (name\0 value\0)* \0
 *
 * The length word is the framing's (framing.ts); the functions here take the body behind it.
 */
import { WireError, WireReader, WireWriter } from './bytes.ts';

/** Protocol versions are `major << 16 | minor`. 3.2 is the newest that Postgres 18 speaks. */
export const PROTOCOL_MAJOR = 3;
export const PROTOCOL_MINOR_LATEST = 2;
export const protocolVersion = (minor: number): number => (PROTOCOL_MAJOR << 16) | minor;

const REQUEST_MAJOR = 1234;
const CANCEL_MINOR = 5678;
const SSL_MINOR = 5679;
const GSSENC_MINOR = 5680;
export const CANCEL_KEY_BYTES_MAX = 256;

/** Parameters as Postgres reads them: of a name that stands twice the last value counts. */
export type StartupParameters = Map<string, string>;

export interface StartupMessage {
  kind: 'startup';
  /** As the client asked; may be higher than what is spoken. */
  minor: number;
  parameters: StartupParameters;
  /** Names of `_pq_.` options: none is defined, so all are to be reported as not understood. */
  protocolOptions: string[];
}
export interface CancelRequest {
  kind: 'cancel';
  pid: number;
  key: Uint8Array;
}
export type StartupPacket = StartupMessage | CancelRequest | { kind: 'ssl' } | { kind: 'gssenc' };

/** Throws WireError: `version` for another major version, `layout`, `truncated`, `encoding`. */
export function parseStartupPacket(body: Uint8Array): StartupPacket {
  const reader = new WireReader(body, 'startup packet');
  const major = reader.u16();
  const minor = reader.u16();
  if (major === REQUEST_MAJOR && minor === CANCEL_MINOR) return parseCancelRequest(reader);
  if (major === REQUEST_MAJOR && minor === SSL_MINOR) return { kind: 'ssl' };
  if (major === REQUEST_MAJOR && minor === GSSENC_MINOR) return { kind: 'gssenc' };
  if (major !== PROTOCOL_MAJOR) {
    throw new WireError(
      'version',
      `unsupported frontend protocol ${major}.${minor}: server supports 3.0 to 3.${PROTOCOL_MINOR_LATEST}`,
    );
  }
  return parseParameters(reader, minor);
}

function parseCancelRequest(reader: WireReader): CancelRequest {
  const pid = reader.u32();
  const key = reader.rest();
  if (key.length < 1 || key.length > CANCEL_KEY_BYTES_MAX) {
    throw new WireError(
      'length',
      `invalid length of cancel key: ${key.length} bytes, 1 to ${CANCEL_KEY_BYTES_MAX} expected`,
    );
  }
  return { kind: 'cancel', pid, key };
}

function parseParameters(reader: WireReader, minor: number): StartupMessage {
  const parameters: StartupParameters = new Map();
  const protocolOptions: string[] = [];
  for (;;) {
    if (reader.remaining === 0)
      throw new WireError('layout', 'invalid startup packet layout: expected terminator as last byte');
    const name = reader.cstring();
    if (name === '') break;
    const value = reader.cstring();
    if (name.startsWith('_pq_.')) protocolOptions.push(name);
    else parameters.set(name, value);
  }
  if (reader.remaining !== 0)
    throw new WireError('layout', 'invalid startup packet layout: expected terminator as last byte');
  return { kind: 'startup', minor, parameters, protocolOptions };
}

export function buildStartupMessage(
  minor: number,
  parameters: Iterable<readonly [string, string]>,
): Uint8Array {
  const writer = new WireWriter().u32(protocolVersion(minor));
  for (const [name, value] of parameters) writer.cstring(name).cstring(value);
  return writer.u8(0).message(null);
}

const requestCode = (minor: number): number => ((REQUEST_MAJOR << 16) | minor) >>> 0;
export const buildSslRequest = (): Uint8Array => new WireWriter().u32(requestCode(SSL_MINOR)).message(null);
export const buildGssencRequest = (): Uint8Array =>
  new WireWriter().u32(requestCode(GSSENC_MINOR)).message(null);
export const buildCancelRequest = (pid: number, key: Uint8Array): Uint8Array =>
  new WireWriter().u32(requestCode(CANCEL_MINOR)).u32(pid).bytes(key).message(null);
